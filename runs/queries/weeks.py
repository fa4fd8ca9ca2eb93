"""How a branch fared lately, against the time before: one statement over a project's newest runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from runs.models import Project
from runs.queries.suites import branches_meant
from runs.vocabulary import ErrorReason, RunStatus

#: Runs looked at, whatever the period: what a page may cost is bounded.
RUN_LIMIT: Final = 20_000
#: Points of a spark: seven of the period, seven of the one before.
BUCKETS: Final = 14
BRANCH_LIMIT: Final = 40
#: The environment was not there to test in.
_NOT_BOOTED: Final = [
    ErrorReason.IMAGE_MISSING,
    ErrorReason.RATE_LIMITED,
    ErrorReason.BUILD_FAILED,
    ErrorReason.NEVER_HEALTHY,
    ErrorReason.SERVICE_EXITED,
    ErrorReason.PORT,
    ErrorReason.DISK,
    ErrorReason.OUT_OF_MEMORY,
    ErrorReason.ENGINE_UNAVAILABLE,
    ErrorReason.UNSUPPORTED,
]
#: … and there it was, though the run came to nothing. Of runs that are cancelled, live or never got so far
#: nothing is known.
_BOOTED: Final = [ErrorReason.HOOK, ErrorReason.NO_REPORT, ErrorReason.REPORT_UNREADABLE]
_JUDGED: Final = [RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT]

# What belongs to the branch is told apart by filters, so that the branches' names come in the same statement.
_STATEMENT = """
WITH seen AS (
    SELECT branch, run_at, duration_ms, run_at >= %(middle)s AS is_new,
           least(
               %(buckets)s,
               width_bucket(extract(epoch FROM run_at - %(since)s), 0, %(seconds)s, %(buckets)s)
           ) AS bucket,
           status = ANY(%(judged)s) AND branch = ANY(%(branches)s)
               AND (pull_request = '' OR NOT %(is_default)s) AS is_judged,
           status = 'passed' AS has_passed, flaky_count > 0 AS has_flaked,
           engine <> '' AND branch = ANY(%(branches)s)
               AND (status = ANY(%(judged)s) OR error_reason = ANY(%(known)s)) AS has_environment,
           error_reason = ANY(%(not_booted)s) AS is_without
    FROM runs_run
    WHERE project_id = %(project)s AND number > %(number)s AND run_at >= %(since)s AND run_at <= %(now)s
)
SELECT GROUPING(is_new, bucket, branch), is_new, bucket, branch, max(run_at),
       count(*) FILTER (WHERE is_judged), count(*) FILTER (WHERE is_judged AND has_passed),
       count(*) FILTER (WHERE is_judged AND has_flaked),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE is_judged),
       count(*) FILTER (WHERE has_environment), count(*) FILTER (WHERE has_environment AND is_without)
FROM seen GROUP BY GROUPING SETS ((is_new), (bucket), (branch))
"""
_BY_PERIOD, _BY_BUCKET, _BY_BRANCH = 0b011, 0b101, 0b110


@dataclass(frozen=True, slots=True)
class Stretch:
    """What came of the runs in some length of time. Shares of nothing are None."""

    #: Runs that say something of their tests, on the branch.
    judged: int = 0
    passed: int = 0
    flaked: int = 0
    median_ms: float | None = None
    #: Runs that were to have an environment here, and those that got none.
    environments: int = 0
    not_booted: int = 0

    @property
    def pass_share(self) -> float | None:
        """Passed runs, flaky ones included."""
        return self.passed / self.judged if self.judged else None

    @property
    def flake_share(self) -> float | None:
        """Runs with at least one flaky result."""
        return self.flaked / self.judged if self.judged else None

    @property
    def boot_share(self) -> float | None:
        """Environments that came up."""
        return 1 - self.not_booted / self.environments if self.environments else None


@dataclass(frozen=True, slots=True)
class Fortnight:
    """A period, the one before it of the same length, and both in slices, oldest first."""

    now: Stretch = field(default_factory=Stretch)
    before: Stretch = field(default_factory=Stretch)
    slices: Sequence[Stretch] = ()
    #: Branches that ran in either, the newest first.
    branches: Sequence[str] = ()

    @property
    def pass_change(self) -> float | None:
        """By how much the pass rate rose, 0 to 1; None without both."""
        return _difference(self.now.pass_share, self.before.pass_share)

    @property
    def median_change(self) -> float | None:
        """By how many milliseconds the median run got longer."""
        return _difference(self.now.median_ms, self.before.median_ms)

    @property
    def flake_change(self) -> float | None:
        """By how much the share of runs with a flake rose."""
        return _difference(self.now.flake_share, self.before.flake_share)

    @property
    def pass_course(self) -> list[float]:
        """For a spark; slices in which nothing ran are left out."""
        return self._course(lambda one: one.pass_share)

    @property
    def median_course(self) -> list[float]:
        """For a spark."""
        return self._course(lambda one: one.median_ms)

    @property
    def flake_course(self) -> list[float]:
        """For a spark."""
        return self._course(lambda one: one.flake_share)

    def _course(self, of: Callable[[Stretch], float | None]) -> list[float]:
        return [value for one in self.slices if (value := of(one)) is not None]


def fortnight(project: Project, *, branch: str, days: int, now: datetime) -> Fortnight:
    """One query, by the project's newest runs alone."""
    since, middle = now - timedelta(days=2 * days), now - timedelta(days=days)
    values: dict[str, Any] = {
        "project": project.pk,
        "number": max(project.next_run_number - RUN_LIMIT, 0),
        "since": since,
        "middle": middle,
        "now": now,
        "seconds": (now - since).total_seconds(),
        "buckets": BUCKETS,
        "branches": branches_meant(project, branch),
        # A fork's pull request may come from a branch of the same name.
        "is_default": branch == project.default_branch,
        "judged": _JUDGED,
        "not_booted": _NOT_BOOTED,
        "known": [*_NOT_BOOTED, *_BOOTED],
    }
    periods: dict[bool, Stretch] = {}
    slices: dict[int, Stretch] = {}
    branches: list[tuple[datetime, str]] = []
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, values)
        for kind, is_new, bucket, name, newest_at, *counts in cursor.fetchall():
            if kind == _BY_PERIOD:
                periods[is_new] = Stretch(*counts)
            elif kind == _BY_BUCKET:
                slices[bucket] = Stretch(*counts)
            elif name:
                branches.append((newest_at, name))
    return Fortnight(
        now=periods.get(True, Stretch()),
        before=periods.get(False, Stretch()),
        slices=[slices[bucket] for bucket in sorted(slices)],
        branches=[name for _, name in sorted(branches, reverse=True)[:BRANCH_LIMIT]],
    )


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
