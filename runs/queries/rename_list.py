"""Renames for people: what waits for a decision, move by move, and what was decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from runs.analytics.renames import RenameKind
from runs.models import Project, Rename, Result, TestCase
from runs.vocabulary import RenameStatus

#: Pairs shown of one move; the others are decided with it, or come after these.
SHOWN_OF_MOVE: Final = 20
MOVES_SHOWN: Final = 50
DECIDED_SHOWN: Final = 100
_DECIDED: Final = [RenameStatus.CONFIRMED, RenameStatus.REFUSED, RenameStatus.WITHDRAWN, RenameStatus.PARTED]
#: What tests of one move share.
_MOVE: Final = ("suite", "kind", "old_place", "new_place")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cases that look like one, or that were decided to be."""

    rename: Rename
    #: They were joined, and a report held both since: they are two.
    is_refuted: bool = False

    @property
    def former(self) -> TestCase:
        """As it was called. Once joined, the row of the former name."""
        return self.rename.new if self.rename.new.same_as_id else self.rename.old

    @property
    def present(self) -> TestCase:
        """As it is called since."""
        return self.rename.old if self.rename.new.same_as_id else self.rename.new

    @property
    def evidence(self) -> list[str]:
        """What speaks for it, in words."""
        one = self.rename
        moved = one.kind == RenameKind.MOVED
        told = ["same name" if moved else f"name {one.name_likeness:.0%} alike"]
        told.append(f"place {one.place_likeness:.0%} alike" if moved else "same place")
        if one.pace_likeness is not None:
            told.append(f"duration {one.pace_likeness:.0%} alike")
        return told


@dataclass(frozen=True, slots=True)
class Move:
    """Pairs whose place changed in the same way, or that were renamed in one place."""

    pairs: Sequence[Pair]
    #: Those that are not shown included.
    count: int

    @property
    def first(self) -> Rename:
        """Names the move to whoever decides it."""
        return self.pairs[0].rename

    @property
    def is_move(self) -> bool:
        """Whether they went somewhere, and kept their names."""
        return self.first.kind == RenameKind.MOVED


@dataclass(frozen=True, slots=True)
class RenamePage:
    """What the page shows: moves that wait, or pairs that were decided."""

    view: str
    moves: Sequence[Move]
    decided: Sequence[Pair]
    #: Pairs that wait, shown or not.
    waiting_count: int


def rename_page(project: Project, *, view: str) -> RenamePage:
    """Two queries; three where something waits, or is joined, and is asked for."""
    own = renames_of(project)
    if view == "decided":
        decided = list(own.filter(status__in=_DECIDED).order_by("-decided_at", "-pk")[:DECIDED_SHOWN])
        return RenamePage(view, [], _decided(decided), waiting_count(project))
    waiting = own.filter(status=RenameStatus.PROPOSED)
    counts = {
        tuple(row[:-1]): row[-1]
        for row in waiting.order_by(*_MOVE).values_list(*_MOVE).annotate(count=Count("pk"))
    }
    return RenamePage("", _moves(waiting, counts) if counts else [], [], sum(counts.values()))


def _decided(renames: Sequence[Rename]) -> list[Pair]:
    joined = [one.new_id for one in renames if one.status == RenameStatus.CONFIRMED]
    # A former name has results of its own only where the present one was in the same report.
    held_both = (
        set(Result.objects.filter(case__in=joined).values_list("case_id", flat=True)) if joined else ()
    )
    return [
        Pair(one, is_refuted=one.status == RenameStatus.CONFIRMED and one.new_id in held_both)
        for one in renames
    ]


def renames_of(project: Project) -> QuerySet[Rename]:
    """The project's renames with all that is told of them."""
    told = Rename.objects.select_related("suite", "old", "new", "run", "decided_by").defer("undo")
    return told.filter(suite__project=project)


def waiting_count(project: Project) -> int:
    """How many pairs wait for a decision."""
    return Rename.objects.filter(suite__project=project, status=RenameStatus.PROPOSED).count()


def waiting_of_move(rename: Rename) -> list[int]:
    """The pairs that wait and made the same move as this one, itself included."""
    same = Q(suite=rename.suite_id, kind=rename.kind, old_place=rename.old_place, new_place=rename.new_place)
    return list(Rename.objects.filter(same, status=RenameStatus.PROPOSED).values_list("pk", flat=True))


def _moves(waiting: QuerySet[Rename], counts: dict[tuple[object, ...], int]) -> list[Move]:
    """The largest moves first."""
    place = Window(RowNumber(), partition_by=[F(name) for name in _MOVE], order_by="pk")
    shown = waiting.annotate(place=place).filter(place__lte=SHOWN_OF_MOVE)
    groups: defaultdict[tuple[object, ...], list[Pair]] = defaultdict(list)
    for one in shown.order_by("old__name", "pk")[: SHOWN_OF_MOVE * MOVES_SHOWN]:
        groups[one.suite_id, one.kind, one.old_place, one.new_place].append(Pair(one))
    moves = [Move(pairs, counts.get(key, len(pairs))) for key, pairs in groups.items()]
    return sorted(moves, key=lambda move: (-move.count, move.first.pk))[:MOVES_SHOWN]
