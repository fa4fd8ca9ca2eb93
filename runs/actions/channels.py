"""Channels: where a project's news go. Made, changed, tried, paused and removed by its administrators."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError, NotPossibleError
from runs.dispatch import Work, after_commit
from runs.models import Channel, Delivery, Project, User
from runs.notify.errors import AddressRefusedError
from runs.notify.http import check_url
from runs.notify.news import NewsEvent
from runs.providers import STATUS_HOSTS
from runs.queries.channels import KINDS, label_of, place_of
from runs.queries.news import test_news
from runs.vocabulary import DeliveryStatus

#: Of one project: a change is told to each.
CHANNEL_LIMIT: Final = 20
RECIPIENT_LIMIT: Final = 20
BRANCH_LIMIT: Final = 50
_NAME_LIMIT: Final = 250
_SECRET_LIMIT: Final = 1000
_ADDRESS_LIMIT: Final = 2000


def add_channel(
    *,
    project: Project,
    kind: str,
    address: str = "",
    repository: str = "",
    secret: str = "",
    branches: Sequence[str] = (),
    by: User | None = None,
) -> Channel:
    """Make a channel. A webhook without a secret gets one; no other secret is ever shown.

    Raises:
        InvalidValueError: a value cannot be; `field` names it.
        NotPossibleError: the project has as many as it may.
    """
    if kind not in KINDS:
        raise InvalidValueError("kind", f"A channel is one of {', '.join(KINDS)}.")
    if kind in STATUS_HOSTS:
        address = address.strip() or STATUS_HOSTS[kind].default_address
    if kind == "webhook":
        secret = secret.strip() or f"whsec-{secrets.token_urlsafe(32)}"
    values = _checked(kind, address=address, repository=repository, secret=secret, branches=branches)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if Channel.objects.filter(project=project).count() >= CHANNEL_LIMIT:
            raise NotPossibleError(f"A project has up to {CHANNEL_LIMIT} channels. Remove one first.")
        channel = Channel.objects.create(project=project, kind=kind, created_by=by, **values)
        data = {"branches": ", ".join(channel.branches)}
        note_change(project, by=by, action="channel.added", subject=label_of(channel), data=data)
    return channel


def change_channel(
    *,
    channel: Channel,
    address: str = "",
    repository: str = "",
    secret: str = "",
    branches: Sequence[str] = (),
    by: User | None = None,
) -> bool:
    """Give a channel other values; False when they are those it has. Paused or not, it stays so.

    An address or a secret that is left empty stays: who changes a channel is shown neither. A token was given
    for one server, and goes to no other unless it is given again.

    Raises:
        InvalidValueError: a value cannot be; `field` names it.
        NotPossibleError: it was removed.
    """
    with transaction.atomic():
        held = Channel.objects.select_for_update(of=["self"]).select_related("project").filter(pk=channel.pk)
        own = held.first()
        if own is None:
            raise NotPossibleError("The channel was removed.")
        values = _checked(
            own.kind,
            address=address.strip() or own.address,
            repository=repository,
            secret=secret.strip() or own.secret,
            branches=branches,
        )
        if own.kind in STATUS_HOSTS and values["address"] != own.address and not secret.strip():
            raise InvalidValueError("secret", "The token is not sent to another server: give it again.")
        before = {name: getattr(own, name) for name in values} | {"place": place_of(own)}
        if all(before[name] == value for name, value in values.items()):
            return False
        for name, value in values.items():
            setattr(own, name, value)
        own.save(update_fields=list(values))
        note_change(
            own.project, by=by, action="channel.changed", subject=label_of(own), data=_told(before, own)
        )
    return True


def _told(before: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """What became other, without a secret: of an address that may be one only that it did."""
    told: dict[str, Any] = {}
    if before["place"] != place_of(channel):
        told["place"] = [before["place"], place_of(channel)]
    elif before["address"] != channel.address:
        told["address"] = "another"
    if before["secret"] != channel.secret:
        told["secret"] = "another"  # noqa: S105 - says that it is, not which
    if before["branches"] != channel.branches:
        told["branches"] = [", ".join(before["branches"]), ", ".join(channel.branches)]
    return told


def pause_channel(*, channel: Channel, by: User | None) -> None:
    """Let the channel be silent; what happens meanwhile is not told later."""
    _set_active(channel, by, is_active=False)


def resume_channel(*, channel: Channel, by: User | None) -> None:
    """Let the channel speak again, from now on."""
    _set_active(channel, by, is_active=True)


def remove_channel(*, channel: Channel, by: User | None) -> None:
    """Forget the channel and its secret; what it sent stays listed."""
    with transaction.atomic():
        subject = label_of(channel)
        if Channel.objects.filter(pk=channel.pk).delete()[0]:
            note_change(channel.project, by=by, action="channel.removed", subject=subject)


def try_channel(*, channel: Channel, by: User) -> Delivery:
    """Send a message that says that it is a test, or ask the Git host for the repository; paused or not."""
    with transaction.atomic():
        delivery = Delivery.objects.create(
            project=channel.project,
            direction="sent",
            provider=channel.kind,
            key=f"test:{channel.pk}:{secrets.token_hex(8)}",
            channel=channel,
            event=NewsEvent.TEST,
            status=DeliveryStatus.QUEUED,
            payload=test_news(channel.project).model_dump(mode="json"),
            due_at=timezone.now(),
            approved_by=by,
        )
        note_change(channel.project, by=by, action="channel.tried", subject=label_of(channel))
        after_commit(Work.SEND_DELIVERY, delivery.pk)
    return delivery


def _set_active(channel: Channel, by: User | None, *, is_active: bool) -> None:
    with transaction.atomic():
        if Channel.objects.filter(pk=channel.pk, is_active=not is_active).update(is_active=is_active):
            action = "channel.resumed" if is_active else "channel.paused"
            note_change(channel.project, by=by, action=action, subject=label_of(channel))


def _checked(
    kind: str, *, address: str, repository: str, secret: str, branches: Sequence[str]
) -> dict[str, Any]:
    """The values as they are kept; raises `InvalidValueError`."""
    address, repository, secret = address.strip(), repository.strip().strip("/"), secret.strip()
    if kind in STATUS_HOSTS:
        _refuse_bad_repository(repository, secret)
        if "?" in address:
            raise InvalidValueError("address", "Give the server's address alone: https://host.")
    if kind == "email":
        address = _recipients(address)
    else:
        _refuse_bad_address(address)
    _refuse_unprintable("secret", secret, _SECRET_LIMIT)
    return {
        "address": address,
        "repository": repository if kind in STATUS_HOSTS else "",
        "secret": secret if kind not in {"email", "slack"} else "",
        "branches": _branches(branches),
    }


def _refuse_bad_repository(repository: str, token: str) -> None:
    parts = repository.split("/")
    is_path = len(parts) > 1 and all(part and part not in {".", ".."} for part in parts)
    if not is_path or len(repository) > _NAME_LIMIT or not repository.isprintable() or " " in repository:
        raise InvalidValueError("repository", "Give the repository as the host writes it: owner/name.")
    if not token:
        raise InvalidValueError("secret", "The host takes statuses only with a token.")
    if not token.isascii() or " " in token:
        raise InvalidValueError("secret", "This is no token: tokens are ASCII characters without blanks.")


def _refuse_bad_address(address: str) -> None:
    if not address:
        raise InvalidValueError("address", "Give the address: https://host/path.")
    _refuse_unprintable("address", address, _ADDRESS_LIMIT)
    try:
        check_url(address)
    except AddressRefusedError as error:
        raise InvalidValueError("address", str(error)) from error
    if urlsplit(address).fragment:
        raise InvalidValueError("address", "Give the address without what follows a #.")


def _recipients(text: str) -> str:
    if not settings.HAS_MAIL_SERVER:
        raise InvalidValueError(
            "address", "This installation has no mail server: its administrator sets ITDASH_EMAIL_URL."
        )
    found = list(dict.fromkeys(part.strip() for part in text.replace("\n", ",").split(",") if part.strip()))
    if not 1 <= len(found) <= RECIPIENT_LIMIT:
        raise InvalidValueError(
            "address", f"Give 1 to {RECIPIENT_LIMIT} mail addresses, with commas between."
        )
    for one in found:
        try:
            validate_email(one)
        except ValidationError as error:
            raise InvalidValueError("address", f"“{one[:80]}” is no mail address.") from error
    return ", ".join(found)


def _branches(given: Sequence[str]) -> list[str]:
    found = [branch.strip() for branch in given if branch.strip()]
    if len(found) > BRANCH_LIMIT:
        raise InvalidValueError("branches", f"Name up to {BRANCH_LIMIT} branches.")
    for branch in found:
        _refuse_unprintable("branches", branch, _NAME_LIMIT)
    return found


def _refuse_unprintable(field: str, value: str, limit: int) -> None:
    if len(value) > limit or not value.isprintable():
        raise InvalidValueError(field, f"Give up to {limit} printable characters.")
