"""Which tests are slowest, which got slower, and whether a pass rate fell; most telling first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runs.analytics.durations import DEFAULTS, DurationThresholds, Spread, Step, spread, step
from runs.analytics.samples import fisher_greater

#: A rise that chance explains less often than this is listed; the alert is stricter.
LISTED_P_VALUE = 0.01


@dataclass(frozen=True, slots=True)
class Durations:
    """A test's passing durations in seconds, in order of time."""

    case: int
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Slow:
    """A slow test: its usual and its slow execution, and its share of the time of all."""

    case: int
    spread: Spread
    share: float


@dataclass(frozen=True, slots=True)
class Regressed:
    """A test that takes longer than it did; `step.is_slower` when it is worth an alert."""

    case: int
    step: Step
    added_seconds: float


@dataclass(frozen=True, slots=True)
class PassRate:
    """Executions of one test, or of many, in one window."""

    passed: int
    failed: int

    @property
    def share(self) -> float:
        """Passed of all; 1 of none."""
        executed = self.passed + self.failed
        return self.passed / executed if executed else 1.0


@dataclass(frozen=True, slots=True)
class PassRateThresholds:
    """When a pass rate counts as fallen: certainty, a drop that matters, failures enough to speak of."""

    p_value: float = 0.05
    points: float = 0.05
    failures: int = 3


@dataclass(frozen=True, slots=True)
class PassRateDrop:
    """By how much it fell (0 to 1), and how likely chance alone would do that."""

    points: float
    p_value: float
    is_regression: bool


def slowest(cases: Iterable[Durations], limit: int = 20) -> list[Slow]:
    """The tests with the largest medians, slowest first; those never seen to pass are left out."""
    known = [(item.case, found) for item in cases if (found := spread(item.seconds))]
    whole = sum(found.p50 for _, found in known)
    ordered = sorted(known, key=lambda pair: (-pair[1].p50, -pair[1].p95, pair[0]))
    return [Slow(case, found, found.p50 / whole if whole else 0.0) for case, found in ordered[:limit]]


def most_regressed(
    cases: Iterable[Durations], limit: int = 20, thresholds: DurationThresholds = DEFAULTS
) -> list[Regressed]:
    """The tests whose last executions take longest in addition to those before, beyond chance."""
    found = []
    for item in cases:
        change = step(item.seconds, thresholds)
        if change and change.after > change.before and change.p_value < LISTED_P_VALUE:
            found.append(Regressed(item.case, change, change.after - change.before))
    return sorted(found, key=lambda one: (-one.added_seconds, one.case))[:limit]


def pass_rate_drop(
    recent: PassRate, base: PassRate, thresholds: PassRateThresholds | None = None
) -> PassRateDrop:
    """Compare two windows or two releases, as Sippy's component readiness does, by Fisher's exact test."""
    limits = thresholds or PassRateThresholds()
    points = base.share - recent.share
    p_value = fisher_greater(recent.failed, recent.passed, base.failed, base.passed)
    clear = recent.failed >= limits.failures and points > limits.points and p_value < limits.p_value
    return PassRateDrop(points, p_value, clear)
