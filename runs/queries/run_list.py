"""The run list: filters from the URL, one page at a time by run number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.db.models import Q

from runs.models import Project, Run, Suite
from runs.models.runs import RunQuerySet
from runs.queries.marks import Mark
from runs.vocabulary import UNFINISHED, RunStatus, Trigger

PAGE_SIZE = 50
MAX_NUMBER = 2**31 - 1
#: The views that tabs name, beside the plain statuses.
LIVE = "live"


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What the URL asks for. A value that cannot be is as if it had not been said."""

    q: str = ""
    suite: str = ""
    branch: str = ""
    status: str = ""
    trigger: str = ""
    #: Only runs with a smaller number: the next page; only greater ones: the page before.
    before: int | None = None
    after: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> RunFilter:
        """Read a query string."""
        status, trigger = query.get("status", ""), query.get("trigger", "")
        return cls(
            q=query.get("q", "").replace("\x00", "").strip()[:200],
            suite=query.get("suite", "").replace("\x00", "")[:120],
            branch=query.get("branch", "").replace("\x00", "")[:250],
            status=status if status == LIVE or status in set(RunStatus) else "",
            trigger=trigger if trigger in set(Trigger) else "",
            before=_number(query.get("before", "")),
            after=_number(query.get("after", "")),
        )

    @property
    def is_empty(self) -> bool:
        """Whether everything is asked for."""
        return replace(self, before=None, after=None) == RunFilter()

    def query(self, **changes: str | int | None) -> str:
        """The query string that says this, with some of it changed; pages start over."""
        values: dict[str, str | int | None] = {
            "q": self.q,
            "suite": self.suite,
            "branch": self.branch,
            "status": self.status,
            "trigger": self.trigger,
        }
        pairs = {name: value for name, value in (values | changes).items() if value}
        return f"?{urlencode(pairs)}"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:11]) <= MAX_NUMBER else None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list."""

    run: Run
    duration_parts: list[tuple[str, float]]

    @property
    def done_parts(self) -> list[tuple[str, float]]:
        """Passed, failed and flaky, for a bar."""
        run = self.run
        return [
            (Mark.PASSED, run.passed_count),
            (Mark.FAILED, run.failed_count + run.errored_count),
            (Mark.FLAKY, run.flaky_count),
        ]

    @property
    def bad_count(self) -> int:
        """Failed and errored results."""
        return self.run.failed_count + self.run.errored_count


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of runs, newest first."""

    wanted: RunFilter
    rows: list[RunRow]
    suites: list[str]
    #: Query strings of the neighbouring pages; empty where there is none.
    newer: str
    older: str
    #: Milliseconds of the longest run shown, the scale of the duration bars.
    longest_ms: int

    @property
    def last_number(self) -> int:
        """The number of the oldest run shown."""
        return self.rows[-1].run.number


def run_page(project: Project, wanted: RunFilter) -> RunPage:
    """Two queries: the suites' names and one row more than a page."""
    runs = _matching(project, wanted)
    if wanted.after is not None:
        found = list(reversed(runs.filter(number__gt=wanted.after).order_by("number")[: PAGE_SIZE + 1]))
        has_newer, has_older = len(found) > PAGE_SIZE, True
        found = found[-PAGE_SIZE:]
    else:
        if wanted.before is not None:
            runs = runs.filter(number__lt=wanted.before)
        found = list(runs.newest_first()[: PAGE_SIZE + 1])
        has_newer, has_older = wanted.before is not None, len(found) > PAGE_SIZE
        found = found[:PAGE_SIZE]
    longest = max((run.duration_ms or 0 for run in found), default=0)
    return RunPage(
        wanted=wanted,
        rows=[
            RunRow(run=run, duration_parts=[("m-dur", run.duration_ms)] if run.duration_ms else [])
            for run in found
        ],
        suites=list(Suite.objects.filter(project=project).order_by("name").values_list("name", flat=True)),
        newer=wanted.query(after=found[0].number) if found and has_newer else "",
        older=wanted.query(before=found[-1].number) if found and has_older else "",
        longest_ms=longest,
    )


def _matching(project: Project, wanted: RunFilter) -> RunQuerySet:
    runs = Run.objects.for_project(project).select_related("suite", "requested_by")
    if wanted.suite:
        runs = runs.filter(suite__name=wanted.suite)
    if wanted.branch:
        runs = runs.filter(branch=wanted.branch)
    if wanted.status == LIVE:
        runs = runs.filter(status__in=sorted(UNFINISHED))
    elif wanted.status:
        runs = runs.filter(status=wanted.status)
    if wanted.trigger:
        runs = runs.filter(trigger=wanted.trigger)
    if wanted.q:
        runs = runs.filter(_search(wanted.q))
    return runs


def _search(q: str) -> Q:
    """A run number, the start of a commit, or words of branch, suite or commit message."""
    found = (
        Q(branch__icontains=q)
        | Q(suite__name__icontains=q)
        | Q(commit__istartswith=q)
        | Q(commit_message__icontains=q)
    )
    number = _number(q.removeprefix("#"))
    return found | Q(number=number) if number is not None else found
