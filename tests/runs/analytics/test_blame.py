from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.blame import (
    ErrorLine,
    EventKind,
    EvidenceKind,
    FailedTest,
    ServiceEvent,
    Strength,
    Touch,
    WatchedService,
    blame,
    suspicions,
)

START = datetime(2026, 5, 20, 12, tzinfo=UTC)
TEST = FailedTest(START, START + timedelta(seconds=10))
ORDERS = WatchedService("orders", ports=frozenset({8080}), containers=frozenset({"shop-orders-1"}))
PAYMENTS = WatchedService("payments", hosts=frozenset({"pay.internal"}), ports=frozenset({9090}))
STOCK = WatchedService("stock", ports=frozenset({9090}))
SHOP = (ORDERS, PAYMENTS, STOCK)


def event(service: str, kind: EventKind, second: float, *, is_fault: bool = False) -> ServiceEvent:
    return ServiceEvent(service, kind, START + timedelta(seconds=second), is_fault)


def error(service: str, second: float, line: str = "ERROR boom") -> ErrorLine:
    return ErrorLine(service, START + timedelta(seconds=second), line)


def saying(text: str) -> FailedTest:
    return FailedTest(TEST.started_at, TEST.ended_at, text)


def test_without_evidence_no_service_is_blamed_and_each_says_why() -> None:
    found = blame(TEST, SHOP)

    assert (found.suspects, found.blamed) == ((), ())
    assert [one.service for one in found.ruled_out] == ["orders", "payments", "stock"]
    assert found.ruled_out[0].reasons == (
        "up and well throughout",
        "no error lines in its log",
        "not named in the failure",
    )


@pytest.mark.parametrize(
    ("kind", "evidence", "strength"),
    [
        (EventKind.OUT_OF_MEMORY, EvidenceKind.OUT_OF_MEMORY, Strength.STRONG),
        (EventKind.DIED, EvidenceKind.DIED, Strength.STRONG),
        (EventKind.UNHEALTHY, EvidenceKind.UNHEALTHY, Strength.MODERATE),
        (EventKind.RESTARTED, EvidenceKind.RESTARTED, Strength.MODERATE),
    ],
)
def test_what_happened_to_a_service_while_the_test_ran_speaks_against_it(
    kind: EventKind, evidence: EvidenceKind, strength: Strength
) -> None:
    found = blame(TEST, SHOP, [event("stock", kind, 3)])

    assert found.blamed == ("stock",)
    assert [(one.kind, one.strength) for one in found.suspects[0].evidence] == [(evidence, strength)]
    assert found.suspects[0].evidence[0].at == START + timedelta(seconds=3)


def test_what_happened_outside_the_window_does_not() -> None:
    events = [event("stock", EventKind.RESTARTED, -6), event("stock", EventKind.DIED, 16)]

    assert blame(TEST, SHOP, events).blamed == ()
    assert blame(TEST, SHOP, [event("stock", EventKind.DIED, 14)]).blamed == ("stock",)


def test_a_service_that_was_dead_already_is_blamed_until_it_comes_back() -> None:
    died, back = event("stock", EventKind.DIED, -60), event("stock", EventKind.HEALTHY, -30)

    found = blame(TEST, SHOP, [died])

    assert found.suspects[0].evidence[0].detail == "died before the test and had not come back"
    assert blame(TEST, SHOP, [died, back]).blamed == ()


def test_dying_of_memory_is_one_observation() -> None:
    events = [event("stock", EventKind.DIED, 3), event("stock", EventKind.OUT_OF_MEMORY, 3)]

    assert [one.kind for one in blame(TEST, SHOP, events).suspects[0].evidence] == [
        EvidenceKind.OUT_OF_MEMORY
    ]


def test_a_service_that_the_test_disturbed_on_purpose_is_not_to_blame() -> None:
    found = blame(TEST, SHOP, [event("stock", EventKind.DIED, 3, is_fault=True)])

    assert found.blamed == ()
    assert found.ruled_out[2].reasons[0] == "disturbed on purpose"


def test_a_property_names_a_service_even_one_that_nobody_watched() -> None:
    test = FailedTest(None, None, property_services=("ledger",))

    found = blame(test, SHOP)

    assert found.blamed == ("ledger",)
    assert found.suspects[0].strength is Strength.STRONG


@pytest.mark.parametrize(
    ("text", "service", "strength"),
    [
        ("Connection refused: orders:8080", "orders", Strength.MODERATE),
        ("GET http://pay.internal/charge gave 500", "payments", Strength.MODERATE),
        ("could not connect to shop-orders-1", "orders", Strength.WEAK),
        ("timeout waiting for stock", "stock", Strength.MODERATE),
        ("expected 3 orders, got 2", "orders", Strength.WEAK),
        ("dial tcp 10.0.0.7:8080: connection refused", "orders", Strength.MODERATE),
        ("listening on port 8080", "orders", Strength.WEAK),
        ("nothing\nPAYMENTS\nredis://payments/0", "payments", Strength.MODERATE),
    ],
)
def test_a_failure_names_a_service_by_host_port_or_container(
    text: str, service: str, strength: Strength
) -> None:
    found = blame(saying(text), SHOP)

    assert [(one.service, one.strength) for one in found.suspects] == [(service, strength)]
    assert found.suspects[0].evidence[0].kind is EvidenceKind.NAMED


@pytest.mark.parametrize(
    "text",
    [
        "test_orders_are_listed failed",
        "reorders",
        "orders-db is slow",
        "orders.example.org",
        "10.0.0.7:9090 refused",  # two services listen there
        "at 12:8080:3",
        "test_list.py:8080: AssertionError, timed out",
        "/srv/orders/api.py and orders/api.py",
        "",
    ],
)
def test_what_only_resembles_a_name_is_none(text: str) -> None:
    assert blame(saying(text), SHOP).suspects == ()


def test_error_lines_count_within_the_window_and_more_of_them_more() -> None:
    one = blame(TEST, SHOP, errors=[error("stock", 2), error("stock", 30)])
    three = blame(TEST, SHOP, errors=[error("stock", second) for second in (1, 2, 3)])

    assert one.suspects[0].evidence[0].detail == "1 error line in its log, first: ERROR boom"
    assert one.suspects[0].strength is Strength.WEAK
    assert three.suspects[0].strength is Strength.MODERATE


def test_error_lines_that_passing_tests_see_too_are_no_evidence() -> None:
    noisy = WatchedService("stock", usual_error_count=1.5)

    found = blame(TEST, [noisy], errors=[error("stock", second) for second in (1, 2, 3)])

    assert found.blamed == ()
    assert found.ruled_out[0].reasons[1] == "no more error lines than usual (3)"


def test_the_strongest_evidence_decides_and_ties_stay_ties() -> None:
    events = [event("stock", EventKind.UNHEALTHY, 1), event("payments", EventKind.UNHEALTHY, 2)]

    found = blame(saying("expected 3 orders"), SHOP, events)

    assert [(one.service, one.rank) for one in found.suspects] == [
        ("payments", 1),
        ("stock", 1),
        ("orders", 3),
    ]
    assert found.blamed == ("payments", "stock")


def test_more_evidence_breaks_a_tie() -> None:
    events = [event("stock", EventKind.DIED, 1), event("payments", EventKind.DIED, 2)]

    found = blame(TEST, SHOP, events, [error("stock", 1)])

    assert [(one.service, one.rank) for one in found.suspects] == [("stock", 1), ("payments", 2)]
    assert [one.kind for one in found.suspects[0].evidence] == [EvidenceKind.DIED, EvidenceKind.ERROR_LINES]


def test_who_was_not_watched_is_not_ruled_out() -> None:
    found = blame(TEST, [ORDERS, WatchedService("ledger", is_watched=False)])

    assert (found.unwatched, [one.service for one in found.ruled_out]) == (("ledger",), ["orders"])


def test_a_test_whose_time_is_unknown_is_judged_by_its_text_alone() -> None:
    found = blame(FailedTest(None, None), SHOP, [event("stock", EventKind.DIED, 1)], [error("stock", 1)])

    assert found.blamed == ()
    assert found.ruled_out[2].reasons == ("not named in the failure", "when the test ran is not known")


NAMES = st.sampled_from(["orders", "payments", "stock"])
EVENTS = st.lists(st.builds(event, NAMES, st.sampled_from(EventKind), st.integers(-60, 60)), max_size=8)
ERRORS = st.lists(st.builds(error, NAMES, st.integers(-60, 60)), max_size=8)


@given(EVENTS, ERRORS, st.text(alphabet="orders paymentstock:8090/@\n", max_size=80))
def test_every_service_has_one_place_and_the_order_of_input_does_not_matter(
    events: list[ServiceEvent], errors: list[ErrorLine], text: str
) -> None:
    found = blame(saying(text), SHOP, events, errors)
    again = blame(saying(text), reversed(SHOP), reversed(events), reversed(errors))

    assert {one.service for one in again.suspects} == {one.service for one in found.suspects}
    assert again.blamed == found.blamed
    places = [*(one.service for one in found.suspects), *(one.service for one in found.ruled_out)]
    assert sorted(places) == ["orders", "payments", "stock"]
    assert all(one.evidence for one in found.suspects)
    assert bool(found.blamed) is bool(found.suspects)


@given(EVENTS, ERRORS)
def test_more_against_a_service_never_lowers_its_rank(
    events: list[ServiceEvent], errors: list[ErrorLine]
) -> None:
    def rank(more: list[ServiceEvent]) -> int:
        found = blame(TEST, SHOP, [*events, *more], errors).suspects
        return next((one.rank for one in found if one.service == "stock"), 4)

    assert rank([event("stock", EventKind.OUT_OF_MEMORY, 5)]) <= rank([])


def touches(failed: int, passed: int, *services: str) -> list[Touch]:
    touched = frozenset(services)
    return [
        *(failed * [Touch(failed=True, services=touched)]),
        *(passed * [Touch(failed=False, services=touched)]),
    ]


def test_ochiai_is_worked_out_by_hand() -> None:
    # Four failing. orders: all 4, and 5 passing: 4/√(4·9) = 2/3. stock: 1 and 8: 1/√(4·9) = 1/6.
    run = [
        *touches(3, 0, "orders"),
        *touches(1, 3, "orders", "stock"),
        *touches(0, 2, "orders"),
        *touches(0, 5, "stock"),
    ]

    found = suspicions(run)

    assert [(one.service, one.rank, one.failed_touching, one.passed_touching) for one in found] == [
        ("orders", 1, 4, 5),
        ("stock", 2, 1, 8),
    ]
    assert [one.score for one in found] == [pytest.approx(2 / 3), pytest.approx(1 / 6)]


def test_services_that_are_always_touched_together_share_a_rank() -> None:
    found = suspicions(touches(3, 10, "orders", "stock"))

    assert [(one.service, one.rank) for one in found] == [("orders", 1), ("stock", 1)]


@pytest.mark.parametrize(("failed", "passed"), [(2, 10), (3, 9)])
def test_too_few_tests_tell_nothing(failed: int, passed: int) -> None:
    assert suspicions(touches(failed, passed, "orders")) == []


def test_being_named_and_complaining_is_expected_of_a_service_that_was_stopped_on_purpose() -> None:
    test = saying("Connection refused: http://stock:8000/items")
    events = [event("stock", EventKind.DISTURBED, 3, is_fault=True)]

    found = blame(test, SHOP, events, [error("stock", 4)])

    assert found.blamed == ()
    assert next(one for one in found.ruled_out if one.service == "stock").reasons == (
        "disturbed on purpose",
        "error lines are to be expected then (1)",
        "named in the failure, as is to be expected then",
    )


def test_a_disturbance_that_was_over_before_the_test_excuses_nothing() -> None:
    events = [
        event("stock", EventKind.DISTURBED, -9, is_fault=True),
        event("stock", EventKind.RESTARTED, -3, is_fault=True),
    ]

    assert blame(saying("stock:8000 refused the connection"), SHOP, events).blamed == ("stock",)


def test_evidence_by_an_estimated_window_says_so() -> None:
    test = FailedTest(TEST.started_at, TEST.ended_at, is_estimated=True)
    died = ServiceEvent("stock", EventKind.DIED, START + timedelta(seconds=3), note="exit code 137")

    found = blame(test, SHOP, [died], [error("stock", 4)])

    assert [one.detail for one in found.suspects[0].evidence] == [
        "died, exit code 137; when the test ran is estimated",
        "1 error line in its log; when the test ran is estimated, first: ERROR boom",
    ]
