"""What changed from one set of results to another: each test in at most one of seven categories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import NamedTuple, Protocol

from runs.analytics.flakiness import FlakeState
from runs.analytics.samples import median, percentile, ratio
from runs.vocabulary import FAILING, Outcome

#: A test in one of these states may fail for no reason of the change.
UNRELIABLE = frozenset({FlakeState.LIKELY_FLAKY, FlakeState.FLAKY})


class Change(StrEnum):
    """What became of a test, in the order in which a person wants to read it."""

    #: Fails, and did not: nothing is known that excuses it.
    BROKE = "broke"
    #: Fails in both.
    STILL_FAILING = "still_failing"
    #: Passed and failed here, or changed between passing and failing and is known to be unreliable.
    FLAKY = "flaky"
    #: Passes, and failed.
    FIXED = "fixed"
    #: Is here only, failing or not.
    NEW_TEST = "new_test"
    #: Was there only.
    REMOVED = "removed"
    #: Passed in both, and took longer than chance explains.
    SLOWER = "slower"


class Place(StrEnum):
    """Where else a test fails that fails here."""

    NEW_ON_BRANCH = "new_on_branch"
    ALSO_ON_BASE = "also_on_base"


@dataclass(frozen=True, slots=True)
class SlowerThresholds:
    """When a duration counts as longer: by share, by seconds, and above the p95 of a base of `base_count`."""

    ratio: float = 1.20
    seconds: float = 0.5
    base_count: int = 10


class Told(Protocol):
    """A test's result in one of the two sets.

    `seconds` is of its passes there: one of a run, several of a branch's history.
    """

    @property
    def case(self) -> int:
        """Which test."""

    @property
    def outcome(self) -> Outcome:
        """What came of it."""

    @property
    def seconds(self) -> tuple[float, ...]:
        """How long it took."""


# Tuples, as these two are made by the thousand.
class CaseResult(NamedTuple):
    """The least there is to tell."""

    case: int
    outcome: Outcome
    seconds: tuple[float, ...] = ()


class Difference(NamedTuple):
    """One test that differs; `place` is told of tests that fail here, where the base branch is known."""

    case: int
    change: Change
    base: Outcome | None
    head: Outcome | None
    place: Place | None = None

    @property
    def is_failing(self) -> bool:
        """Whether it fails here."""
        return self.head in FAILING


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs, by category and then by test; and how many tests do not."""

    by_change: Mapping[Change, Sequence[Difference]]
    unchanged_count: int

    @property
    def differences(self) -> tuple[Difference, ...]:
        """In the order of the categories."""
        return tuple(chain.from_iterable(self.by_change.values()))

    @property
    def counts(self) -> dict[Change, int]:
        """How often it happened, by category."""
        return {change: len(own) for change, own in self.by_change.items()}

    def of(self, change: Change) -> Sequence[Difference]:
        """The tests of one category, those that fail first."""
        return self.by_change[change]

    @property
    def new_failures(self) -> list[Difference]:
        """What broke, and new tests that fail."""
        return [*self.of(Change.BROKE), *(one for one in self.of(Change.NEW_TEST) if one.is_failing)]


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """How many tests changed in which way; new failures are what broke, and new tests that fail."""

    counts: Mapping[Change, int]
    new_failures: int


class Kind(NamedTuple):
    """Tests that have the same outcomes, None where they are not, and are known to be as flaky."""

    base: Outcome | None
    head: Outcome | None
    state: FlakeState
    number: int


def count_changes(kinds: Iterable[Kind]) -> ChangeCounts:
    """Count what `compare` would tell of these tests, had they no durations: one of a kind tells for all."""
    limits = SlowerThresholds()
    counts = dict.fromkeys(Change, 0)
    new_failures = 0
    for kind in kinds:
        old, new = (None if outcome is None else CaseResult(0, outcome) for outcome in (kind.base, kind.head))
        change = _change(old, new, kind.state, limits)
        if change:
            counts[change] += kind.number
            if change is Change.BROKE or (change is Change.NEW_TEST and kind.head in FAILING):
                new_failures += kind.number
    return ChangeCounts(counts, new_failures)


def compare(
    base: Iterable[Told],
    head: Iterable[Told],
    *,
    states: Mapping[int, FlakeState] | None = None,
    base_failing: AbstractSet[int] | None = None,
    slower: AbstractSet[int] | None = None,
    thresholds: SlowerThresholds | None = None,
) -> Comparison:
    """Compare `head` with `base`; a test counts once in each, the last one given.

    `states` is what the base's history says of flakiness. `base_failing` are the tests that fail on the base
    branch now; None when that is not known. `slower` are the tests that took longer than chance explains;
    without it that is judged by their seconds. What was skipped neither passed nor failed.
    """
    before = {result.case: result for result in base}
    after = {result.case: result for result in head}
    limits = thresholds or SlowerThresholds()
    known = states or {}
    found: dict[Change, list[Difference]] = {change: [] for change in Change}
    every = before.keys() | after.keys()
    for case in every:
        old, new = before.get(case), after.get(case)
        change = _change(old, new, known.get(case, FlakeState.HEALTHY), limits, slower)
        if change:
            place = _place(new, base_failing) if new else None
            outcomes = (old.outcome if old else None, new.outcome if new else None)
            found[change].append(Difference(case, change, *outcomes, place))
    for own in found.values():
        own.sort(key=lambda one: (one.head not in FAILING, one.case))
    return Comparison(found, len(every) - sum(map(len, found.values())))


def _change(
    old: Told | None,
    new: Told | None,
    state: FlakeState,
    limits: SlowerThresholds,
    slower: AbstractSet[int] | None = None,
) -> Change | None:
    if new is None:
        return Change.REMOVED
    if old is None:
        return Change.FLAKY if new.outcome is Outcome.FLAKY else Change.NEW_TEST
    if new.outcome is Outcome.FLAKY:
        return Change.FLAKY
    turned = _turn(old.outcome, new.outcome)
    has_turned = turned is Change.BROKE or turned is Change.FIXED
    if has_turned and (old.outcome is Outcome.FLAKY or state in UNRELIABLE):
        return Change.FLAKY
    if old.outcome is new.outcome is Outcome.PASSED:
        is_slow = is_slower(old.seconds, new.seconds, limits) if slower is None else new.case in slower
        return Change.SLOWER if is_slow else None
    return turned


def _turn(old: Outcome, new: Outcome) -> Change | None:
    if new in FAILING:
        return Change.STILL_FAILING if old in FAILING else Change.BROKE
    return Change.FIXED if old in FAILING and new is Outcome.PASSED else None


def is_slower(
    before: tuple[float, ...], after: tuple[float, ...], thresholds: SlowerThresholds | None = None
) -> bool:
    """Whether the median after is longer by share and by seconds, and above the base's p95 if it has one."""
    limits = thresholds or SlowerThresholds()
    if not before or not after:
        return False
    usual, now = median(before), median(after)
    risen = ratio(now, usual) >= limits.ratio and now - usual >= limits.seconds
    return risen and (len(before) < limits.base_count or now > percentile(before, 0.95))


def _place(result: Told, base_failing: AbstractSet[int] | None) -> Place | None:
    if base_failing is None or result.outcome not in FAILING:
        return None
    return Place.ALSO_ON_BASE if result.case in base_failing else Place.NEW_ON_BRANCH
