"""What a run is measured against: the newest runs of its suite on the project's default branch."""

from __future__ import annotations

from collections.abc import Iterable

from runs.analytics.flakiness import OutageReason, RunFacts, outages_among
from runs.models import Result, Run
from runs.models.runs import RunQuerySet
from runs.vocabulary import FAILING, Outcome, RunStatus, Verdict

#: Runs that end so say something about their tests.
TELLING = [RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT]
#: Runs of the branch looked at for one that can be a base, and for the usual duration.
LOOKED_AT = 30
#: The median of so many passed runs is the usual duration.
USUAL_RUNS = 10
#: What failed an attempt, whether it passed in the end or not.
_UNSOUND = sorted({*FAILING, Outcome.FLAKY})


def telling_runs(suite_id: int) -> RunQuerySet:
    """Runs of a suite that say something of all its tests: not errored, not empty, not of selected tests, and
    whose results are still there."""
    found = Run.objects.filter(suite=suite_id, status__in=TELLING, test_count__gt=0, selection=[])
    return found.filter(results_removed_at=None)


def runs_of_branch(suite_id: int, branch: str, *, before: int | None = None) -> list[Run]:
    """The newest telling runs of a branch, pull requests aside, newest first; `before` is a run's number."""
    found = telling_runs(suite_id).filter(branch=branch, pull_request="")
    if before is not None:
        found = found.filter(number__lt=before)
    return list(found.select_related("requested_by").newest_first()[:LOOKED_AT])


def base_runs(run: Run) -> list[Run]:
    """The runs that `run` is measured against, newest first: those of the default branch, or those before it.

    Outages, in which most tests failed, say nothing of what a change broke and are left out.
    """
    default = run.project.default_branch
    is_on_it = not run.pull_request and (run.branch or run.ref) == default
    found = runs_of_branch(run.suite_id, default, before=run.number if is_on_it else None)
    return without_outages(one for one in found if one.pk != run.pk)


def without_outages(runs: Iterable[Run]) -> list[Run]:
    """Those of the runs in which not most of the tests failed."""
    known = list(runs)
    facts = [
        RunFacts(
            run=one.pk,
            executed=one.test_count - one.skipped_count,
            failed=one.failed_count + one.errored_count,
        )
        for one in known
    ]
    outages = outages_among(facts)
    return [one for one in known if outages.get(one.pk) is not OutageReason.MOSTLY_FAILED]


def last_green(runs: Iterable[Run]) -> Run | None:
    """The newest of the runs whose verdict is pass."""
    return next((one for one in runs if one.verdict == Verdict.PASS), None)


def passed_durations(runs: Iterable[Run]) -> list[int]:
    """Milliseconds that the newest passed ones of the runs took, at most `USUAL_RUNS`."""
    passed = [one.duration_ms for one in runs if one.status == RunStatus.PASSED]
    return [duration for duration in passed if duration is not None][:USUAL_RUNS]


def unsound_cases(run: Run) -> set[int]:
    """Cases of which an attempt failed in the run."""
    found = Result.objects.filter(run_at=run.run_at, run=run.pk, outcome__in=_UNSOUND)
    return set(found.values_list("case_id", flat=True))


def failing_cases_of(run: Run) -> set[int]:
    """Cases that failed in the run."""
    found = Result.objects.filter(run_at=run.run_at, run=run.pk, outcome__in=sorted(FAILING))
    return set(found.values_list("case_id", flat=True))
