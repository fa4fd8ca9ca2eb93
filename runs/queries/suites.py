"""Suites with their recent runs: one query, whatever the number of suites."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, Min, OuterRef
from django.db.models.functions import JSONObject

from runs.models import Project, Run, Schedule, Suite
from runs.queries.marks import Mark, run_mark
from runs.vocabulary import RunStatus, Verdict

STRIP_LENGTH = 30


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """A run in a suite's strip."""

    number: int
    status: RunStatus
    mark: Mark
    duration_ms: int | None
    commit: str
    flaky_count: int
    #: Failed and errored results.
    failed_count: int = 0
    at: datetime | None = None
    author: str = ""
    #: Results that were not skipped.
    result_count: int = 0
    verdict: Verdict = Verdict.NONE

    @property
    def is_failure(self) -> bool:
        """Whether it turns its suite red: by its verdict, as badges and news say it, else by its status."""
        if self.verdict is Verdict.NONE:
            return self.mark is Mark.FAILED
        return self.verdict is Verdict.FAIL

    @property
    def is_spared(self) -> bool:
        """Whether it failed and its verdict is pass: all that failed was in quarantine, or gates hold."""
        return self.mark is Mark.FAILED and not self.is_failure


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """A suite with its last runs on the default branch, oldest first."""

    suite: Suite
    runs: list[SuiteRun]

    @property
    def marks(self) -> str:
        """The strip."""
        return "".join(run.mark for run in self.runs)

    @property
    def latest(self) -> SuiteRun | None:
        """The newest run of all."""
        return self.runs[-1] if self.runs else None

    @property
    def judged(self) -> list[SuiteRun]:
        """Runs that say something of the tests: neither live, cancelled nor errored."""
        return [run for run in self.runs if run.mark in {Mark.PASSED, Mark.FAILED, Mark.FLAKY}]

    @property
    def pass_rate(self) -> float | None:
        """Passed runs, flaky ones included, as a share of those judged."""
        judged = self.judged
        return sum(run.mark is not Mark.FAILED for run in judged) / len(judged) if judged else None

    @property
    def flake_share(self) -> float | None:
        """Results that passed only after a retry, as a share of all; None without results."""
        results = sum(run.result_count for run in self.judged)
        return sum(run.flaky_count for run in self.judged) / results if results else None

    @property
    def median_ms(self) -> int | None:
        """Milliseconds of the median judged run."""
        known = [run.duration_ms for run in self.judged if run.duration_ms is not None]
        return round(statistics.median(known)) if known else None

    @property
    def row_length(self) -> int:
        """How many of the newest judged runs are alike: failures in a row, or green ones."""
        judged = self.judged
        count = 0
        for run in reversed(judged):
            if run.is_failure is not judged[-1].is_failure:
                break
            count += 1
        return count

    @property
    def is_red(self) -> bool:
        """Whether the newest judged run failed and its verdict did not spare it."""
        return bool(self.judged) and self.judged[-1].is_failure

    @property
    def red_since(self) -> SuiteRun | None:
        """The first of the failures in a row."""
        return self.judged[-self.row_length] if self.is_red else None

    @property
    def newest_judged(self) -> SuiteRun | None:
        """The newest run that says something of the tests."""
        return self.judged[-1] if self.judged else None

    @property
    def last_green(self) -> SuiteRun | None:
        """The newest judged run that is no failure."""
        return next((run for run in reversed(self.judged) if not run.is_failure), None)


def suite_rows(project: Project, *, suite_id: int | None = None, branch: str = "") -> list[SuiteRow]:
    """Every suite of the project by name, or that one, with its last runs on that branch, or on the default
    branch and on none."""
    runs = (
        Run.objects.filter(suite=OuterRef("pk"), branch__in=branches_meant(project, branch))
        .order_by("-number")
        .values(
            facts=JSONObject(
                number="number",
                status="status",
                flaky_count="flaky_count",
                duration_ms="duration_ms",
                verdict="verdict",
                commit="commit",
                failed_count=F("failed_count") + F("errored_count"),
                at="run_at",
                author="commit_author",
                result_count=F("test_count") - F("skipped_count"),
            )
        )[:STRIP_LENGTH]
    )
    suites = Suite.objects.filter(project=project).annotate(recent=ArraySubquery(runs)).order_by("name")
    if suite_id is not None:
        suites = suites.filter(pk=suite_id)
    rows = []
    for suite in suites:
        suite.project = project
        recent = [_run(facts) for facts in reversed(suite.recent)]
        rows.append(SuiteRow(suite=suite, runs=recent))
    return rows


def branches_meant(project: Project, branch: str) -> list[str]:
    """The branch; uploads that name none count for the default one."""
    return [branch] if branch and branch != project.default_branch else [project.default_branch, ""]


def _run(facts: dict[str, int | str | None]) -> SuiteRun:
    status, flaky, duration = (
        RunStatus(str(facts["status"])),
        int(facts["flaky_count"] or 0),
        facts["duration_ms"],
    )
    return SuiteRun(
        number=int(facts["number"] or 0),
        status=status,
        mark=run_mark(status, flaky),
        duration_ms=None if duration is None else int(duration),
        commit=str(facts["commit"]),
        flaky_count=flaky,
        failed_count=int(facts["failed_count"] or 0),
        at=datetime.fromisoformat(str(facts["at"])),
        author=str(facts["author"]),
        result_count=int(facts["result_count"] or 0),
        verdict=Verdict(str(facts["verdict"])),
    )


@dataclass(frozen=True, slots=True)
class ListedSuite(SuiteRow):
    """A suite of the list, with the moment its next schedule is due; None when none is."""

    due_at: datetime | None


def suite_list_rows(project: Project) -> list[ListedSuite]:
    """The suites by name; two queries."""
    due = dict(
        Schedule.objects.filter(suite__project=project, is_paused=False, due_at__isnull=False)
        .values_list("suite")
        .annotate(next_at=Min("due_at"))
        .values_list("suite", "next_at")
    )
    return [ListedSuite(row.suite, row.runs, due.get(row.suite.pk)) for row in suite_rows(project)]
