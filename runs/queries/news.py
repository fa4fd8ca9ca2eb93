"""What a finished run changed for its suite on its branch, and what a Git host is to hear of a commit."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse

from runs.models import Project, Result, Run, Suite
from runs.notify.news import (
    TESTS_TOLD,
    CommitFacts,
    News,
    NewsEvent,
    ProjectFacts,
    RunFacts,
    TestFacts,
    Totals,
)
from runs.providers import CommitState, CommitStatus
from runs.queries.held import held_words
from runs.queries.quarantine import gate_of
from runs.queries.text import one_line
from runs.vocabulary import FAILING, FINISHED, RunStatus, Verdict

_NAME_LIMIT: Final = 120
_LINE_LIMIT: Final = 160
_SENTENCE_LIMIT: Final = 400
#: Ends that say how a suite stands; a cancelled run says nothing.
_SAYING: Final = sorted(FINISHED - {RunStatus.CANCELLED})
_TELLING: Final = sorted({RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT})


class Standing(StrEnum):
    """How a suite stands on a branch after a run."""

    PASSES = "passes"
    FAILS = "fails"
    #: It could not be run, or its report could not be read.
    ERRED = "erred"


EVENT_OF: Final = {
    Standing.PASSES: NewsEvent.PASSED,
    Standing.FAILS: NewsEvent.FAILED,
    Standing.ERRED: NewsEvent.ERRORED,
}
STANDING_OF: Final = {
    NewsEvent.PASSED: Standing.PASSES,
    NewsEvent.FAILED: Standing.FAILS,
    NewsEvent.NEW_FAILURES: Standing.FAILS,
    NewsEvent.ERRORED: Standing.ERRED,
}


def standing_of(run: Run) -> Standing | None:
    """How the suite stands after the run, by its verdict; None when it is not finished or was cancelled."""
    if run.status == RunStatus.ERRORED:
        return Standing.ERRED
    return {Verdict.PASS: Standing.PASSES, Verdict.FAIL: Standing.FAILS}.get(Verdict(run.verdict))


def news_of(run: Run, *, told: Standing | None = None) -> News | None:
    """What changed with the run, beside the one before it of its suite and branch; None when nothing did.

    The first run of a branch changes nothing, and one that ends after a newer one is no news any more.
    `told` is what people were told of this very run before more of it came.
    """
    standing = standing_of(run)
    beside = Run.objects.filter(suite=run.suite_id, branch=run.branch, status__in=_SAYING)
    if standing is None or beside.filter(number__gt=run.number).exists():
        return None
    older = beside.filter(number__lt=run.number).order_by("-number")
    previous = older.first()
    before = told or (standing_of(previous) if previous else None)
    if before is None:
        return None
    new = _NewFailures.of(run, older.filter(status__in=_TELLING).first())
    if standing is before:
        if standing is not Standing.FAILS or told or not new.count:
            return None
        return _news(run, NewsEvent.NEW_FAILURES, previous, new)
    return _news(run, EVENT_OF[standing], previous, new)


def test_news(project: Project) -> News:
    """What a channel is sent when somebody tries it."""
    return News(event=NewsEvent.TEST, project=_project(project))


class _NewFailures:
    """Tests that fail and decide now, and did not fail in another run."""

    def __init__(self, found: QuerySet[Result], project: Project) -> None:
        self.count = found.count()
        shown = found.select_related("case", "failure").order_by("position", "case_id")[:TESTS_TOLD]
        self.tests = tuple(_test(result, project) for result in shown) if self.count else ()

    @classmethod
    def of(cls, run: Run, other: Run | None) -> _NewFailures:
        failing = _failing(run) if run.failed_count + run.errored_count else Result.objects.none()
        if other is not None and other.failed_count + other.errored_count:
            failing = failing.exclude(case__in=_failing(other).values("case"))
        return cls(failing.exclude(case__in=sorted(gate_of(run).spared)), run.project)


def _failing(run: Run) -> QuerySet[Result]:
    return Result.objects.filter(run_at=run.run_at, run=run.pk, outcome__in=sorted(FAILING))


def _news(run: Run, event: NewsEvent, previous: Run | None, new: _NewFailures) -> News:
    return News(
        event=event,
        project=_project(run.project),
        suite=one_line(run.suite.name, _NAME_LIMIT),
        branch=one_line(run.branch, _NAME_LIMIT),
        pull_request=one_line(run.pull_request, _NAME_LIMIT),
        run=RunFacts(
            id=run.pk,
            number=run.number,
            url=url_of(run),
            status=run.status,
            verdict=run.verdict,
            error_message=one_line(run.error_message, _SENTENCE_LIMIT),
            duration_seconds=None if run.duration_ms is None else run.duration_ms / 1000,
        ),
        previous_number=previous.number if previous else None,
        why=why_of(run),
        held=held_words(run, now=datetime.now(tz=UTC)),
        commit=CommitFacts(
            sha=run.commit,
            title=one_line(run.commit_message, _LINE_LIMIT),
            author=one_line(run.commit_author, _NAME_LIMIT),
        ),
        totals=Totals(
            tests=run.test_count,
            passed=run.passed_count,
            failed=run.failed_count,
            errored=run.errored_count,
            skipped=run.skipped_count,
            flaky=run.flaky_count,
        ),
        new_failure_count=new.count,
        new_failures=new.tests,
    )


def why_of(run: Run) -> str:
    """The verdict's reason in a line: what the tests did, and what the suite's gates said."""
    return one_line(gate_of(run).why, _SENTENCE_LIMIT)


def _project(project: Project) -> ProjectFacts:
    address = f"{settings.PUBLIC_URL}{reverse('overview', args=[project.slug])}"
    return ProjectFacts(slug=project.slug, name=one_line(project.name, _NAME_LIMIT), url=address)


def _test(result: Result, project: Project) -> TestFacts:
    case, failure = result.case, result.failure
    return TestFacts(
        name=one_line(f"{case.name}{case.parameters}", _LINE_LIMIT),
        message=one_line(failure.message or failure.kind, _LINE_LIMIT) if failure else "",
        url=f"{settings.PUBLIC_URL}{reverse('test', args=[project.slug, case.pk])}",
    )


def url_of(run: Run) -> str:
    """A run's page as people outside reach it."""
    return f"{settings.PUBLIC_URL}{run.get_absolute_url()}"


def run_for_status(suite: Suite, commit: str) -> Run | None:
    """The run that speaks for the suite on the commit: the newest that was not cancelled, else the newest."""
    own = Run.objects.filter(project=suite.project_id, suite=suite, commit=commit).order_by("-number")
    return own.exclude(status=RunStatus.CANCELLED).first() or own.first()


def commit_status(run: Run) -> CommitStatus:
    """What a Git host is to hear of the run's commit now: its state by the verdict, so quarantine counts."""
    state, description = _state(run)
    return CommitStatus(
        commit=run.commit,
        state=state,
        context=f"itdash/{one_line(run.suite.name, _NAME_LIMIT)}",
        description=description,
        target_url=url_of(run),
    )


def _state(run: Run) -> tuple[CommitState, str]:
    match run.status:
        case RunStatus.QUEUED:
            return CommitState.QUEUED, f"Run #{run.number} is queued."
        case RunStatus.PREPARING | RunStatus.RUNNING | RunStatus.INGESTING:
            return CommitState.RUNNING, f"Run #{run.number} is {run.status}."
        case RunStatus.CANCELLED:
            return CommitState.CANCELLED, f"Run #{run.number} was cancelled."
        case RunStatus.ERRORED:
            return CommitState.ERROR, one_line(run.error_message, _SENTENCE_LIMIT)
    is_good = run.verdict == Verdict.PASS
    if is_good and run.status == RunStatus.PASSED:
        return CommitState.SUCCESS, _counts(run)
    return CommitState.SUCCESS if is_good else CommitState.FAILURE, f"{why_of(run)} {_counts(run)}"


def _counts(run: Run) -> str:
    named = (
        (run.failed_count + run.errored_count, "failed"),
        (run.passed_count, "passed"),
        (run.flaky_count, "flaky"),
        (run.skipped_count, "skipped"),
    )
    parts = [f"{count:,} {word}" for count, word in named if count]
    return f"{', '.join(parts)} of {run.test_count:,} tests." if parts else "No tests."
