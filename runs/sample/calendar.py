"""When the shop's people pushed what, and which suites ran because of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from hashlib import sha1
from random import Random

from runs.sample.catalogue import CHECKOUT, DATABASE, E2E

MAIN = "main"
SPLIT_BRANCH = "feat/split-payments"
_SATURDAY = 5
#: How often main is pushed to on a day of the week, at least and at most.
_WEEKDAY_PUSHES, _WEEKEND_PUSHES = (1, 3), (0, 1)
_FIRST_PULL_REQUEST = 118
_BRANCHES = (
    "fix/coupon-rounding",
    "feat/order-currency",
    "chore/psycopg-3.3",
    "feat/pick-up-points",
    "fix/double-receipt",
    "feat/search-suggestions",
    "refactor/outbox",
    "fix/session-timeout",
    "feat/saturday-delivery",
    "chore/python-3.13",
    "feat/gift-cards",
    "fix/debit-retry",
    "perf/order-list",
    "feat/invoice-pdf",
    "fix/island-shipping",
    "docs/api-examples",
    "feat/account-deletion",
    "fix/migration-lock",
    "chore/renew-certificates",
    "feat/basket-merge",
    "fix/quantity-zero",
)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A suite's run on a commit, before anybody knows how it ends."""

    #: Unique in the history.
    key: str
    suite: str
    branch: str
    commit: str
    at: datetime
    #: When the commit came: what the code does is decided by then, whenever it runs.
    pushed_at: datetime
    pull_request: str = ""
    #: It repeats the run before on the same commit.
    is_rerun: bool = False


def planned_runs(*, now: datetime, days: int, seed: str) -> list[PlannedRun]:
    """Every run of the days before `now`, oldest first."""
    begins = now - timedelta(days=days)
    pushes = list(_pushes(begins, now, seed))
    runs = [run for at, commit in pushes for run in _of_push(at, commit)]
    runs += _nightly(pushes, begins, now)
    runs += _of_branches(begins, now, days, seed)
    return sorted((run for run in runs if begins <= run.at < now), key=lambda run: (run.at, run.key))


def commit_of(seed: str, *words: object) -> str:
    """A commit's forty digits."""
    return sha1(" ".join(map(str, (seed, *words))).encode(), usedforsecurity=False).hexdigest()


def _pushes(begins: datetime, now: datetime, seed: str) -> Iterator[tuple[datetime, str]]:
    day = datetime.combine(begins.date(), time(), tzinfo=UTC)
    while day < now:
        # By days back and not by date, so that the history has the same shape whenever it is made.
        back = (now.date() - day.date()).days
        chance = _chance(seed, back)
        few, many = _WEEKEND_PUSHES if day.weekday() >= _SATURDAY else _WEEKDAY_PUSHES
        for number in range(chance.randint(few, many)):
            at = day + timedelta(hours=9 + number * 3, minutes=chance.randint(0, 150))
            yield at, commit_of(seed, MAIN, back, number)
        day += timedelta(days=1)


def _of_push(at: datetime, commit: str) -> Iterator[PlannedRun]:
    for wait, suite in ((1, CHECKOUT), (2, DATABASE)):
        key = f"{suite}-{commit[:12]}"
        yield PlannedRun(key, suite, MAIN, commit, at + timedelta(minutes=wait), at)


def _nightly(pushes: list[tuple[datetime, str]], begins: datetime, now: datetime) -> Iterator[PlannedRun]:
    """End to end twice a day, on whatever is newest then: by night while nobody looks, and at noon."""
    day = datetime.combine(begins.date(), time(), tzinfo=UTC)
    while day < now:
        back = (now.date() - day.date()).days
        for hour in (1, 13):
            at = day + timedelta(hours=hour, minutes=30)
            known = [push for push in pushes if push[0] < at]
            if known:
                pushed_at, commit = known[-1]
                yield PlannedRun(f"{E2E}-{back}-{hour}", E2E, MAIN, commit, at, pushed_at)
        day += timedelta(days=1)


def _of_branches(begins: datetime, now: datetime, days: int, seed: str) -> Iterator[PlannedRun]:
    """Pull requests, one after the other and overlapping a little; the newest is still open."""
    for number, branch in enumerate((*_BRANCHES, SPLIT_BRANCH)):
        chance = _chance(seed, branch)
        pull_request = str(_FIRST_PULL_REQUEST + number * 3)
        start = begins + timedelta(days=(days - 3) * number / len(_BRANCHES), hours=chance.uniform(0, 5))
        at = start if branch != SPLIT_BRANCH else now - timedelta(days=2, hours=chance.uniform(1, 4))
        for push in range(4 if branch == SPLIT_BRANCH else chance.randint(2, 3)):
            commit = commit_of(seed, branch, push)
            suites = (CHECKOUT, DATABASE) if push == 0 and chance.random() < 0.4 else (CHECKOUT,)  # noqa: PLR2004 - two in five
            for suite in suites:
                yield PlannedRun(f"{suite}-{commit[:12]}", suite, branch, commit, at, at, pull_request)
            at += timedelta(hours=chance.uniform(2, 11))


def _chance(seed: str, *words: object) -> Random:
    return Random(" ".join(map(str, (seed, "calendar", *words))))  # noqa: S311 - a made-up past is no secret
