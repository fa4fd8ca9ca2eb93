"""Everything a run's page shows, live or finished, section by section."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from environments.models import Environment
from runs.analytics.comparison import Change
from runs.ingestion.details import SuiteDetails
from runs.models import Artifact, Event, Report, Result, Run, Shard, TestCase
from runs.queries.boot import Boot, boots
from runs.queries.comparison import changes, usual_base
from runs.queries.environments import Standing, standing
from runs.queries.log import SHOWN_CHUNKS, LogView, log_view
from runs.queries.marks import Mark, result_mark
from runs.queries.progress import MARK, Progress, progress
from runs.queries.quarantine import Gate, gate_of
from runs.queries.result_details import suite_properties
from runs.queries.run_failures import RunFailures, run_failures
from runs.queries.run_records import first_results, results_of
from runs.vocabulary import Outcome, RunStatus, Verdict

RESULT_LIMIT = 100
STRIP_LENGTH = 20
SUITE_SAMPLE = 10
EVENT_LIMIT = 400
#: By what name `with_strips` tells a test's last outcomes.
_PAST = "last_outcomes"
_PLACE = re.compile(r"\d{1,4}\.\d{1,9}\.\d{1,18}", re.ASCII)
#: The kind of event under which execution keeps what it saw of a failed environment.
ENVIRONMENT_FAILED = "environment_failed"


class Show(StrEnum):
    """Which results are listed."""

    NOTABLE = "notable"
    SLOW = "slow"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One result with the test's recent past, oldest first."""

    result: Result
    case: TestCase
    strip: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was last seen of one service of an environment that failed."""

    service: str
    summary: str
    probe_outputs: list[str]
    log_tail: list[str]


@dataclass(frozen=True, slots=True)
class Results:
    """The results' section: what is listed and what may be chosen."""

    show: Show
    q: str
    rows: list[ResultRow]
    notable_count: int
    #: Query string of the next rows; empty at the end.
    more: str


@dataclass(frozen=True, slots=True)
class Against:
    """The run beside the one it is measured against: by what did not pass, which is quickly known."""

    base: Run
    #: Its verdict is pass; else it is the newest there is.
    is_green: bool
    new_failures: int
    counts: Mapping[Change, int]
    #: Milliseconds that it took longer; None while it is not finished, or for a run of selected tests.
    change_ms: int | None


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run's page."""

    run: Run
    now: datetime
    failures: RunFailures
    failing_count: int
    shards: list[Shard]
    boots: list[Boot]
    events: list[Event]
    #: What was seen of the services when their environment failed.
    evidence: list[Evidence]
    log: LogView
    results: Results
    reports: list[Report]
    #: What they tell of suites, those put together that are alike.
    suites: list[SuiteDetails]
    artifacts: list[Artifact]
    #: The median duration of the suite's last passed runs; None before the first.
    usual_ms: int | None
    progress: Progress
    #: Which failures are in quarantine and what that makes of the verdict.
    gate: Gate
    #: None before the first run of the default branch, and while nothing is reported.
    against: Against | None = None

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Results by kind, for the bar; while it runs, the time against the usual time."""
        run = self.run
        if run.test_count:
            return [
                (Mark.PASSED, run.passed_count),
                (Mark.FAILED, self.failing_count),
                (Mark.FLAKY, run.flaky_count),
                (Mark.SKIPPED, run.skipped_count),
            ]
        if run.is_finished or run.started_at is None or not self.usual_ms:
            return [("m-rest", 1)]
        done = min((self.now - run.started_at).total_seconds() * 1000 / self.usual_ms, 1)
        return [("m-accent", done), ("m-rest", 1 - done)]

    @property
    def has_bar(self) -> bool:
        """Whether there is anything to measure: results, or time against the usual time."""
        return bool(self.run.test_count or (self.usual_ms and not self.run.is_finished))

    @property
    def bar_label(self) -> str:
        """The bar in words."""
        run = self.run
        if run.test_count:
            return (
                f"{run.passed_count} passed, {self.failing_count} failed, {run.flaky_count} flaky, "
                f"{run.skipped_count} skipped"
            )
        return "No results yet"

    @property
    def images(self) -> list[tuple[str, str]]:
        """What each service ran: its image, by the engine's word or the suite's."""
        first = self.boots[0].lanes if self.boots else []
        return [(lane.service.name, lane.service.image) for lane in first if lane.service.image]

    @property
    def held(self) -> list[Environment]:
        """Its environments that failed and are held for a person."""
        found = [boot.environment for boot in self.boots]
        return [each for each in found if standing(each, self.now) is Standing.HELD]

    @property
    def stays_longer(self) -> bool:
        """It runs longer than it usually does."""
        started = self.run.started_at
        return bool(started and self.usual_ms and (self.now - started).total_seconds() * 1000 > self.usual_ms)


def run_page(
    run: Run,
    *,
    now: datetime,
    show: str = "",
    q: str = "",
    source: str = "",
    after: str = "",
    with_lines: bool = True,
) -> RunPage:
    """About a dozen queries, whatever the number of results; each limited.

    A page that follows its run is sent the log's lines beside its sections: it asks for none here.
    """
    reports = list(Report.objects.filter(run=run).order_by("shard", "name")[:100])
    events = list(Event.objects.filter(run=run).exclude(kind=MARK).order_by("at", "id")[:EVENT_LIMIT])
    return RunPage(
        run=run,
        now=now,
        failures=run_failures(run),
        failing_count=run.failed_count + run.errored_count,
        shards=list(Shard.objects.filter(run=run).order_by("number")),
        boots=boots(run.pk, now),
        events=events,
        evidence=[found for event in events for found in evidence_in(event)],
        log=log_view(run, source, chunk_limit=SHOWN_CHUNKS if with_lines else 0),
        results=results(run, show=show, q=q, after=after),
        reports=reports,
        suites=suite_properties(reports),
        artifacts=list(Artifact.objects.filter(run=run).order_by("shard", "path")[:100]),
        usual_ms=usual_duration(run),
        progress=progress(run),
        gate=gate_of(run),
        against=against(run),
    )


def against(run: Run) -> Against | None:
    """Measure the run against the last green one of the default branch before it; two queries."""
    base = usual_base(run) if run.test_count and run.results_removed_at is None else None
    if base is None:
        return None
    found = changes(base, run)
    known = base.duration_ms is not None and run.duration_ms is not None and not run.selection
    return Against(
        base=base,
        is_green=base.verdict == Verdict.PASS,
        new_failures=found.new_failures,
        counts=found.counts,
        change_ms=(run.duration_ms or 0) - (base.duration_ms or 0) if known else None,
    )


def evidence_in(event: Event) -> list[Evidence]:
    """What an event of a failed environment carries; nothing from any other."""
    if event.kind != ENVIRONMENT_FAILED:
        return []
    return [
        Evidence(
            service=str(seen.get("service", "")),
            summary=str(seen.get("summary", "")),
            probe_outputs=[str(output) for output in seen.get("probe_outputs", [])],
            log_tail=[str(line) for line in seen.get("log_tail", [])],
        )
        for seen in event.data.get("evidence", [])
    ]


def results(run: Run, *, show: str = "", q: str = "", after: str = "") -> Results:
    """The rows of one view; `all` is read in pages in the report's order, so that no run is too large."""
    q = q.replace("\x00", "").strip()[:200]
    notable = run.failed_count + run.errored_count + run.flaky_count
    # A green run has nothing notable: it opens on everything instead of on nothing.
    unsaid = Show.NOTABLE if notable or not run.is_finished else Show.ALL
    chosen = Show(show) if show in set(Show) else unsaid
    found = results_of(run)
    if q:
        found = found.filter(Q(case__name__icontains=q) | Q(case__class_name__icontains=q))
    if chosen is Show.NOTABLE:
        found = found.exclude(outcome__in=[Outcome.PASSED, Outcome.SKIPPED]).order_by("position", "case_id")
    elif chosen is Show.SLOW:
        found = found.filter(duration_ms__isnull=False).order_by("-duration_ms", "case_id")
    else:
        found = found.filter(_after(after)).order_by("shard", "position", "case_id")
    rows = first_results(run, found, "case", limit=RESULT_LIMIT + 1) if run.test_count else []
    shown = rows[:RESULT_LIMIT]
    has_more = chosen is Show.ALL and len(rows) > RESULT_LIMIT
    strips = recent_strips([row.case_id for row in shown])
    return Results(
        show=chosen,
        q=q,
        rows=[ResultRow(result=row, case=row.case, strip=strips.get(row.case_id, "")) for row in shown],
        notable_count=notable,
        more=f"?show=all&after={_place(shown[-1])}" if has_more else "",
    )


def _place(result: Result) -> str:
    """Where a result stands in the order of its run, as the URL says it."""
    return f"{result.shard}.{result.position}.{result.case_id}"


def _after(place: str) -> Q:
    """What comes after a place; everything for one that cannot be."""
    if not _PLACE.fullmatch(place):
        return Q()
    shard, position, case = (int(number) for number in place.split("."))
    return (
        Q(shard__gt=shard)
        | Q(shard=shard, position__gt=position)
        | Q(shard=shard, position=position, case_id__gt=case)
    )


def recent_strips(case_ids: Sequence[int]) -> dict[int, str]:
    """The last results of some cases as marks, oldest first: one query, one index look-up each."""
    if not case_ids:
        return {}
    return {
        case.pk: strip_of(case) for case in with_strips(TestCase.objects.filter(pk__in=case_ids).only("pk"))
    }


def with_strips(cases: QuerySet[TestCase]) -> QuerySet[TestCase]:
    """Tests that bring along what `strip_of` tells of them; one index look-up each."""
    # As text: the driver does not know arrays of an enumeration.
    outcome = Cast("outcome", TextField())
    past = Result.objects.filter(case=OuterRef("pk")).order_by("-run_at").values_list(outcome)[:STRIP_LENGTH]
    return cases.annotate(**{_PAST: ArraySubquery(past)})


def strip_of(case: TestCase) -> str:
    """The last results, as marks, of a test that was read by `with_strips`; oldest first."""
    return "".join(result_mark(outcome) for outcome in reversed(getattr(case, _PAST)))


def usual_duration(run: Run) -> int | None:
    """Milliseconds: the median of the suite's last passed runs before this one."""
    passed = Run.objects.filter(
        suite=run.suite_id,
        status=RunStatus.PASSED,
        number__lt=run.number,
        duration_ms__isnull=False,
        selection=[],
    )
    sample = list(passed.newest_first().values_list("duration_ms", flat=True)[:SUITE_SAMPLE])
    known = [duration for duration in sample if duration is not None]
    return round(statistics.median(known)) if known else None
