"""Renames for people: what waits for a decision, move by move, and what was decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from runs.analytics.renames import RenameKind
from runs.models import Project, Rename, Result, TestCase
from runs.vocabulary import RenameStatus

#: Pairs shown of one move; the others are decided with it, or come after these.
SHOWN_OF_MOVE: Final = 20
#: Pairs on a page.
PAIRS_SHOWN: Final = 80
DECIDED_SHOWN: Final = 100
_DECIDED: Final = [RenameStatus.CONFIRMED, RenameStatus.REFUSED, RenameStatus.WITHDRAWN, RenameStatus.PARTED]
#: What tests of one move share: its suite, its kind, the old place and the new one.
type MoveKey = tuple[int, str, str, str]
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
        if one.old_place == one.new_place:
            told.append("same place")
        else:
            told.append(
                f"place {one.place_likeness:.0%} alike" if moved else "gone where others of its place went"
            )
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
    #: Moves that they make, and how many of these come before the first and before the next page's first.
    move_count: int = 0
    passed_over: int = 0
    #: None on the last page.
    following: int | None = None


def rename_page(project: Project, *, view: str, passed_over: int = 0) -> RenamePage:
    """Two queries; three where something waits, or is joined, and is asked for.

    The largest moves come first; `passed_over` of them are left to former pages.
    """
    own = renames_of(project)
    if view == "decided":
        decided = list(own.filter(status__in=_DECIDED).order_by("-decided_at", "-pk")[:DECIDED_SHOWN])
        return RenamePage(view, [], _decided(decided), waiting_count(project))
    waiting = own.filter(status=RenameStatus.PROPOSED)
    counts = {
        (suite, kind, old_place, new_place): count
        for suite, kind, old_place, new_place, count in waiting.order_by(*_MOVE)
        .values_list(*_MOVE)
        .annotate(count=Count("pk"))
    }
    largest = sorted(counts, key=lambda key: (-counts[key], key))
    passed_over = passed_over if passed_over < len(largest) else 0
    wanted = _that_fit(largest[passed_over:], counts)
    end = passed_over + len(wanted)
    return RenamePage(
        "",
        _moves(waiting, counts, wanted) if wanted else [],
        [],
        sum(counts.values()),
        move_count=len(largest),
        passed_over=passed_over,
        following=end if end < len(largest) else None,
    )


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


def _that_fit(moves: Sequence[MoveKey], counts: Mapping[MoveKey, int]) -> Sequence[MoveKey]:
    """As many moves as a page has room for, one at least."""
    left = PAIRS_SHOWN
    for place, move in enumerate(moves):
        left -= min(counts[move], SHOWN_OF_MOVE)
        if left < 0:
            return moves[: max(place, 1)]
    return moves


def _moves(waiting: QuerySet[Rename], counts: Mapping[MoveKey, int], wanted: Sequence[MoveKey]) -> list[Move]:
    """The moves that are wanted, in that order, each with its first pairs by name."""
    any_of = reduce(or_, (Q(**dict(zip(_MOVE, key, strict=True))) for key in wanted))
    place = Window(RowNumber(), partition_by=[F(name) for name in _MOVE], order_by=["old__name", "pk"])
    groups: defaultdict[MoveKey, list[Pair]] = defaultdict(list)
    for one in (
        waiting.filter(any_of).annotate(place=place).filter(place__lte=SHOWN_OF_MOVE).order_by("place")
    ):
        groups[one.suite_id, one.kind, one.old_place, one.new_place].append(Pair(one))
    # A pair may have been decided in between.
    return [Move(groups[key], counts[key]) for key in wanted if key in groups]
