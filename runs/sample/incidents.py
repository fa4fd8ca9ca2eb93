"""What went wrong in the shop: which tests failed in a run, how, and how long everything took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from runs.sample.calendar import MAIN, SPLIT_BRANCH, PlannedRun
from runs.sample.catalogue import CHECKOUT, DATABASE, E2E, Test

#: Days before today, from and to (exclusive).
type Days = tuple[float, float]

OUTAGE: Days = (24, 23)
USER_SERVICE_BROKEN: Days = (9, 6.5)
RECEIPTS_LATE: Days = (42, 40)
SLOWER_SINCE = 12.0
GIFT_CARDS_BROKEN_SINCE = 2.6
LOCK_FIXED = 34.0

#: Each of these is told about in docs/quickstart.md or a test: what the history is for.
RETRIED = "test_flaky_on_purpose_the_notification_arrives_within_a_second"
ISOLATED = "test_what_was_ordered_while_the_queue_was_down_is_announced_when_it_is_back"
RACE = "test_of_many_who_create_the_same_user_at_once_exactly_one_succeeds"
SLOWER = "test_concurrent_debits_never_overdraw_a_balance"
FIXED = "test_of_two_who_migrate_at_once_one_does_the_work"
BY_NIGHT = "test_delivery_is_promised_for_tomorrow_before_the_cut_off"
BY_ORDER = "test_a_basket_survives_signing_in"
ORDER_CAUSE = "test_signing_out_empties_the_basket"
LATE_INDEX = "test_search_finds_what_was_just_added"
GIFT_CARDS = ("test_a_gift_card_pays_part_of_an_order", "test_the_balance_of_a_gift_card_is_shown")
SPLIT = "test_the_rest_of_a_split_payment_is_rounded_for_the_first_user"

_SECONDS_ADDED, _SECONDS_OF_OUTBOX = 2.0, 0.38
#: The test that is disturbed runs within so many tests of the one that disturbs it.
_REACH = 8
_NIGHT_ENDS = 6


@dataclass(frozen=True, slots=True)
class Told:
    """What a failing attempt says."""

    kind: str
    message: str
    #: The line of the test it happened in.
    line: int
    source: str
    #: The service that the suite's own teardown found at fault; empty where it names none.
    service: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test in one run: its failed attempts, and whether it passed in the end."""

    test: Test
    seconds: float
    failures: tuple[Told, ...] = ()
    passed: bool = True


def outcomes(run: PlannedRun, tests: Sequence[Test], *, now: datetime, seed: str) -> list[Outcome]:
    """What came of the tests, in the order in which they ran."""
    chance = Random(f"{seed} {run.key} {run.is_rerun}")  # noqa: S311 - a made-up past is no secret
    moment = _Moment(
        run,
        days_ago=(now - run.at).total_seconds() / 86_400,
        code_days=(now - run.pushed_at).total_seconds() / 86_400,
        chance=chance,
        tests=_ordered(run, tests, chance),
    )
    return [_outcome(moment, test, position) for position, test in enumerate(moment.tests)]


@dataclass(frozen=True, slots=True)
class _Moment:
    """A run while it goes."""

    run: PlannedRun
    days_ago: float
    #: How old its commit is.
    code_days: float
    chance: Random
    tests: list[Test]

    def within(self, days: Days) -> bool:
        return days[1] < self.days_ago <= days[0]

    def comes_after(self, position: int, name: str) -> bool:
        return any(test.name == name for test in self.tests[max(position - _REACH, 0) : position])


def _ordered(run: PlannedRun, tests: Sequence[Test], chance: Random) -> list[Test]:
    """End to end the files run in another order each time, on purpose."""
    ordered = list(tests)
    if run.suite == E2E:
        chance.shuffle(ordered)
    return ordered


def _outcome(moment: _Moment, test: Test, position: int) -> Outcome:
    seconds = _seconds(moment, test)
    if test.skipped:
        return Outcome(test, 0.0)
    if moment.within(OUTAGE) and moment.run.suite in {CHECKOUT, DATABASE}:
        return Outcome(test, 0.02, (_POSTGRES_GONE,), passed=False)
    told = _lasting(moment, test)
    if told is not None:
        return Outcome(test, _seconds_of(told, seconds), (told,), passed=False)
    told = _passing(moment, test, position)
    if told is None:
        return Outcome(test, seconds)
    tries = _TRIES.get(test.name, 1)
    again = moment.chance.random() < 0.12  # noqa: PLR2004 - the second try fails too, now and then
    if tries == 1 or again:
        return Outcome(test, _seconds_of(told, seconds), (told,) * tries, passed=False)
    return Outcome(test, seconds, (told,))


def _seconds(moment: _Moment, test: Test) -> float:
    usual = test.seconds
    if moment.run.suite == CHECKOUT and moment.code_days <= SLOWER_SINCE:
        usual += _SECONDS_ADDED if test.name == SLOWER else 0.0
        usual += _SECONDS_OF_OUTBOX if test.class_name.endswith("notifications") else 0.0
    return max(usual * moment.chance.lognormvariate(0, 0.09), 0.001)


def _seconds_of(told: Told, usual: float) -> float:
    """A time-out takes as long as it waits; everything else fails about when it would have passed."""
    return 10.0 + usual if "within 10 s" in told.message else usual


def _lasting(moment: _Moment, test: Test) -> Told | None:
    """What failed in run after run until somebody mended it."""
    if moment.within(USER_SERVICE_BROKEN) and "user" in test.name and moment.run.suite == CHECKOUT:
        return _USER_SERVICE_DOWN
    if RECEIPTS_LATE[1] < moment.code_days <= RECEIPTS_LATE[0] and test.name == "test_a_receipt_is_sent":
        return _RECEIPT_LATE
    if test.name in GIFT_CARDS and moment.code_days <= GIFT_CARDS_BROKEN_SINCE:
        return replace(_GIFT_CARD, line=31 if test.name == GIFT_CARDS[0] else 58)
    if test.name == SPLIT and moment.run.branch == SPLIT_BRANCH:
        return _SPLIT_ROUNDING
    return None


def _passing(moment: _Moment, test: Test, position: int) -> Told | None:
    """What fails now and then."""
    told, share = _NOW_AND_THEN.get(test.name, (None, 0.0))
    if test.name == FIXED and moment.code_days <= LOCK_FIXED:
        share = 0.0
    if test.name == BY_NIGHT and moment.run.at.hour >= _NIGHT_ENDS:
        share = 0.0
    if test.name == BY_ORDER:
        share = 1.0 if moment.comes_after(position, ORDER_CAUSE) else 0.0
    # A rerun mostly finds nothing: that is what tells a flaky test from a broken one.
    if moment.run.is_rerun:
        share *= 0.3
    return told if told is not None and moment.chance.random() < share else None


def needs_rerun(run: PlannedRun, results: Sequence[Outcome]) -> bool:
    """Whether somebody on main pressed the button: one or two tests failed, which looked like bad luck."""
    failed = sum(not one.passed for one in results)
    return run.branch == MAIN and run.suite != E2E and 1 <= failed <= 2 and not run.is_rerun  # noqa: PLR2004


_TRIES = {RETRIED: 3, LATE_INDEX: 2}

_POSTGRES_GONE = Told(
    "psycopg.OperationalError",
    'connection failed: connection to server at "postgres", port 5432 failed: Connection refused',
    22,
    "with psycopg.connect(database_url) as connection:",
    service="postgres",
    is_error=True,
)
_USER_SERVICE_DOWN = Told(
    "urllib.error.URLError",
    "<urlopen error [Errno 111] Connection refused> while asking http://user-service:8000/users",
    38,
    "with urllib.request.urlopen(request, timeout=20) as answer:",
    service="user-service",
)
_RECEIPT_LATE = Told(
    "AssertionError",
    "no receipt arrived within 10 s; http://notification-service:8000/notifications answered []",
    74,
    "assert eventually(receipts, within_seconds=10)",
    service="notification-service",
)
_GIFT_CARD = Told(
    "AssertionError",
    'order-service answered 500 on POST /gift-cards/redeem: null value in column "currency" of relation'
    ' "gift_card" violates not-null constraint',
    31,
    "assert answer.status == 200, answer.body",
    service="order-service",
)
_SPLIT_ROUNDING = Told(
    "AssertionError",
    "assert [1667, 1667] == [1667, 1666]",
    131,
    "assert shares == [1667, 1666]",
)
_NOW_AND_THEN: dict[str, tuple[Told, float]] = {
    RETRIED: (
        Told(
            "AssertionError",
            "the notification of order 4711 was not there within a second",
            108,
            "assert told.orders() == [order]",
            service="notification-service",
        ),
        0.2,
    ),
    ISOLATED: (
        Told(
            "AssertionError",
            "assert [] == ['order.paid']: valkey:6379 was back, the event was not",
            57,
            "assert eventually(told.events) == ['order.paid']",
            service="valkey",
        ),
        0.06,
    ),
    RACE: (
        Told(
            "AssertionError",
            "assert [201, 201, 409, 409] == [201, 409, 409, 409]",
            70,
            "assert sorted(statuses) == expected",
        ),
        0.016,
    ),
    FIXED: (
        Told(
            "psycopg.errors.UniqueViolation",
            'duplicate key value violates unique constraint "migration_pkey"',
            88,
            "assert sorted(applied) == [0, 4]",
        ),
        0.11,
    ),
    BY_NIGHT: (
        Told(
            "AssertionError",
            "assert 'in two days' == 'tomorrow': the cut-off was read off the server's clock",
            19,
            "assert page.promise() == 'tomorrow'",
        ),
        0.25,
    ),
    BY_ORDER: (
        Told(
            "AssertionError",
            "assert 0 == 1: the basket of the account is empty",
            52,
            "assert page.basket().line_count() == 1",
        ),
        1.0,
    ),
    LATE_INDEX: (
        Told(
            "playwright.sync_api.TimeoutError",
            "Locator.click: the article was not listed within 10 s (search-service index is 14 s old)",
            27,
            "page.results().first.click()",
            service="search-service",
        ),
        0.07,
    ),
}
