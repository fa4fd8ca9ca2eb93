"""Count wrong passwords and tokens, and say when the next may be tried.

Counted in PostgreSQL, so that every web process sees every attempt. A try is counted before it is judged, and
taken back when it was right: however many come at once, no more than the limit are judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from runs.models import FailedSignIn

WINDOW: Final = timedelta(minutes=15)
TOKEN_WINDOW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Limit:
    """How often something may be wrong within a while. `subject` is what is counted."""

    subject: str
    count: int
    window: timedelta

    @property
    def digest(self) -> bytes:
        """What the rows hold of the subject: names and addresses stay out of them."""
        return hashlib.sha256(self.subject.encode()).digest()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that was counted; or was not, and then `again_at` says when one will be judged."""

    ids: Sequence[int] = ()
    #: How many more may be wrong before the wait begins.
    left: int = 0
    again_at: datetime | None = None


def client_address(meta: Mapping[str, Any]) -> str:
    """Where a request comes from, as the outermost of our proxies saw it; of IPv6 its /64 network."""
    forwarded = [part.strip() for part in str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")]
    proxies: int = settings.PROXY_COUNT
    seen = forwarded[-proxies] if 0 < proxies <= len(forwarded) else ""
    try:
        address = ip_address(seen or str(meta.get("REMOTE_ADDR", "")))
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        # A server that listens for both sees IPv4 within IPv6: they are no one network.
        known = address.ipv4_mapped
        return str(known) if known else str(ip_network(f"{address}/64", strict=False))
    return str(address)


def sign_in_limits(username: str, address: str) -> list[Limit]:
    """In 15 minutes 5 for an account from an address, 30 for an address, 50 for an account from anywhere."""
    account = username.strip().casefold()
    return [
        Limit(f"account {account} from {address}", 5, WINDOW),
        Limit(f"address {address}", 30, WINDOW),
        Limit(f"account {account}", 50, WINDOW),
    ]


def token_limits(address: str) -> list[Limit]:
    """Sixty unknown tokens of one address in a minute: a CI with a revoked token is no attack."""
    return [Limit(f"tokens from {address}", 60, TOKEN_WINDOW)]


def begin_attempt(limits: Sequence[Limit], *, now: datetime | None = None) -> Attempt:
    """Count a try before it is judged. One too many is not counted: asking makes the wait no longer."""
    moment = now or timezone.now()
    rows = _count(limits, moment)
    ids = [row.pk for row in rows]
    recent = [_recent(limit, moment) for limit in limits]
    # The try itself is the newest among them.
    waits = [
        failed[limit.count] + limit.window
        for limit, failed in zip(limits, recent, strict=True)
        if len(failed) > limit.count
    ]
    if waits:
        FailedSignIn.objects.filter(pk__in=ids).delete()
        return Attempt(again_at=max(waits))
    FailedSignIn.objects.filter(failed_at__lte=moment - WINDOW).delete()
    left = min(limit.count - len(failed) for limit, failed in zip(limits, recent, strict=True))
    return Attempt(ids=ids, left=left)


def forgive_attempt(attempt: Attempt, limits: Sequence[Limit]) -> None:
    """Take a try back that was right, and what the first of the limits had counted before."""
    with transaction.atomic():
        FailedSignIn.objects.filter(pk__in=attempt.ids).delete()
        FailedSignIn.objects.filter(subject=limits[0].digest).delete()


def _count(limits: Sequence[Limit], moment: datetime) -> list[FailedSignIn]:
    return FailedSignIn.objects.bulk_create(
        [FailedSignIn(subject=limit.digest, failed_at=moment) for limit in limits]
    )


def _recent(limit: Limit, now: datetime) -> list[datetime]:
    """The newest that count against the limit, one more than it allows at most."""
    failed = FailedSignIn.objects.filter(subject=limit.digest, failed_at__gt=now - limit.window)
    return list(failed.order_by("-failed_at").values_list("failed_at", flat=True)[: limit.count + 1])
