"""Under which conditions a test fails more often: rates with intervals, and which tell something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runs.analytics.samples import fisher_greater, ratio, wilson

#: Fewer failures in all say nothing of when it fails.
MIN_FAILURES = 5
#: A condition met less often is not shown.
MIN_EXECUTIONS = 5
#: One chance in a hundred that any of the conditions looked at is called telling by chance.
CERTAINTY = 0.01


@dataclass(frozen=True, slots=True)
class Condition:
    """How often a test failed under one condition."""

    name: str
    failed: int
    executed: int
    #: 0 to 1, with the bounds of its 95 % interval.
    share: float
    low: float
    high: float
    #: How many times as often as otherwise; infinite when it never failed otherwise.
    times: float
    #: Whether chance alone would hardly do that (one-sided Fisher test, corrected for the conditions tried).
    is_telling: bool


def compare_conditions(failed: Sequence[bool], met: Mapping[str, Sequence[bool]]) -> list[Condition]:
    """Compare executions that met a condition with those that did not.

    `failed` says of each execution whether it failed, each row of `met` whether the condition was met in it.
    Conditions come in their order; those that too few executions met, or missed, are left out. Empty with
    fewer failures than `MIN_FAILURES`.
    """
    if sum(failed) < MIN_FAILURES:
        return []
    shown = {
        name: where
        for name, where in met.items()
        if MIN_EXECUTIONS <= sum(where) <= len(failed) - MIN_EXECUTIONS
    }
    return [_condition(name, failed, where, tried=len(shown)) for name, where in shown.items()]


def _condition(name: str, failed: Sequence[bool], where: Sequence[bool], *, tried: int) -> Condition:
    inside = [bad for bad, holds in zip(failed, where, strict=True) if holds]
    bad, executed = sum(inside), len(inside)
    other_bad, other = sum(failed) - bad, len(failed) - executed
    chance = fisher_greater(bad, executed - bad, other_bad, other - other_bad)
    low, high = wilson(bad, executed)
    return Condition(
        name=name,
        failed=bad,
        executed=executed,
        share=bad / executed,
        low=low,
        high=high,
        times=ratio(bad / executed, other_bad / other),
        is_telling=chance * tried < CERTAINTY,
    )
