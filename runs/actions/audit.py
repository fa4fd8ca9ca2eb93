"""Keep who changed what, in the transaction of the change: neither is there without the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runs.models import AuditEntry, Project, Token, User
from runs.queries.text import one_line

#: Characters; the columns hold what `cut` says of the rest, too.
_ACTOR_LIMIT: Final = 200
_SUBJECT_LIMIT: Final = 440


def note_change(
    project: Project | None,
    *,
    by: User | None,
    action: str,
    subject: str = "",
    token: Token | None = None,
    data: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Keep that somebody changed something; `project` is None for what concerns the installation.

    `action` is a noun and what befell it, `token.revoked`; `subject` says in words what it was done to.
    `data` holds values before and after, and never a secret: administrators read it, and it outlives what it
    tells of. Whoever acts through a token is named by the token.
    """
    return AuditEntry.objects.create(
        project=project,
        user=by,
        token=token,
        actor=one_line(_name_of(by, token), _ACTOR_LIMIT),
        action=action,
        subject=one_line(subject, _SUBJECT_LIMIT),
        data=dict(data or {}),
    )


def _name_of(by: User | None, token: Token | None) -> str:
    """As they are called now: empty when itdash itself acts."""
    if token is not None:
        return f"token {token.name}"
    return by.username if by is not None else ""
