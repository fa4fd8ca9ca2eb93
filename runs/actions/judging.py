"""Judge the tests that a finished run touched: the only writer of `CaseState`.

The verdict depends on the suite's rows alone, never on which doorbell was heard: judged twice, a run
changes nothing, and one whose doorbell was lost is judged with the suite's next, which looks at all of
the evidence again. What makes no verdict has no row: a case without one is healthy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import batched
from typing import Any

from django.db import transaction

from runs.actions.locks import Lock, wait_for
from runs.analytics.flakiness import CaseRun, FlakeState, FlakeThresholds, FlakeVerdict, judge_case
from runs.models import CaseState, Run, Suite
from runs.queries.evidence import SuiteEvidence, cases_touched, evidence_of_suite

#: Cases judged at once, by a handful of statements.
CHUNK = 2_000

#: Of a verdict, without a column of their own.
_INPUTS = (
    "direct_recent",
    "executions",
    "failing_streak",
    "passing_executions",
    "changes_hit",
    "runs_per_week",
)


def judge_run(run_id: int) -> int:
    """Judge what the run touched by all that is known of its suite; return how many verdicts changed.

    Nothing happens for a run that is gone, not finished or without results.
    """
    run = Run.objects.select_related("project").filter(pk=run_id).first()
    if run is None or not run.is_finished:
        return 0
    return judge_by_suite(run)[0]


def judge_by_suite(run: Run) -> tuple[int, SuiteEvidence]:
    """The same for a finished run; return also what was read of its suite."""
    with transaction.atomic():
        # One at a time: the last verdict is an input of the next.
        wait_for(Lock.VERDICTS, run.suite_id)
        evidence = evidence_of_suite(run.suite_id, default_branch=run.project.default_branch)
        if run.pk not in evidence.runs:
            return 0, evidence
        touched = cases_touched(run)
        failed = evidence.cases_to_judge(run.pk)
        changed = (_judge_chunk(chunk, failed, evidence) for chunk in batched(touched, CHUNK, strict=False))
        return sum(changed), evidence


def forget_verdicts(suite_id: int, cases: Sequence[int]) -> None:
    """Forget what is known of these of the suite's cases; within the transaction that gives them away."""
    wait_for(Lock.VERDICTS, suite_id)
    CaseState.objects.filter(case__in=cases).delete()


def judge_cases(suite: Suite, cases: Sequence[int]) -> None:
    """Judge these of the suite's cases anew: what is known of them changed without a run."""
    with transaction.atomic():
        wait_for(Lock.VERDICTS, suite.pk)
        evidence = evidence_of_suite(suite.pk, default_branch=suite.project.default_branch)
        if evidence.runs:
            for chunk in batched(sorted(cases), CHUNK, strict=False):
                _judge_chunk(chunk, set(chunk), evidence)


def _judge_chunk(touched: Sequence[int], failed: set[int], evidence: SuiteEvidence) -> int:
    known = CaseState.objects.in_bulk(touched)
    to_judge = [case for case in touched if case in failed or case in known]
    if not to_judge:
        return 0
    changed = list(_changed(to_judge, known, evidence))
    if changed:
        CaseState.objects.bulk_create(
            changed, update_conflicts=True, unique_fields=["case"], update_fields=_UPDATED
        )
    return len(changed)


def _changed(
    cases: Sequence[int], known: dict[int, CaseState], evidence: SuiteEvidence
) -> Iterator[CaseState]:
    rows = evidence.rows_of(cases)
    now, rerun_seconds = evidence.now, evidence.rerun_seconds
    for case in cases:
        before = known.get(case)
        verdict = judge_case(
            rows[case],
            evidence.outages,
            now=now,
            previous=verdict_of(before) if before else None,
            rerun_seconds=rerun_seconds,
        )
        values = _values(verdict, rerun_seconds, _median_ms(rows[case]))
        if before is None:
            says_something = verdict.state or verdict.is_broken or verdict.direct or verdict.isolated
            if says_something:
                yield CaseState(case_id=case, changed_at=now, judged_at=now, **values)
        elif any(getattr(before, name) != value for name, value in values.items()):
            is_new = (before.flakiness, before.is_broken) != (values["flakiness"], values["is_broken"])
            changed_at = now if is_new else before.changed_at
            yield CaseState(case_id=case, changed_at=changed_at, judged_at=now, **values)


def _median_ms(rows: Sequence[CaseRun]) -> int | None:
    """The middle of the measured durations."""
    known = sorted(row.seconds for row in rows if row.seconds is not None)
    return round(known[len(known) // 2] * 1000) if known else None


def _values(verdict: FlakeVerdict, rerun_seconds: float, median_ms: int | None) -> dict[str, Any]:
    last = verdict.last_evidence_at
    return {
        "flakiness": verdict.state.name.lower(),
        "is_broken": verdict.is_broken,
        "direct_count": verdict.direct,
        "isolated_count": verdict.isolated,
        "commit_count": verdict.commits,
        "masked_count": verdict.masked_runs,
        "evidence": verdict.score,
        "evidence_low": verdict.score_low,
        "evidence_high": verdict.score_high,
        "lost_ms_per_week": round(verdict.lost_seconds_per_week * 1000),
        "median_duration_ms": median_ms,
        "algorithm_version": verdict.algorithm_version,
        "inputs": {name: getattr(verdict, name) for name in _INPUTS}
        | {
            "last_evidence_at": last.isoformat() if last else None,
            "rerun_seconds": rerun_seconds,
            "thresholds": asdict(verdict.thresholds),
        },
    }


_UPDATED = [
    "flakiness",
    "is_broken",
    "direct_count",
    "isolated_count",
    "commit_count",
    "masked_count",
    "evidence",
    "evidence_low",
    "evidence_high",
    "lost_ms_per_week",
    "median_duration_ms",
    "algorithm_version",
    "inputs",
    "changed_at",
    "judged_at",
]


def verdict_of(state: CaseState) -> FlakeVerdict:
    """The verdict that the row was written from."""
    inputs = state.inputs
    last = inputs.get("last_evidence_at")
    return FlakeVerdict(
        state=FlakeState[state.flakiness.upper()],
        is_broken=state.is_broken,
        direct=state.direct_count,
        isolated=state.isolated_count,
        commits=state.commit_count,
        masked_runs=state.masked_count,
        last_evidence_at=datetime.fromisoformat(last) if last else None,
        score=state.evidence,
        score_low=state.evidence_low,
        score_high=state.evidence_high,
        lost_seconds_per_week=state.lost_ms_per_week / 1000,
        thresholds=FlakeThresholds(**inputs.get("thresholds", {})),
        algorithm_version=state.algorithm_version,
        **{name: inputs.get(name, 0) for name in _INPUTS},
    )
