"""The page that compares two runs of a suite: which two, what differs, what may have caused it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import connection

from runs.analytics.comparison import Change, Difference
from runs.models import Failure, Project, Run, Suite, TestCase
from runs.models.runs import RunQuerySet
from runs.queries.baseline import base_runs, last_green, runs_of_branch, telling_runs
from runs.queries.comparison import Row, RunComparison, compare_runs
from runs.queries.settings import SettingsDiff, settings_diff
from runs.vocabulary import FINISHED, RunStatus

#: Rows of a category on the page, and of the one that the URL asks for.
SHOWN, SHOWN_ALONE = 25, 500
#: Causes that are shown, and failures that are looked at for them and for the services blamed.
CAUSES, CAUSED = 30, 5_000
#: Runs to choose from, and branches.
CHOICES, BRANCHES = 25, 12
COMMITS = 20

# By services, as thousands of failures are held against the same few.
_BLAMES = """
SELECT services, array_agg(case_id) FROM runs_blame
WHERE run_id = %s AND case_id = ANY(%s) AND services <> '{}' GROUP BY services ORDER BY min(case_id)
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """A run or a branch that may be compared."""

    value: str
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One test that differs."""

    case: TestCase | None
    difference: Difference
    base: Row | None
    head: Row | None
    blames: Sequence[str] = ()

    @property
    def increase_ms(self) -> int:
        """How much longer it took."""
        before = self.base.duration_ms if self.base else None
        after = self.head.duration_ms if self.head else None
        return (after or 0) - (before or 0)


@dataclass(frozen=True, slots=True)
class Cause:
    """Tests that broke for the same reason: one failure group."""

    key: str
    failure: Failure | None
    count: int
    rows: list[DiffRow]


@dataclass(frozen=True, slots=True)
class Section:
    """The tests of one category."""

    change: Change
    rows: list[DiffRow]
    count: int

    @property
    def left_out(self) -> int:
        """How many are not shown."""
        return self.count - len(self.rows)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that the suite ran on between the two."""

    commit: str
    message: str
    author: str
    number: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What the failures that are new are held against."""

    looked_at: int
    #: Services with how many of the new failures each is blamed for, most first.
    services: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What two runs differ in."""

    base: Run
    head: Run
    comparison: RunComparison
    causes: list[Cause]
    cause_count: int
    sections: dict[Change, Section]
    settings: SettingsDiff
    commits: list[Commit]
    suspicion: Suspicion
    #: How often it happened, by category.
    counts: Mapping[Change, int] = field(default_factory=dict)

    @property
    def new_failing_count(self) -> int:
        """New tests that fail."""
        return sum(1 for one in self.comparison.result.of(Change.NEW_TEST) if one.is_failing)

    @property
    def longest_ms(self) -> int:
        """The longest time among the slower tests that are shown."""
        rows = self.sections[Change.SLOWER].rows
        return max((row.head.duration_ms or 0 for row in rows if row.head), default=0)

    @property
    def change_ms(self) -> int | None:
        """How much longer the head's run took."""
        before, after = self.base.duration_ms, self.head.duration_ms
        return None if before is None or after is None else after - before


@dataclass(frozen=True, slots=True)
class ComparePage:
    """The page, with or without two runs to compare."""

    suites: list[str]
    suite: Suite | None
    bases: list[Choice]
    heads: list[Choice]
    runs: list[Choice]
    base: Run | None
    head: Run | None
    base_value: str
    head_value: str
    base_words: str
    head_words: str
    show: Change | None
    #: Why there is nothing to compare; empty when there is.
    problem: str
    findings: Findings | None


def compare_page(
    project: Project, *, base: str = "", head: str = "", suite: str = "", show: str = ""
) -> ComparePage:
    """About a dozen queries, whatever the runs' size. `base` and `head` are runs' numbers or branches."""
    base, head = _asked(base), _asked(head)
    numbered = _numbered(project, [base, head])
    suites = list(Suite.objects.filter(project=project).order_by("name"))
    own = _suite(project, suites, suite, [numbered.get(head), numbered.get(base)])
    chosen = Change(show) if show in set(Change) else None
    choice = _Choice(project, own, base, head, numbered)
    two = (choice.base, choice.head)
    findings = None
    if choice.base and choice.head and not choice.problem:
        findings = findings_of(choice.base, choice.head, project=project, show=chosen)
    recent = choice.recent
    branches = _branches(project, recent)
    return ComparePage(
        suites=[one.name for one in suites],
        suite=own,
        bases=[Choice(name, f"Newest on {name}", name == base) for name in branches],
        heads=[Choice(name, f"Newest on {name}", name == head) for name in branches],
        runs=[Choice(str(run.number), _label(run), is_chosen=False) for run in _with(recent, two)],
        base=choice.base,
        head=choice.head,
        base_value=base if base in branches else str(choice.base.number) if choice.base else "",
        head_value=head if head in branches else str(choice.head.number) if choice.head else "",
        base_words=choice.base_words,
        head_words=choice.head_words,
        show=chosen,
        problem=choice.problem,
        findings=findings,
    )


class _Choice:
    """Which two runs are meant; `problem` says why they cannot be compared."""

    def __init__(
        self, project: Project, suite: Suite | None, base: str, head: str, numbered: Mapping[str, Run]
    ) -> None:
        self.project, self.suite, self.numbered = project, suite, numbered
        self.problem = self.base_words = self.head_words = ""
        self.recent: list[Run] = []
        self.base: Run | None = None
        self.head: Run | None = None
        if suite is None:
            self.problem = "There is no suite yet, and so no run to compare."
            return
        found = Run.objects.filter(suite=suite, status__in=sorted(FINISHED)).select_related("requested_by")
        self.recent = list(found.newest_first()[:CHOICES])
        self.head = self._named(head) if head else self._newest()
        self.base = self._named(base) if base else self._usual_base()
        self._judge(base, head)

    def _named(self, asked: str) -> Run | None:
        if asked.isdecimal():
            return self.numbered.get(asked)
        if asked == self.project.default_branch:
            return next(iter(runs_of_branch(self._suite_id, asked)), None)
        return self._telling.filter(branch=asked).newest_first().first()

    @property
    def _telling(self) -> RunQuerySet:
        return telling_runs(self._suite_id).select_related("requested_by")

    @property
    def _suite_id(self) -> int:
        return self.suite.pk if self.suite else 0

    def _newest(self) -> Run | None:
        self.head_words = "the newest"
        return self._telling.newest_first().first()

    def _usual_base(self) -> Run | None:
        if self.head is None:
            return None
        self.head.project = self.project
        found = [run for run in base_runs(self.head) if run.number < self.head.number]
        green = last_green(found)
        # One whose failures are all in quarantine is shown as failed: it is not called green.
        words = "last green" if green and green.status == RunStatus.PASSED else "last with verdict pass"
        self.base_words = f"{words} on {self.project.default_branch}" if green else "the one before"
        return green or next(iter(found), None)

    def _judge(self, base: str, head: str) -> None:
        for asked, run in ((base, self.base), (head, self.head)):
            if asked and run is None:
                what = f"run #{asked}" if asked.isdecimal() else f"finished run on {asked}"
                self.problem = self.problem or f"This suite has no {what}."
            elif run and self.suite and run.suite_id != self.suite.pk:
                self.problem = f"Run #{run.number} is of another suite: its tests are others."
            elif run and not run.is_finished:
                self.problem = f"Run #{run.number} is not finished."
            elif run and run.results_removed_at is not None:
                self.problem = f"The results of run #{run.number} are not kept any more."
        if not self.problem and (self.base is None or self.head is None):
            self.problem = "It takes two finished runs of a suite to compare."
        if not self.problem and self.base == self.head:
            self.problem = "These are one and the same run."


def findings_of(base: Run, head: Run, *, project: Project, show: Change | None = None) -> Findings:
    """Compare two runs and gather what the page says of each test that is shown."""
    is_on_main = head.branch == project.default_branch and not head.pull_request
    main = None if is_on_main else next(iter(runs_of_branch(head.suite_id, project.default_branch)), None)
    comparison = compare_runs(base, head, main=main)
    result = comparison.result
    shown: dict[Change, Sequence[Difference]] = {
        change: result.of(change)[: SHOWN_ALONE if change is show else SHOWN] for change in Change
    }
    new_failures = result.new_failures[:CAUSED]
    blames = _blames(head, [one.case for one in new_failures])
    causes, cause_count, members = _causes(comparison, SHOWN_ALONE if show is Change.BROKE else SHOWN)
    needed = {one.case for found in shown.values() for one in found}
    needed |= {one.case for found in members for one in found}
    cases = TestCase.objects.in_bulk(needed)

    def row(one: Difference) -> DiffRow:
        return DiffRow(
            case=cases.get(one.case),
            difference=one,
            base=comparison.base_rows.get(one.case),
            head=comparison.head_rows.get(one.case),
            blames=blames.get(one.case, ()),
        )

    sections = {
        change: Section(change, [row(one) for one in found], result.counts[change])
        for change, found in shown.items()
    }
    sections[Change.SLOWER].rows.sort(key=lambda one: -one.increase_ms)
    return Findings(
        base=base,
        head=head,
        comparison=comparison,
        causes=[
            Cause(key, failure, count, [row(one) for one in found])
            for (key, failure, count), found in zip(causes, members, strict=True)
        ],
        cause_count=cause_count,
        sections=sections,
        settings=settings_diff(base, head),
        commits=_commits(base, head),
        suspicion=Suspicion(
            looked_at=len(new_failures),
            services=Counter(name for names in blames.values() for name in names).most_common(5),
        ),
        counts=result.counts,
    )


type _Group = tuple[str, Failure | None, int]


def _causes(comparison: RunComparison, limit: int) -> tuple[list[_Group], int, list[list[Difference]]]:
    """The groups of what broke, largest first, and the members of each that are shown."""
    broke = comparison.result.of(Change.BROKE)[:CAUSED]
    texts = {one.case: comparison.head_rows[one.case].failure for one in broke}
    known = Failure.objects.filter(pk__in={text for text in texts.values() if text})
    prints = {pk: bytes(value) for pk, value in known.values_list("pk", "fingerprint")}
    groups: dict[bytes, list[Difference]] = {}
    for one in broke:
        groups.setdefault(prints.get(texts[one.case] or 0, b""), []).append(one)
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    firsts = Failure.objects.in_bulk([texts[found[0].case] or 0 for _, found in ranked[:CAUSES]])
    heads: list[_Group] = []
    members: list[list[Difference]] = []
    left = limit
    for fingerprint, found in ranked[:CAUSES]:
        heads.append((fingerprint.hex(), firsts.get(texts[found[0].case] or 0), len(found)))
        members.append(found[: max(left, 1)])
        left -= len(members[-1])
    return heads, len(ranked), members


def _blames(head: Run, cases: Sequence[int]) -> dict[int, list[str]]:
    """The services that failures of the run are held against, by case."""
    if not cases:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_BLAMES, [head.pk, list(cases)])
        return {case: services for services, own in cursor.fetchall() for case in own}


def _commits(base: Run, head: Run) -> list[Commit]:
    """The commits of the head's branch that the suite ran on after the base, newest first, each once."""
    if not head.commit or head.commit == base.commit:
        return []
    rows = Run.objects.filter(
        suite=head.suite_id, branch=head.branch, number__lte=head.number, number__gt=base.number
    ).exclude(commit="")
    found: dict[str, Commit] = {}
    for run in rows.newest_first().only("commit", "commit_message", "commit_author", "number")[: 5 * COMMITS]:
        if run.commit != base.commit:
            found[run.commit] = Commit(run.commit, run.commit_message, run.commit_author, run.number)
    return list(found.values())[:COMMITS]


def _asked(value: str) -> str:
    """What the URL names: no more than a name can be."""
    return value.replace("\x00", "").strip().removeprefix("#")[:250]


def _numbered(project: Project, asked: Sequence[str]) -> dict[str, Run]:
    numbers = {int(value) for value in asked if value.isdecimal() and value.isascii() and len(value) < 10}  # noqa: PLR2004 - what the column holds
    if not numbers:
        return {}
    found = Run.objects.for_project(project).filter(number__in=numbers)
    return {str(run.number): run for run in found.select_related("suite", "requested_by")}


def _suite(project: Project, suites: Sequence[Suite], name: str, runs: Iterable[Run | None]) -> Suite | None:
    """The one that is named, else that of the runs that are named, else the newest run's."""
    named = next((one for one in suites if one.name == name), None)
    of_runs = next((run.suite_id for run in runs if run is not None), None)
    if named is None and of_runs is None:
        newest = Run.objects.for_project(project).filter(status__in=sorted(FINISHED)).newest_first()
        of_runs = newest.values_list("suite_id", flat=True).first()
    return named or next((one for one in suites if one.pk == of_runs), None)


def _branches(project: Project, recent: Iterable[Run]) -> list[str]:
    """Branches to choose from: the default one, then those that ran last."""
    seen = dict.fromkeys([project.default_branch, *(run.branch for run in recent if run.branch)])
    return [name for name in seen if not name.isdecimal()][:BRANCHES]


def _with(recent: Sequence[Run], two: Iterable[Run | None]) -> list[Run]:
    """The recent runs and the chosen ones, newest first, each once."""
    known = {run.pk: run for run in [*recent, *(run for run in two if run is not None)]}
    return sorted(known.values(), key=lambda run: -run.number)


def _label(run: Run) -> str:
    where = f" on {run.branch}" if run.branch else ""
    return f"#{run.number}{where}, {run.status.replace('_', ' ')}"
