"""The audit log's page: who changed what, newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet

from runs.models import AuditEntry, Project

PAGE: Final = 50
#: Names offered as filters, the busiest; others can be written into the address.
_OFFERED: Final = 50
_PAIR: Final = 2
#: Values that are lists and no pair of before and after.
_LISTS: Final = {"scopes", "variables", "renames"}
#: Numbers of rows, which say nothing to people.
_KEYS: Final = {"case", "delivery", "invitation"}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry and its values in words: name, before, after; before is empty where only one is known."""

    entry: AuditEntry
    values: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """What the page shows."""

    rows: Sequence[AuditRow]
    actors: Sequence[str]
    actions: Sequence[str]
    actor: str
    action: str
    #: The key of the page before in time; 0 on the last one.
    older: int
    is_first: bool

    @property
    def is_filtered(self) -> bool:
        """Whether only some of the log is asked for."""
        return bool(self.actor or self.action)


def audit_page(
    project: Project, *, actor: str = "", action: str = "", before: int | None = None
) -> AuditPage:
    """Three queries: fifty entries before that key, and the names to filter by."""
    own = AuditEntry.objects.filter(project=project)
    rows = own.filter(actor=actor) if actor else own
    rows = rows.filter(action=action) if action else rows
    rows = rows.filter(pk__lt=before) if before is not None else rows
    found = list(rows.order_by("-pk")[: PAGE + 1])
    return AuditPage(
        rows=[AuditRow(entry, _values(entry)) for entry in found[:PAGE]],
        actors=_names(own, "actor", actor),
        actions=_names(own, "action", action),
        actor=actor,
        action=action,
        older=found[PAGE - 1].pk if len(found) > PAGE else 0,
        is_first=before is None,
    )


def _names(own: QuerySet[AuditEntry], column: str, chosen: str) -> list[str]:
    found = own.exclude(**{column: ""}).order_by(column).values_list(column, flat=True).distinct()[:_OFFERED]
    names = list(found)
    return names if not chosen or chosen in names else [chosen, *names]


def _values(entry: AuditEntry) -> list[tuple[str, str, str]]:
    values = []
    for name, value in entry.data.items():
        word = name.replace("_", " ")
        if isinstance(value, list) and len(value) == _PAIR and name not in _LISTS:
            values.append((word, _shown(value[0]), _shown(value[1])))
        elif name not in _KEYS and value not in ("", None, [], entry.subject):
            values.append((word, "", _shown(value)))
    return values


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, str | int) else json.dumps(value)
