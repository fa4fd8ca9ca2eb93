"""What a suite's tests are judged by: SQL gathers narrow rows, `runs.analytics.flakiness` judges them.

The runs looked at are read once per judgement, the rows of their cases once per chunk of cases. Cases
that passed throughout and were never anything but healthy are not read at all: there is nothing to judge
(docs/decisions/0120).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connection
from django.db.models import OuterRef, Subquery

from runs.analytics.flakiness import DEFAULTS, CaseRun, FlakeThresholds, OutageReason, RunFacts, outages_among
from runs.analytics.samples import median
from runs.models import GroupRun, Result, Run
from runs.models.runs import RunQuerySet
from runs.vocabulary import Outcome, RunStatus

#: Runs of a suite looked at, whatever the thresholds ask for: what a judgement may cost is bounded.
RUN_LIMIT = 1_000

#: Runs that say something about their tests; an errored or cancelled one does not.
_TELLING = [RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT]

#: By what name `with_largest_group` tells it.
_LARGEST_GROUP = "largest_group"
_CASES_WITH_FAILURES = """
SELECT DISTINCT case_id FROM runs_result
WHERE run_at BETWEEN %(since)s AND %(until)s AND run_id = ANY(%(runs)s)
  AND outcome <> 'passed' AND outcome IN ('failed', 'errored', 'flaky')
"""
# By the cases and not by the runs, which hold all the others too: `+ 0` leaves no other index to take. One
# attempt is told by its result; more are counted, since a case may fail after it passed.
_ROWS = """
SELECT r.case_id, r.run_id, r.duration_ms,
       CASE WHEN r.attempt_count = 1 THEN (r.outcome = 'passed')::integer ELSE a.passed END,
       CASE WHEN r.attempt_count = 1 THEN (r.outcome IN ('failed', 'errored'))::integer ELSE a.failed END
FROM runs_result r
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE a.outcome = 'passed') AS passed,
           count(*) FILTER (WHERE a.outcome IN ('failed', 'errored')) AS failed
    FROM runs_attempt a
    WHERE a.run_at = r.run_at AND a.run_id = r.run_id AND a.case_id = r.case_id AND r.attempt_count > 1
    OFFSET 0
) a ON r.attempt_count > 1
WHERE r.run_at BETWEEN %(since)s AND %(until)s AND r.case_id = ANY(%(cases)s)
  AND r.run_id + 0 = ANY(%(runs)s)
"""


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run as far as its tests' verdicts depend on it."""

    run: int
    number: int
    at: datetime
    commit: str
    branch: str
    change: str
    on_default_branch: bool
    executed: int
    failed: int
    #: Of them those that failed alike, at most.
    alike: int
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class SuiteEvidence:
    """The runs that a suite's tests are judged by."""

    runs: Mapping[int, RunSeen]
    outages: Mapping[int, OutageReason]

    @property
    def now(self) -> datetime:
        """A suite is judged as of its newest run, so the same rows give the same verdicts whenever read."""
        return max(run.at for run in self.runs.values())

    @property
    def rerun_seconds(self) -> float:
        """What it takes to run the suite once more."""
        known = [run.duration_ms for run in self.runs.values() if run.duration_ms is not None]
        return median(known) / 1000 if known else 0.0

    def _bounds(self, runs: Sequence[int]) -> dict[str, Any]:
        moments = [self.runs[run].at for run in runs]
        return {"since": min(moments), "until": max(moments), "runs": list(runs)}

    def cases_to_judge(self, run_id: int) -> set[int]:
        """Cases with a failure in this run, or in any that is no outage."""
        runs = [
            run.run
            for run in self.runs.values()
            if run.run == run_id or self.outages.get(run.run) is not OutageReason.MOSTLY_FAILED
        ]
        with connection.cursor() as cursor:
            cursor.execute(_CASES_WITH_FAILURES, self._bounds(runs))
            return {case for (case,) in cursor.fetchall()}

    def rows_of(self, cases: Sequence[int]) -> dict[int, list[CaseRun]]:
        """What came of the cases in each run, by case; in one statement."""
        found: defaultdict[int, list[CaseRun]] = defaultdict(list)
        with connection.cursor() as cursor:
            cursor.execute(_ROWS, self._bounds(sorted(self.runs)) | {"cases": list(cases)})
            for case, run_id, duration_ms, passed, failed in cursor.fetchall():
                run = self.runs[run_id]
                found[case].append(
                    CaseRun(
                        commit=run.commit,
                        at=run.at,
                        run=run_id,
                        passed_count=passed,
                        failed_count=failed,
                        on_default_branch=run.on_default_branch,
                        change=run.change,
                        seconds=None if duration_ms is None else duration_ms / 1000,
                    )
                )
        return found


def evidence_of_suite(
    suite_id: int, *, default_branch: str, thresholds: FlakeThresholds = DEFAULTS
) -> SuiteEvidence:
    """The suite's finished runs of the window's days and commits, and which of them are outages."""
    runs = _runs_seen(suite_id, default_branch, thresholds)
    return SuiteEvidence({run.run: run for run in runs}, _outages(runs, thresholds))


def with_largest_group(runs: RunQuerySet) -> RunQuerySet:
    """Runs that tell how many of their tests failed alike, which is what `outages_of` wants to know."""
    groups = GroupRun.objects.filter(run=OuterRef("pk")).order_by("-failed_count")
    return runs.annotate(**{_LARGEST_GROUP: Subquery(groups.values("failed_count")[:1])})


def outages_of(
    runs: Sequence[Run], *, default_branch: str, thresholds: FlakeThresholds = DEFAULTS
) -> dict[int, OutageReason]:
    """Which of these runs, read by `with_largest_group`, are outages, by id."""
    telling = [run for run in runs if run.status in _TELLING and run.test_count]
    return _outages([_seen(run, default_branch) for run in telling], thresholds)


def _outages(runs: Sequence[RunSeen], thresholds: FlakeThresholds) -> dict[int, OutageReason]:
    facts = [
        RunFacts(run=run.run, executed=run.executed, failed=run.failed, largest_shared_failure=run.alike)
        for run in runs
    ]
    return outages_among(facts, thresholds)


def cases_touched(run: Run) -> list[int]:
    """The cases that were executed in the run, ascending."""
    executed = Result.objects.filter(run_at=run.run_at, run=run.pk).exclude(outcome=Outcome.SKIPPED)
    return list(executed.order_by("case_id").values_list("case_id", flat=True))


def _runs_seen(suite_id: int, default_branch: str, thresholds: FlakeThresholds) -> list[RunSeen]:
    """Newest first, as far back as both windows reach."""
    telling = Run.objects.filter(suite=suite_id, status__in=_TELLING, test_count__gt=0)
    # As rows and not as models: there may be a thousand, for each run that is judged.
    newest = with_largest_group(telling).newest_first()
    rows = newest.values_list("pk", *_READ, _LARGEST_GROUP, named=True)[:RUN_LIMIT]
    found = [_seen(cast("Run", row), default_branch) for row in rows]
    found.sort(key=lambda run: (run.at, run.run), reverse=True)
    commits: set[str] = set()
    kept = []
    for run in found:
        is_recent = found[0].at - run.at <= timedelta(days=thresholds.window_days)
        if not is_recent and len(commits) >= thresholds.window_commits:
            break
        kept.append(run)
        if run.on_default_branch:
            commits.add(run.commit or f"run {run.run}")
    return kept


_READ = (
    "number",
    "run_at",
    "commit",
    "branch",
    "ref",
    "pull_request",
    "test_count",
    "skipped_count",
    "failed_count",
    "errored_count",
    "duration_ms",
)


def _seen(run: Run, default_branch: str) -> RunSeen:
    return RunSeen(
        run=run.pk,
        number=run.number,
        at=run.run_at,
        commit=run.commit,
        branch=run.branch or run.ref,
        change=run.pull_request,
        on_default_branch=not run.pull_request and (run.branch or run.ref) == default_branch,
        executed=run.test_count - run.skipped_count,
        failed=run.failed_count + run.errored_count,
        alike=getattr(run, _LARGEST_GROUP) or 0,
        duration_ms=run.duration_ms,
    )
