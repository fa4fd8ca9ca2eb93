"""What a project's settings page shows: its tokens and its members."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runs.models import Invitation, Membership, Project, Token
from runs.queries.invitations import pending_invitations
from runs.vocabulary import Role

#: The newest are shown; the others are counted.
TOKENS_SHOWN: Final = 100
_PASSWORD: Final = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token and whether it still opens anything: ``usable``, ``expired`` or ``revoked``."""

    token: Token
    state: str


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The lists of the page."""

    tokens: Sequence[TokenRow]
    #: Whether there are older tokens than those shown.
    has_more_tokens: bool
    members: Sequence[Membership]
    #: Those whose link still lets somebody in.
    invitations: Sequence[Invitation]
    #: Whether there is one administrator, who can therefore not be removed.
    has_one_admin: bool
    #: The repository's address without what it signs in with.
    repository_shown: str


def project_settings(project: Project, *, now: datetime) -> ProjectSettings:
    """Three queries: usable tokens before the others, newest first; members by name; open invitations."""
    found = list(project.tokens.select_related("created_by").order_by("-pk")[: TOKENS_SHOWN + 1])
    rows = [TokenRow(token, _state(token, now)) for token in found[:TOKENS_SHOWN]]
    members = list(project.memberships.select_related("user").order_by("user__username", "pk"))
    return ProjectSettings(
        tokens=sorted(rows, key=lambda row: row.state != "usable"),
        has_more_tokens=len(found) > TOKENS_SHOWN,
        members=members,
        invitations=pending_invitations(project, now=now),
        has_one_admin=sum(member.role == Role.ADMIN for member in members) == 1,
        repository_shown=without_credentials(project.repository_url),
    )


def without_credentials(address: str) -> str:
    """The address of a repository without user and password."""
    return _PASSWORD.sub("", address)


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.is_expired(now) else "usable"
