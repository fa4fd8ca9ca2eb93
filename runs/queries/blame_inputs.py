"""What a run's failures are blamed by: SQL gathers narrow rows, `runs.analytics.blame` judges them.

Each shard had an environment of its own: events, log lines and windows of one say nothing of another. A
run without environments, an upload, has only what its report says.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from environments.models import Environment
from runs.analytics.blame import EVENT_LAG, EXACT_MARGIN, MARGIN, ErrorLine, ServiceEvent, WatchedService
from runs.analytics.incidents import Recorded, service_events
from runs.analytics.log_errors import CalmTime, is_error_line
from runs.analytics.windows import CaseName, Mark, Names, Timed, Window, estimated_windows, marked_windows
from runs.models import Event, LogChunk, Result, Run, Service
from runs.queries.boot import environments_of_run
from runs.vocabulary import FAILING, Outcome

#: Characters of a shard's log that are looked at, tests' own output aside.
LOG_LIMIT = 64 * 1024 * 1024
#: Error lines kept of one service of a shard; a log with more is said to have had more.
ERROR_LIMIT = 20_000
#: Characters kept of an error line.
LINE_LIMIT = 300
#: Results whose windows are worked out; of more, the order of the first is known.
RESULT_LIMIT = 200_000
#: Services of a project that a failure's text is searched for when nobody watched them.
KNOWN_LIMIT = 200
_STAMP = len("2026-11-21T08:00:00.000000Z")
_MARK = "mark"
_CREATING = "environment_creating"
_REMOVING = "environment_removing"
_TESTS_STARTED = "tests_started"
_TESTS_FINISHED = "tests_finished"


@dataclass(frozen=True, slots=True)
class ShardWatch:
    """What was watched of one shard."""

    services: tuple[WatchedService, ...] = ()
    events: tuple[ServiceEvent, ...] = ()
    #: Error lines by service, and their moments, both in order.
    errors: Mapping[str, Sequence[ErrorLine]] = field(default_factory=dict)
    moments: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    windows: Mapping[int, Window] = field(default_factory=dict)
    #: When tests began by their marks, in order.
    starts: Sequence[datetime] = ()
    calm: CalmTime = field(default_factory=lambda: CalmTime([], []))
    #: What could not be looked at, as sentences.
    notices: tuple[str, ...] = ()

    def window_of(self, case: int) -> Window | None:
        """When the test ran, as far as that is known."""
        return self.windows.get(case)

    def lag_after(self, window: Window | None) -> timedelta:
        """How long after the test an event may still be its own: the next test's beginning is another's."""
        if window is None or window.is_estimated:
            return timedelta()
        after = bisect_left(self.starts, window.ended_at)
        if after == len(self.starts):
            return EVENT_LAG
        return min(EVENT_LAG, self.starts[after] - window.ended_at + EXACT_MARGIN)

    def services_in(self, window: Window | None) -> list[WatchedService]:
        """The services, each with the error lines that are usual in so long a window."""
        if window is None:
            return list(self.services)
        seconds = window.seconds + 2 * margin_of(window).total_seconds()
        return [
            replace(
                service,
                usual_error_count=self.calm.usual_count(self.moments.get(service.name, ()), seconds),
            )
            for service in self.services
        ]

    def errors_in(self, window: Window | None) -> list[ErrorLine]:
        """The error lines around the window."""
        if window is None:
            return []
        since, until = window.started_at - margin_of(window), window.ended_at + margin_of(window)
        return [
            line
            for name, moments in self.moments.items()
            for line in self.errors[name][bisect_left(moments, since) : bisect_right(moments, until)]
        ]


def margin_of(window: Window | None) -> timedelta:
    """How far beyond the window something may still belong to the test."""
    return EXACT_MARGIN if window is not None and not window.is_estimated else MARGIN


def shard_watches(run: Run) -> dict[int, ShardWatch]:
    """What was watched, by shard; empty for a run that had no environment."""
    environments = list(environments_of_run(run.pk).prefetch_related("services"))
    if not environments:
        return {}
    tests = str(run.environment_facts.get("tests", ""))
    return {each.shard: _watch(run, each, tests) for each in environments}


def known_services(run: Run) -> list[WatchedService]:
    """The project's services as names to look for in texts: nobody watched them in this run."""
    names = Service.objects.filter(project=run.project_id).order_by("-last_seen_at", "name")
    return [
        WatchedService(name, is_watched=False) for name in names.values_list("name", flat=True)[:KNOWN_LIMIT]
    ]


def _watch(run: Run, environment: Environment, tests: str) -> ShardWatch:
    shard = environment.shard
    rows = [row for row in environment.services.all() if not row.is_tests and row.name != tests]
    facts = run.environment_facts.get("services", {})
    events = _events_of_try(run, shard)
    started = next((event.at for event in events if event.kind == _TESTS_STARTED), None)
    finished = next((event.at for event in events if event.kind == _TESTS_FINISHED), None)
    if started is None:
        return ShardWatch(tuple(_service(row.name, environment.name, facts) for row in rows))
    ended = finished or run.finished_at or started
    windows = _windows(run, shard, events, started, ended)
    passing, failing = _by_outcome(run, shard, windows)
    services = {row.name for row in rows}
    errors, notices = _error_lines(run, shard, services, started, ended)
    return ShardWatch(
        services=tuple(_service(row.name, environment.name, facts) for row in rows),
        events=tuple(service_events(map(_recorded, _until_removed(events)))),
        errors=errors,
        moments={name: [line.at for line in lines] for name, lines in errors.items()},
        windows=windows,
        starts=sorted(window.started_at for window in windows.values() if not window.is_estimated),
        calm=CalmTime(passing, failing),
        notices=tuple(notices),
    )


def _events_of_try(run: Run, shard: int) -> list[Event]:
    """The shard's events since its newest environment was begun: an earlier try's services are gone."""
    events = list(
        Event.objects.filter(run=run, shard=shard).order_by("id").only("kind", "service", "at", "data")
    )
    begins = [index for index, event in enumerate(events) if event.kind == _CREATING]
    return events[begins[-1] :] if begins else events


def _until_removed(events: Sequence[Event]) -> Sequence[Event]:
    """Without what happens because the environment is being taken down."""
    removing = next((event.at for event in events if event.kind == _REMOVING), None)
    return events if removing is None else [event for event in events if event.at < removing]


def _recorded(event: Event) -> Recorded:
    exit_code = event.data.get("exit_code")
    return Recorded(
        kind=event.kind,
        service=event.service,
        at=event.at,
        exit_code=exit_code if isinstance(exit_code, int) else None,
        action=str(event.data.get("action", "")),
    )


def _service(name: str, environment: str, facts: Any) -> WatchedService:  # noqa: ANN401 - JSON of a row
    known = facts.get(name, {}) if isinstance(facts, dict) else {}
    return WatchedService(
        name=name,
        hosts=frozenset(str(host) for host in known.get("hosts", [])),
        containers=frozenset({f"{environment}-{name}"}),
        ports=frozenset(int(port) for port in known.get("ports", [])),
    )


def _windows(
    run: Run, shard: int, events: Sequence[Event], started: datetime, ended: datetime
) -> dict[int, Window]:
    """By marks where tests sent them, else worked out from the order and the durations."""
    results = Result.objects.filter(run_at=run.run_at, run=run.pk, shard=shard)
    rows = list(
        results.order_by("position", "case_id").values_list(
            "case_id", "duration_ms", "case__class_name", "case__name", "case__parameters"
        )[:RESULT_LIMIT]
    )
    marks = [
        Mark(str(event.data.get("test", "")), event.data.get("phase") == "start", event.at)
        for event in events
        if event.kind == _MARK
    ]
    timed = [Timed(case, duration_ms) for case, duration_ms, *_ in rows]
    windows = estimated_windows(timed, started, ended)
    if marks:
        names = Names((case, CaseName(*words)) for case, _, *words in rows)
        windows |= marked_windows(marks, names, ended_at=ended)
    return windows


def _by_outcome(run: Run, shard: int, windows: Mapping[int, Window]) -> tuple[list[Window], list[Window]]:
    """The windows of passing tests, and the exact ones of those that failed with a little around them."""
    outcomes = dict(
        Result.objects.filter(run_at=run.run_at, run=run.pk, shard=shard).values_list("case_id", "outcome")
    )
    passing = [window for case, window in windows.items() if outcomes.get(case) == Outcome.PASSED]
    failing = [
        Window(window.started_at - EXACT_MARGIN, window.ended_at + EXACT_MARGIN)
        for case, window in windows.items()
        if outcomes.get(case) in {*FAILING, Outcome.FLAKY} and not window.is_estimated
    ]
    return passing, failing


def _error_lines(
    run: Run, shard: int, services: set[str], started: datetime, ended: datetime
) -> tuple[dict[str, list[ErrorLine]], list[str]]:
    """The error lines of the time of the tests by service, sorted; and what of it was too much to look at."""
    errors: dict[str, list[ErrorLine]] = {name: [] for name in services}
    notices: list[str] = []
    overfull: set[str] = set()
    read = 0
    for service, text in _log(run, shard, sorted(services), started - MARGIN, ended + MARGIN):
        read += len(text)
        if read > LOG_LIMIT:
            notices.append(
                f"The log of shard {shard} is longer than {LOG_LIMIT // 2**20} million characters;"
                " error lines beyond were not looked at."
            )
            break
        own = errors[service]
        for line in _errors_of(service, text):
            if len(own) >= ERROR_LIMIT:
                overfull.add(service)
                break
            own.append(line)
    notices += [
        f"{service} logged more than {ERROR_LIMIT:,} errors in shard {shard}; the first are looked at."
        for service in sorted(overfull)
    ]
    for own in errors.values():
        own.sort(key=lambda line: line.at)
    return errors, notices


def _log(
    run: Run, shard: int, services: Sequence[str], since: datetime, until: datetime
) -> Iterator[tuple[str, str]]:
    """The services' chunks of that time, one after the other."""
    chunks = LogChunk.objects.filter(
        run=run, shard=shard, service__in=services, last_at__gte=since, first_at__lte=until
    )
    yield from chunks.order_by("id").values_list("service", "text").iterator(chunk_size=20)


def _errors_of(service: str, text: str) -> Iterator[ErrorLine]:
    for line in text.split("\n"):
        said = line[_STAMP + 1 :]
        if is_error_line(said):
            at = _moment(line[:_STAMP])
            if at is not None:
                yield ErrorLine(service, at, said[:LINE_LIMIT].strip())


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class FailureSeen:
    """One failed result as far as its blame depends on it."""

    case: int
    shard: int
    text: str
    services: tuple[str, ...]


_FAILURES = """
SELECT r.case_id, r.shard,
       coalesce(f.kind, '') || E'\\n' || left(coalesce(f.message, ''), 10000) || E'\\n'
           || left(coalesce(f.text, ''), 50000),
       coalesce((
           SELECT array_agg(DISTINCT service ORDER BY service)
           FROM runs_attempt a, unnest(a.services) AS service
           WHERE a.run_at = r.run_at AND a.run_id = r.run_id AND a.case_id = r.case_id
       ), '{}')
FROM runs_result r LEFT JOIN runs_failure f ON f.id = r.failure_id
WHERE r.run_at = %(run_at)s AND r.run_id = %(run)s
  AND r.outcome <> 'passed' AND r.outcome IN ('failed', 'errored')
ORDER BY r.shard, r.position, r.case_id
LIMIT %(limit)s
"""
_CHUNK = 200


def failures_of(run: Run, *, limit: int) -> Iterator[FailureSeen]:
    """The run's failed results in the report's order, read some at a time."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(_FAILURES, {"run_at": run.run_at, "run": run.pk, "limit": limit})
        while rows := cursor.fetchmany(_CHUNK):
            for case, shard, text, services in rows:
                yield FailureSeen(case, shard, text, tuple(services))
