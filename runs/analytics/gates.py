"""A suite's gates: what fails a run beyond what its tests say, or lets it pass despite it, as sentences.

Without a run on the base branch to compare with no gate applies: every failure counts, and nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Holding(StrEnum):
    """What a gate said. Its value is the first word of the sentence."""

    HOLDS = "Holds"
    FAILS = "Fails"
    #: There was nothing to judge by; the run is judged as if it had no such gate.
    NOT_APPLIED = "Not applied"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one gate said of a run."""

    gate: str
    holding: Holding
    #: Everything but the first word.
    reason: str

    @property
    def sentence(self) -> str:
        """As it is kept and shown."""
        return f"{self.holding}: {self.reason}"


def judge_new_failures(limit: int, *, new: int, known: int, base: str) -> Ruling:
    """Let at most `limit` failures pass that the base does not have; `known` are those it has."""
    also = f"; {_counted(known, 'failure')} that it has too do not count" if known else ""
    reason = f"{_counted(new, 'new failure')} against {base}, at most {limit} allowed{also}."
    return Ruling("new_failures", Holding.HOLDS if new <= limit else Holding.FAILS, reason)


def judge_new_flaky(limit: int, *, new: int, known: int, base: str) -> Ruling:
    """Let at most `limit` tests pass only after a failed attempt that were not known to be flaky."""
    also = f"; {known} more {'was' if known == 1 else 'were'} known to be" if known else ""
    reason = f"{_counted(new, 'test')} newly flaky against {base}, at most {limit} allowed{also}."
    return Ruling("new_flaky", Holding.HOLDS if new <= limit else Holding.FAILS, reason)


def judge_duration(limit: float, *, seconds: float | None, usual_seconds: float, passes: int) -> Ruling:
    """Let the run take at most `limit` (a share) longer than the median of the base's last passed runs."""
    gate = "duration_increase"
    usual = f"a median of {_length(usual_seconds)} in the last {_counted(passes, 'passed run')}"
    if seconds is None or not usual_seconds:
        return Ruling(gate, Holding.NOT_APPLIED, f"how long the run took is not known; the base has {usual}.")
    increase = seconds / usual_seconds - 1
    change = f"{abs(increase) * 100:.0f} % {'longer' if increase >= 0 else 'less'}"
    reason = f"{_length(seconds)} against {usual}, {change}; at most {limit * 100:g} % longer is allowed."
    return Ruling(gate, Holding.HOLDS if increase <= limit else Holding.FAILS, reason)


def not_applied(gate: str, why: str) -> Ruling:
    """Say why a gate could not be judged."""
    return Ruling(gate, Holding.NOT_APPLIED, f"{gate}, because {why}.")


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s"
