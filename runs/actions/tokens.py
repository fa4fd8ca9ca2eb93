"""Make, use and revoke tokens. The secret is shown once; only its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError
from runs.models import Project, Token, User
from runs.vocabulary import Scope

PREFIX = "itd_"
#: How often `last_used_at` is written, at most.
USE_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with its secret, which cannot be had again."""

    token: Token
    secret: str


def digest_of(secret: str) -> bytes:
    """SHA-256 of the secret: 32 bytes. It has 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).digest()


def create_token(
    *,
    project: Project,
    scopes: Collection[Scope],
    name: str = "",
    expires_at: datetime | None = None,
    by: User | None = None,
) -> NewToken:
    """Make a token for `project`.

    Raises:
        InvalidValueError: no scope, or an end that has passed.
    """
    if not scopes:
        message = "A token needs at least one scope: " + ", ".join(sorted(Scope)) + "."
        raise InvalidValueError("scopes", message)
    if expires_at is not None and expires_at <= timezone.now():
        message = f"The token would have expired already ({expires_at:%Y-%m-%d %H:%M}). Choose a later time."
        raise InvalidValueError("expires_at", message)
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = Token.objects.create(
            project=project,
            name=name or "token",
            prefix=secret[:10],
            digest=digest_of(secret),
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
            created_by=by,
        )
        ends = expires_at.isoformat() if expires_at else None
        note_change(
            project,
            by=by,
            action="token.made",
            subject=str(token),
            data={"scopes": token.scopes, "expires_at": ends},
        )
    return NewToken(token=token, secret=secret)


def use_token(secret: str) -> Token | None:
    """The usable token with this secret, its use noted; None when there is none."""
    token = (
        Token.objects.usable().select_related("project").filter(digest=digest_of(secret)).first()
        if secret.startswith(PREFIX)
        else None
    )
    long_ago = timezone.now() - USE_RESOLUTION
    if token is not None and (token.last_used_at is None or token.last_used_at < long_ago):
        seldom = Q(last_used_at=None) | Q(last_used_at__lt=long_ago)
        Token.objects.filter(seldom, pk=token.pk).update(last_used_at=Now())
    return token


def revoke_token(*, token_id: int, by: User | None = None) -> bool:
    """End a token's right; False when it had ended already."""
    with transaction.atomic():
        is_revoked = Token.objects.filter(pk=token_id, revoked_at=None).update(revoked_at=Now()) == 1
        if is_revoked:
            token = Token.objects.select_related("project").get(pk=token_id)
            note_change(token.project, by=by, action="token.revoked", subject=str(token))
    return is_revoked
