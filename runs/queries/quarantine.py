"""Which cases are in quarantine, and what that means for a run's verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from runs.models import Quarantine, Result, Run, Shard, TestCase
from runs.queries.baseline import unsound_cases
from runs.vocabulary import FAILING, RunStatus, Verdict

#: Failing cases that are named; all are counted.
NAME_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Gate:
    """A run's failures, told apart: those that decide, those in quarantine, those that a gate lets pass."""

    run: Run
    #: By case: the quarantines of cases that failed.
    spared: dict[int, Quarantine]
    failing_count: int
    #: Shards whose tests' container ended with an error though none of their tests failed.
    broken_shards: list[int]
    #: Cases that failed, are not in quarantine, and fail in the run that the gates compared with.
    excused: frozenset[int] = frozenset()

    @property
    def gating_count(self) -> int:
        """Failing tests that decide."""
        return self.failing_count - len(self.spared) - len(self.excused)

    @property
    def lets_pass(self) -> bool:
        """Whether nothing but cases in quarantine failed."""
        has_failed_only = self.run.status == RunStatus.FAILED
        return has_failed_only and bool(self.spared) and not self._decisive_count and not self.broken_shards

    @property
    def _decisive_count(self) -> int:
        """Failing tests outside of quarantine."""
        return self.failing_count - len(self.spared)

    @property
    def strict_verdict(self) -> Verdict:
        """Pass or fail after quarantine, before gates; none for a run that says nothing of its tests."""
        if self.run.status in {RunStatus.FAILED, RunStatus.TIMED_OUT}:
            return Verdict.PASS if self.lets_pass else Verdict.FAIL
        return Verdict.PASS if self.run.status == RunStatus.PASSED else Verdict.NONE

    @property
    def verdict(self) -> Verdict:
        """Pass or fail after quarantine and gates, as it was decided when the run ended."""
        return Verdict(self.run.verdict)

    @property
    def reasons(self) -> list[str]:
        """What the suite's gates said, a sentence each; empty without gates."""
        return [str(reason) for reason in self.run.verdict_reasons]

    @property
    def why(self) -> str:
        """The verdict's reason in sentences."""
        return " ".join([self._why, *self.reasons])

    @property
    def _why(self) -> str:
        if not self.run.is_finished:
            return "The run is not finished."
        if self.run.status in {RunStatus.ERRORED, RunStatus.CANCELLED}:
            return f"The run was {self.run.status}: it says nothing about the tests."
        if self.lets_pass:
            return f"Nothing failed but {_tests(len(self.spared))} in quarantine."
        count = self._decisive_count
        said = [f"{_tests(count)} failed"] if count else []
        said += [f"shard {number} failed though none of its tests did" for number in self.broken_shards]
        if self.run.status == RunStatus.TIMED_OUT:
            said.append("the suite's time-out had passed")
        if self.run.status == RunStatus.FAILED and not said:
            said.append("the tests' container ended with an error though no test failed")
        sentence = " and ".join(said) or "no test failed"
        also = f"; {len(self.spared)} more in quarantine" if self.spared else ""
        return f"{sentence[:1].upper()}{sentence[1:]}{also}."


def quarantine_of(case: TestCase, *, now: datetime) -> Quarantine | None:
    """The quarantine the case is in."""
    held = Quarantine.objects.in_force(now).filter(case=case)
    return held.select_related("created_by").first()


def gate_of(run: Run) -> Gate:
    """One to five queries, fewest where nothing failed or is in quarantine. The run's totals are loaded."""
    failing_count = run.failed_count + run.errored_count
    held: dict[int, Quarantine] = {}
    if failing_count:
        quarantines = Quarantine.objects.in_force(run.run_at).filter(case__suite=run.suite_id)
        held = {quarantine.case_id: quarantine for quarantine in quarantines.select_related("case")}
    if not failing_count or not (held or run.gates):
        return Gate(run=run, spared={}, failing_count=failing_count, broken_shards=[])
    failed = list(_failing(run).order_by("position", "case_id").values_list("case_id", flat=True))
    broken = Shard.objects.filter(run=run, status=RunStatus.FAILED, failed_count=0).exclude(exit_code=None)
    return Gate(
        run=run,
        spared={case: held[case] for case in failed if case in held},
        failing_count=failing_count,
        broken_shards=list(broken.exclude(exit_code=0).order_by("number").values_list("number", flat=True)),
        excused=_excused(run, set(failed) - held.keys()),
    )


def _excused(run: Run, failed: set[int]) -> frozenset[int]:
    if "new_failures" not in run.gates or run.verdict_base is None:
        return frozenset()
    return frozenset(failed & unsound_cases(run.verdict_base))


def gating_cases(gate: Gate) -> list[TestCase]:
    """The failing cases that decide, in the report's order, at most `NAME_LIMIT`."""
    if not gate.gating_count:
        return []
    found = _failing(gate.run).exclude(case__in=sorted(gate.spared.keys() | gate.excused))
    return [
        result.case for result in found.select_related("case").order_by("position", "case_id")[:NAME_LIMIT]
    ]


def _failing(run: Run) -> QuerySet[Result]:
    return Result.objects.filter(run_at=run.run_at, run=run.pk, outcome__in=sorted(FAILING))


def _tests(count: int) -> str:
    return f"{count} test{'' if count == 1 else 's'}"
