"""The flaky board: what it costs, how it is ranked and narrowed, and quarantine from it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.actions.quarantine import quarantine_case
from runs.models import CaseState, Quarantine, Suite, TestCase
from runs.queries.flaky import costliest
from runs.vocabulary import Outcome, Role, RunStatus
from tests.factories import make_case, make_member, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.django_db

MINUTE = 60_000
HOSTILE = "<script>alert(1)</script>\x1b[31mred\u202egnp"


def shop() -> Suite:
    return make_suite(make_project("shop", visibility="public"), "checkout")


def make_state(
    suite: Suite, name: str, flakiness: str = "flaky", *, days: float = 10, **values: Any
) -> TestCase:
    """A case whose state is as old as that."""
    case = make_case(suite, name)
    moment = timezone.now() - timedelta(days=days)
    known = {
        "direct_count": 2,
        "isolated_count": 1,
        "commit_count": 40,
        "evidence": 0.0625,
        "evidence_low": 0.02,
        "evidence_high": 0.18,
        "inputs": {"runs_per_week": 35.0, "passing_executions": 31},
    }
    CaseState.objects.create(
        case=case, flakiness=flakiness, changed_at=moment, judged_at=moment, **(known | values)
    )
    return case


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return " ".join(answer.content.decode().split())


def order_of(page: str, *names: str) -> list[str]:
    """The names in the order in which their rows come."""
    board = page[page.index('id="board"') :]
    return sorted((name for name in names if f">{name}<" in board), key=lambda name: board.index(f">{name}<"))


def test_the_board_says_what_flaky_tests_cost_and_ranks_by_it(client: Client) -> None:
    suite = shop()
    for name, minutes in (("small", 10), ("large", 50), ("middle", 25), ("tiny", 15)):
        make_state(suite, name, lost_ms_per_week=minutes * MINUTE, days=1 if name == "large" else 10)

    page = text_of(client, "/p/shop/flaky/")

    # 10 + 50 + 25 + 15 minutes; the three largest are 90 of 100.
    assert "cost about <strong>1h 40m</strong> of pipeline time per week" in page
    assert "Three tests cause 90% of it</strong>, and 1 of those is new." in page
    assert order_of(page, "small", "large", "middle", "tiny") == ["large", "middle", "tiny", "small"]
    assert "2 both ways, 1 alone" in page
    assert 'aria-label="Evidence 6.2%, between 2.0% and 18.0%"' in page
    assert "0 to 20%" in page
    assert "35 runs a week" in page


def test_a_broken_test_that_is_not_flaky_stands_below_those_that_cost(client: Client) -> None:
    suite = shop()
    make_state(suite, "broken", "healthy", is_broken=True, lost_ms_per_week=90 * MINUTE)
    make_state(suite, "flaky_one", lost_ms_per_week=MINUTE)

    page = text_of(client, "/p/shop/flaky/")

    assert order_of(page, "broken", "flaky_one") == ["flaky_one", "broken"]
    assert "All of it comes from <strong>one test</strong>" in page
    assert costliest(suite.project).count == 1


def test_stages_are_told_by_age_quarantine_and_recovery(client: Client) -> None:
    suite = shop()
    make_state(suite, "fresh", "suspect", days=2.9)
    make_state(suite, "known", "flaky", days=3.1)
    make_state(suite, "mended", "healthy", days=29)
    make_state(suite, "long_mended", "healthy", days=31)
    held = make_case(suite, "held")
    quarantine_case(case=held, reason="SHOP-1", days=14, owner="Ada")

    pages = {
        stage: text_of(client, f"/p/shop/flaky/?stage={stage}")
        for stage in ("", "new", "active", "quarantined", "recovered")
    }
    names = ("fresh", "known", "mended", "long_mended", "held")

    assert sorted(order_of(pages[""], *names)) == ["fresh", "held", "known", "mended"]
    assert order_of(pages["new"], *names) == ["fresh"]
    assert order_of(pages["active"], *names) == ["known"]
    assert order_of(pages["quarantined"], *names) == ["held"]
    assert order_of(pages["recovered"], *names) == ["mended"]
    assert "31 passes in a row" in pages["recovered"]
    assert 'Recovered <span class="n">1</span>' in pages["new"]


def test_filters_narrow_by_state_suite_and_words(client: Client) -> None:
    suite = shop()
    other = make_suite(suite.project, "messaging")
    make_state(suite, "test_refund", "likely_flaky")
    make_state(suite, "test_stock", "flaky", is_broken=True)
    make_state(other, "test_mail", "suspect")
    names = ("test_refund", "test_stock", "test_mail")

    found = {
        query: order_of(text_of(client, f"/p/shop/flaky/?{query}"), *names)
        for query in (
            "state=likely_flaky",
            "state=broken",
            "suite=messaging",
            "q=REFUND",
            "state=nonsense&after=x",
        )
    }

    assert found == {
        "state=likely_flaky": ["test_refund"],
        "state=broken": ["test_stock"],
        "suite=messaging": ["test_mail"],
        "q=REFUND": ["test_refund"],
        "state=nonsense&after=x": ["test_stock", "test_refund", "test_mail"],
    }
    assert "No test matches" in text_of(client, "/p/shop/flaky/?q=nothing")


def test_a_long_board_comes_in_pages_with_ranks_that_go_on(client: Client) -> None:
    suite = shop()
    for number in range(32):
        make_state(suite, f"test_{number}", lost_ms_per_week=(100 - number) * MINUTE)

    first, second = text_of(client, "/p/shop/flaky/"), text_of(client, "/p/shop/flaky/?after=30")

    assert "?after=30" in first
    assert order_of(second, "test_29", "test_30", "test_31") == ["test_30", "test_31"]
    assert '<td class="fit muted s-hide">31</td>' in second


def test_the_board_asks_as_much_of_many_tests_as_of_one(client: Client) -> None:
    suite = shop()
    counts = []
    for many in (1, 31):
        for number in range(many):
            make_state(suite, f"test_{many}_{number}")
        with CaptureQueriesContext(connection) as queries:
            client.get("/p/shop/flaky/?q=test")
        counts.append(len(queries))

    assert counts == [7, 7]


def test_before_anything_is_known_the_board_says_what_would_be_here(client: Client) -> None:
    suite = shop()

    assert "Nothing is known yet: no run has finished." in text_of(client, "/p/shop/flaky/")
    add_results(make_run(suite, status=RunStatus.PASSED), {"test_a": Outcome.PASSED})
    assert "No test is known to be flaky." in text_of(client, "/p/shop/flaky/")


def test_the_costliest_are_named_with_their_share(client: Client) -> None:
    suite = shop()
    for name, minutes in (("a", 30), ("b", 60), ("c", 10)):
        make_state(suite, name, lost_ms_per_week=minutes * MINUTE)
    make_state(make_suite(), "elsewhere", lost_ms_per_week=90 * MINUTE)

    found = costliest(suite.project, limit=2)

    assert [(row.case.name, row.lost_ms, row.share) for row in found.rows] == [
        ("b", 60 * MINUTE, 0.6),
        ("a", 30 * MINUTE, 0.3),
    ]
    assert (found.lost_ms, found.count) == (100 * MINUTE, 3)
    assert found.share == pytest.approx(0.9)
    assert costliest(make_project()).rows == []


def test_a_row_is_swapped_when_its_test_is_put_into_quarantine(client: Client) -> None:
    suite = shop()
    case = make_state(suite, "test_race")
    client.force_login(make_member(suite.project, Role.MEMBER))
    form = {"reason": "SHOP-1", "days": "7", "owner": "Ada", "rank": "3", "scale": "0.25"}

    answer = client.post(f"/p/shop/tests/{case.pk}/quarantine/", form, headers={"HX-Request": "true"})
    row = " ".join(answer.content.decode().split())

    assert answer.status_code == 200
    assert row.startswith(f'<tr id="case-{case.pk}"><td class="fit muted s-hide">3</td>')
    assert "In quarantine now." in row
    assert "Release" in row
    assert Quarantine.objects.get().owner == "Ada"

    answer = client.post(f"/p/shop/tests/{case.pk}/lift/", {"rank": "3"}, headers={"HX-Request": "true"})

    assert "It decides again." in answer.content.decode()
    assert not Quarantine.objects.in_force(timezone.now()).exists()


def test_a_refused_quarantine_says_so_in_the_row(client: Client) -> None:
    suite = shop()
    case = make_state(suite, "test_race")
    client.force_login(make_member(suite.project, Role.MEMBER))

    answer = client.post(
        f"/p/shop/tests/{case.pk}/quarantine/", {"rank": "1", "days": "7"}, headers={"HX-Request": "true"}
    )

    assert answer.status_code == 200
    assert "Say why" in answer.content.decode()
    assert not Quarantine.objects.exists()


def test_without_a_script_the_board_comes_again(client: Client) -> None:
    suite = shop()
    case = make_state(suite, "test_race")
    client.force_login(make_member(suite.project, Role.MEMBER))
    form = {"reason": "SHOP-1", "days": "7", "rank": "1"}

    answer = client.post(f"/p/shop/tests/{case.pk}/quarantine/", form)

    assert (answer.status_code, answer["Location"]) == (302, "/p/shop/flaky/")
    assert Quarantine.objects.exists()


def test_a_script_gets_the_board_alone(client: Client) -> None:
    make_state(shop(), "test_race")

    answer = client.get("/p/shop/flaky/", headers={"HX-Request": "true"})

    assert answer.content.decode().lstrip().startswith('<div id="board"')
    assert "HX-Request" in answer["Vary"]


def test_hostile_names_are_inert_on_the_board(client: Client) -> None:
    suite = make_suite(make_project("shop", visibility="public"), HOSTILE)
    make_state(suite, HOSTILE, lost_ms_per_week=MINUTE)
    make_state(suite, "x" * 10_000, lost_ms_per_week=MINUTE)
    client.force_login(make_member(suite.project, Role.MEMBER))

    page = client.get("/p/shop/flaky/").content.decode()

    assert "<script>alert" not in page
    assert not {"\x1b", "\u202e"} & set(
        re.sub(r' value="[^"]*"', "", page)
    )  # a form sends back what it was given
    assert len(page) < 40_000
