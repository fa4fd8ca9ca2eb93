"""The whole past, step by step in the order of time: reports that were sent, tests put into quarantine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from runs.sample.calendar import SPLIT_BRANCH, PlannedRun, planned_runs
from runs.sample.catalogue import CHECKOUT, DATABASE, E2E, SPLIT_PAYMENTS, tests_of
from runs.sample.incidents import BY_ORDER, FIXED, LOCK_FIXED, Outcome, needs_rerun, outcomes
from runs.sample.reports import report

DAYS = 60
SEED = "the shop"
_RERUN_AFTER = timedelta(minutes=25)


@dataclass(frozen=True, slots=True)
class SampleReport:
    """A report, and what its sender says of it."""

    at: datetime
    #: Of one run; unique in the history.
    key: str
    suite: str
    level: str
    branch: str
    commit: str
    pull_request: str
    content: bytes
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Somebody took a test out of the gate."""

    at: datetime
    suite: str
    test: str
    owner: str
    reason: str
    days: int


@dataclass(frozen=True, slots=True)
class Lifted:
    """Somebody put it back."""

    at: datetime
    suite: str
    test: str


type Step = SampleReport | Quarantined | Lifted

_LEVELS = {CHECKOUT: "integration", DATABASE: "integration", E2E: "e2e"}


def history(*, now: datetime, days: int = DAYS, seed: str = SEED) -> list[Step]:
    """Everything that happened in the days before `now`, oldest first; the same for the same arguments."""
    steps: list[Step] = list(_quarantines(now, days))
    for run in planned_runs(now=now, days=days, seed=seed):
        results = _results(run, now, seed)
        steps.append(_sent(run, results))
        if needs_rerun(run, results) and run.at + _RERUN_AFTER < now:
            again = replace(run, key=f"{run.key}-again", at=run.at + _RERUN_AFTER, is_rerun=True)
            steps.append(_sent(again, _results(again, now, seed)))
    return sorted(steps, key=lambda step: step.at)


def _results(run: PlannedRun, now: datetime, seed: str) -> list[Outcome]:
    tests = tests_of(run.suite, days_ago=(now - run.pushed_at).total_seconds() / 86_400)
    if run.branch == SPLIT_BRANCH and run.suite == CHECKOUT:
        tests += SPLIT_PAYMENTS
    return outcomes(run, tests, now=now, seed=seed)


def _sent(run: PlannedRun, results: list[Outcome]) -> SampleReport:
    return SampleReport(
        at=run.at,
        key=run.key,
        suite=run.suite,
        level=_LEVELS[run.suite],
        branch=run.branch,
        commit=run.commit,
        pull_request=run.pull_request,
        content=report(run, results),
        environment={"python": "3.13", "postgres": "17"}
        | ({"browser": "chromium"} if run.suite == E2E else {}),
    )


def _quarantines(now: datetime, days: int) -> Iterator[Quarantined | Lifted]:
    steps: list[Quarantined | Lifted] = [
        Quarantined(
            now - timedelta(days=45),
            DATABASE,
            FIXED,
            "@platform",
            "Two migrations at once race for the same row; the lock comes with the next release of the tool.",
            days=14,
        ),
        Lifted(now - timedelta(days=LOCK_FIXED), DATABASE, FIXED),
        Quarantined(
            now - timedelta(days=11),
            E2E,
            BY_ORDER,
            "@storefront",
            "Fails when it runs soon after the test that signs out: both use the same account.",
            days=30,
        ),
    ]
    yield from (step for step in steps if step.at >= now - timedelta(days=days))
