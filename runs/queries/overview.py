"""A project's overview: is the default branch healthy, since when, and what ran."""

from __future__ import annotations

from dataclasses import dataclass

from runs.models import Project, Run
from runs.queries.suites import SuiteRow, suite_rows

RECENT_RUNS = 8


@dataclass(frozen=True, slots=True)
class Overview:
    """The overview's facts."""

    suites: list[SuiteRow]
    recent: list[Run]

    @property
    def red(self) -> list[SuiteRow]:
        """Suites whose newest judged run failed, the longest-failing first."""
        return sorted((row for row in self.suites if row.is_red), key=lambda row: -row.row_length)

    @property
    def green_count(self) -> int:
        """Suites that were judged and are not red."""
        return sum(bool(row.judged) and not row.is_red for row in self.suites)

    @property
    def flaky(self) -> list[SuiteRow]:
        """Green suites whose newest run needed retries."""
        return [row for row in self.suites if row.judged and row.judged[-1].flaky_count and not row.is_red]


def overview(project: Project) -> Overview:
    """Two queries: suites with their strips, and the newest runs."""
    return Overview(suites=suite_rows(project), recent=recent_runs(project))


def recent_runs(project: Project) -> list[Run]:
    """The newest runs of all branches."""
    return list(Run.objects.for_project(project).select_related("suite").newest_first()[:RECENT_RUNS])
