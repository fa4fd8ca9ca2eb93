"""The run list: words from the URL, when their failures clustered, and one page at a time by run number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final
from urllib.parse import urlencode

from django.db.models import Exists, OuterRef, Q

from runs.models import Blame, Project, Result, Run, Suite, User
from runs.models.runs import RunQuerySet
from runs.queries.run_words import Length, Word, length_of, replaced, text_of, words_of
from runs.vocabulary import UNFINISHED, Outcome, RunStatus

PAGE_SIZE = 50
MAX_NUMBER = 2**31 - 1
#: Runs that are counted and drawn, the newest of those that match.
COUNTED: Final = 2_000
COLUMNS: Final = 60
#: Newest runs whose branches are offered.
BRANCH_SAMPLE: Final = 500
#: What a chip writes, and the names that older links have for it.
CHIPS: Final = ("branch", "suite", "status", "trigger", "started")
LIVE: Final = "live"
STARTED: Final = {"<1d": "Last 24 hours", "<3d": "Last 3 days", "<7d": "Last 7 days", "<30d": "Last 30 days"}
_FAILING = {RunStatus.FAILED, RunStatus.TIMED_OUT}
_STATUS_WORDS = {"infra": RunStatus.ERRORED, "timed-out": RunStatus.TIMED_OUT}


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What the URL asks for. A value that cannot be matches nothing."""

    words: tuple[Word, ...] = ()
    #: Only runs with a smaller number: the next page; only greater ones: the page before.
    before: int | None = None
    after: int | None = None
    #: Whether a chip was changed, so that the text has to follow.
    was_rewritten: bool = False

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> RunFilter:
        """Read a query string. A chip that is not what it was, as `was_…` tells, writes into the text."""
        words, was_rewritten = words_of(query.get("q", "")), False
        for key in CHIPS:
            value = query.get(key, "").replace("\x00", "")[:250]
            if key in query and value != query.get(f"was_{key}", ""):
                words, was_rewritten = replaced(words, key, value), True
        return cls(
            words=tuple(words),
            before=_number(query.get("before", "")),
            after=_number(query.get("after", "")),
            was_rewritten=was_rewritten,
        )

    @property
    def q(self) -> str:
        """The text."""
        return text_of(self.words)

    @property
    def is_empty(self) -> bool:
        """Whether everything is asked for."""
        return not self.words

    @property
    def chips(self) -> dict[str, str]:
        """What each chip shows: the value of its word, when there is one such word."""
        return {key: self._value(key) for key in CHIPS}

    def _value(self, key: str) -> str:
        return next((word.value for word in self.words if word.key == key and not word.is_not), "")

    def query(self, **pages: int) -> str:
        """The query string that says this; pages start over."""
        pairs = {"q": self.q, **pages}
        return f"?{urlencode({name: value for name, value in pairs.items() if value})}"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:11]) <= MAX_NUMBER else None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list."""

    run: Run
    duration_parts: list[tuple[str, float]]

    @property
    def bad_count(self) -> int:
        """Failed and errored results."""
        return self.run.failed_count + self.run.errored_count


@dataclass(frozen=True, slots=True)
class Counted:
    """The runs that match, the newest of them: how many, how they ended, and when."""

    count: int
    #: More match than are counted.
    is_cut: bool
    failed_count: int
    median_ms: float | None
    #: Runs and failed runs by slice of time, oldest first; empty for less than two moments.
    columns: Sequence[tuple[int, int]]
    since: datetime | None
    until: datetime | None

    @property
    def slice_words(self) -> str:
        """How long one column is."""
        if self.since is None or self.until is None:
            return ""
        seconds = (self.until - self.since).total_seconds() / COLUMNS
        for unit, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
            if seconds >= unit:
                count = round(seconds / unit)
                return word if count == 1 else f"{count} {word}s"
        return "minute"


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of runs, newest first."""

    wanted: RunFilter
    rows: list[RunRow]
    counted: Counted
    suites: list[str]
    branches: list[str]
    #: Query strings of the neighbouring pages; empty where there is none.
    newer: str
    older: str
    #: Milliseconds of the longest run shown, the scale of the duration bars.
    longest_ms: int

    @property
    def last_number(self) -> int:
        """The number of the oldest run shown."""
        return self.rows[-1].run.number


def run_page(project: Project, wanted: RunFilter, *, now: datetime, person: User | None = None) -> RunPage:
    """Four queries: the suites' and the branches' names, what is counted, one row more than a page."""
    matching = _matching(project, wanted, now, person)
    runs = matching.select_related("suite", "requested_by")
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
        counted=_counted(matching),
        suites=list(Suite.objects.filter(project=project).order_by("name").values_list("name", flat=True)),
        branches=_branches(project, wanted),
        newer=wanted.query(after=found[0].number) if found and has_newer else "",
        older=wanted.query(before=found[-1].number) if found and has_older else "",
        longest_ms=longest,
    )


def _counted(matching: RunQuerySet) -> Counted:
    facts = list(matching.newest_first().values_list("run_at", "status", "duration_ms")[: COUNTED + 1])
    counted = facts[:COUNTED]
    moments = [at for at, _, _ in counted]
    durations = [ms for _, _, ms in counted if ms is not None]
    since, until = min(moments, default=None), max(moments, default=None)
    columns: list[tuple[int, int]] = []
    if since is not None and until is not None and until > since:
        columns = _columns(counted, since, (until - since) / COLUMNS)
    return Counted(
        count=len(counted),
        is_cut=len(facts) > COUNTED,
        failed_count=sum(status in _FAILING for _, status, _ in counted),
        median_ms=median(durations) if durations else None,
        columns=columns,
        since=since,
        until=until,
    )


def _columns(
    counted: Sequence[tuple[datetime, str, int | None]], since: datetime, width: timedelta
) -> list[tuple[int, int]]:
    """Runs and failed runs of each slice; the last moment belongs to the last one."""
    runs, failed = [0] * COLUMNS, [0] * COLUMNS
    for at, status, _ in counted:
        place = min(int((at - since) / width), COLUMNS - 1)
        runs[place] += 1
        failed[place] += status in _FAILING
    return list(zip(runs, failed, strict=True))


def _branches(project: Project, wanted: RunFilter) -> list[str]:
    newest = Run.objects.for_project(project).newest_first().values_list("branch", flat=True)[:BRANCH_SAMPLE]
    named = {name: None for name in newest if name}
    chosen = wanted.chips["branch"]
    return [*named] if not chosen or chosen in named else [chosen, *named]


# --- what words mean ------------------------------------------------------------------------------


def _matching(project: Project, wanted: RunFilter, now: datetime, person: User | None) -> RunQuerySet:
    runs = Run.objects.for_project(project)
    for word in wanted.words:
        meant = _condition(word, now, person)
        runs = runs.exclude(meant) if word.is_not else runs.filter(meant)
    return runs


def _condition(word: Word, now: datetime, person: User | None) -> Q:  # noqa: C901, PLR0911 - one line per key
    value = word.value
    match word.key:
        case "branch":
            return _like("branch", value)
        case "suite":
            return _like("suite__name", value)
        case "status" | "is":
            return _status(value)
        case "trigger":
            return Q(trigger=value.lower().replace("-", "_"))
        case "commit":
            return Q(commit__istartswith=value)
        case "started":
            return _started(length_of(value, unit="d"), now)
        case "duration":
            return _duration(length_of(value, unit="s"))
        case "by":
            return _by(value, person)
        case "test":
            notable = [Outcome.FAILED, Outcome.ERRORED, Outcome.FLAKY]
            failed = Result.objects.filter(run_at=OuterRef("run_at"), run=OuterRef("pk"), outcome__in=notable)
            return Q(Exists(failed.exclude(outcome=Outcome.PASSED).filter(_like("case__name", value))))
        case "service":
            return Q(Exists(Blame.objects.filter(run=OuterRef("pk"), services__contains=[value])))
    return _anywhere(value)


_NOTHING = Q(pk__in=[])


def _like(field: str, value: str) -> Q:
    """The whole value, `*` for any characters; in any case."""
    if "*" not in value:
        return Q(**{field: value})
    pattern = ".*".join(re.escape(part) for part in value.split("*"))
    return Q(**{f"{field}__iregex": f"^{pattern}$"})


def _status(value: str) -> Q:
    value = value.lower()
    if value == LIVE:
        return Q(status__in=sorted(UNFINISHED))
    if value == Outcome.FLAKY:
        return Q(status=RunStatus.PASSED, flaky_count__gt=0)
    status = _STATUS_WORDS.get(value, value)
    return Q(status=status) if status in set(RunStatus) else _NOTHING


def _started(bound: Length | None, now: datetime) -> Q:
    if bound is None:
        return _NOTHING
    moment = now - bound.span
    return Q(run_at__gte=moment) if bound.is_less else Q(run_at__lt=moment)


def _duration(bound: Length | None) -> Q:
    if bound is None:
        return _NOTHING
    milliseconds = bound.span.total_seconds() * 1000
    return Q(duration_ms__lt=milliseconds) if bound.is_less else Q(duration_ms__gt=milliseconds)


def _by(value: str, person: User | None) -> Q:
    if value == "me":
        return Q(requested_by=person) if person else _NOTHING
    return Q(requested_by__username__iexact=value) | Q(commit_author__icontains=value)


def _anywhere(value: str) -> Q:
    """A run number, the start of a commit, or words of branch, suite or commit message."""
    found = (
        Q(branch__icontains=value)
        | Q(suite__name__icontains=value)
        | Q(commit__istartswith=value)
        | Q(commit_message__icontains=value)
    )
    number = _number(value.removeprefix("#"))
    return found | Q(number=number) if number is not None else found
