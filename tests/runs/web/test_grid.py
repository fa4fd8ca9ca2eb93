"""The grid: marks by test and run, runs that are not counted, filters, order, and what it may weigh."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Mapping
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.actions.partitions import ensure_partition
from runs.models import Result, Run, Suite, TestCase
from runs.queries.grid import Grid, GridFilter, Order, Rows, grid_page
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.django_db

LETTERS = {"p": Outcome.PASSED, "f": Outcome.FAILED, "k": Outcome.FLAKY, "s": Outcome.SKIPPED}
NOUNS, VERBS = ["cart", "order", "refund", "stock"], ["merges", "splits", "expires"]
CALM = {f"calm_{number}": "pppp" for number in range(9)}


def shop() -> Suite:
    return make_suite(make_project("shop", visibility="public"), "checkout")


def tell(suite: Suite, story: Mapping[str, str], *, branch: str = "main", day: int = 0) -> list[Run]:
    """A run per column; a letter is a result, a dot none."""
    runs = []
    for column in range(len(next(iter(story.values())))):
        run = make_run(
            suite,
            status=RunStatus.PASSED,
            queued_at=NOW + timedelta(days=day, minutes=column),
            branch=branch,
            commit=f"{column + 10:040x}",
        )
        shown = {name: LETTERS[marks[column]] for name, marks in story.items() if marks[column] != "."}
        for name in shown:
            TestCase.objects.get_or_create(
                suite=suite,
                name=name,
                defaults={
                    "identity": name.encode()[:16].ljust(16),
                    "file": f"tests/{name.partition('_')[0]}.py",
                    "first_seen_at": NOW,
                    "last_seen_at": run.run_at,
                },
            )
        add_results(run, shown)
        runs.append(run)
    return runs


def marks_of(grid: Grid) -> dict[str, str]:
    return {row.case.name: row.marks for group in grid.groups for row in group.rows}


def test_each_test_has_a_mark_for_each_run_oldest_left() -> None:
    suite = shop()
    tell(suite, CALM | {"cart_merge": "pfkp", "cart_split": "..sp"})

    grid = grid_page(suite.project, GridFilter())

    assert marks_of(grid)["cart_merge"] == "pfkp"
    assert marks_of(grid)["cart_split"] == "nnsp"
    assert [(group.name, len(group.rows)) for group in grid.groups] == [
        ("tests/calm.py", 9),
        ("tests/cart.py", 2),
    ]
    assert grid.labels == ["#1", "#2", "#3", "#4"]


def test_an_errored_run_and_an_outage_are_marks_in_the_header_and_no_red_column(client: Client) -> None:
    suite = shop()
    tell(suite, CALM | {"cart_merge": "pppp"})
    outage = make_run(suite, status=RunStatus.FAILED, queued_at=NOW + timedelta(hours=1))
    add_results(outage, dict.fromkeys([*CALM, "cart_merge"], Outcome.FAILED))
    make_run(suite, status=RunStatus.ERRORED, queued_at=NOW + timedelta(hours=2))

    grid = grid_page(suite.project, GridFilter())

    assert set(marks_of(grid).values()) == {"ppppnn"}
    assert grid.signs == ["", "", "", "", "outage: 10 of 10 failed", "no environment"]
    assert grid.counts == {"all": 10, "ever": 0, "now": 0}
    page = client.get("/p/shop/grid/").content.decode()
    assert "The 6 runs as a list, 2 not counted" in page
    assert "outage: 10 of 10 failed" in page


def test_failures_with_one_cause_are_not_drawn_and_the_passes_beside_them_are() -> None:
    suite = shop()
    tell(suite, {f"calm_{number}": "p" for number in range(20)})
    run = make_run(suite, status=RunStatus.FAILED, queued_at=NOW + timedelta(hours=1))
    results = {f"calm_{number}": Outcome.FAILED if number < 5 else Outcome.PASSED for number in range(20)}
    add_results(run, results, message="connection refused: postgres:5432")

    marks = marks_of(grid_page(suite.project, GridFilter()))

    assert (marks["calm_4"], marks["calm_5"]) == ("pn", "pp")


def test_rows_are_all_those_that_ever_failed_or_those_that_fail_now() -> None:
    suite = shop()
    tell(suite, CALM | {"cart_once": "pfpp", "cart_now": "pppf", "cart_flaky": "pkpp"})

    shown = {
        rows: [name for name in marks_of(grid_page(suite.project, GridFilter(rows=rows))) if "cart" in name]
        for rows in Rows
    }

    assert shown == {
        "all": ["cart_flaky", "cart_now", "cart_once"],
        "ever": ["cart_flaky", "cart_now", "cart_once"],
        "now": ["cart_now"],
    }
    assert grid_page(suite.project, GridFilter()).counts == {"all": 12, "ever": 3, "now": 1}


def test_rows_are_ordered_by_file_failures_or_likeness() -> None:
    suite = shop()
    story = {"a_1": "fpppfp", "b_1": "pfpfpp", "a_2": "fpppfp", "c_1": "pfpfpf", "d_1": "pppppp"}
    tell(suite, story)

    names = {order: list(marks_of(grid_page(suite.project, GridFilter(order=order)))) for order in Order}

    assert names[Order.FILE] == ["a_1", "a_2", "b_1", "c_1", "d_1"]
    assert names[Order.FAILURES] == ["c_1", "a_1", "b_1", "a_2", "d_1"]
    # c_1 shares two of three runs with b_1, a_1 and a_2 both of theirs.
    assert names[Order.SIMILARITY] == ["c_1", "b_1", "a_1", "a_2", "d_1"]


def test_suite_and_branch_are_chosen_by_the_url_and_else_by_what_ran_last(client: Client) -> None:
    suite = shop()
    tell(suite, {"a_main": "pp"})
    tell(suite, {"a_feat": "pf"}, branch="feat/split", day=1)
    other = make_suite(suite.project, "messaging")
    tell(other, {"b_mail": "p"}, day=2)

    def named(query: str) -> list[str]:
        page = client.get(f"/p/shop/grid/{query}").content.decode()
        return re.findall(r"<bdi>([ab]_\w+)</bdi>", page)

    assert named("") == ["b_mail"]
    assert named("?suite=checkout") == ["a_feat", "a_main"]
    assert grid_page(suite.project, GridFilter(suite="checkout", branch="feat/split")).branch == "feat/split"
    assert named("?suite=checkout&branch=nothing&rows=nonsense&runs=x") == ["a_feat", "a_main"]
    assert named("?suite=checkout&q=FEAT") == ["a_feat"]


def test_more_tests_than_a_page_holds_follow_on_the_next() -> None:
    suite = shop()
    tell(suite, {f"a_{number:03}": "f" if number == 230 else "p" for number in range(240)})

    first = grid_page(suite.project, GridFilter(order=Order.FAILURES))
    second = grid_page(suite.project, GridFilter(order=Order.FAILURES, after=200))

    assert (first.row_count, second.row_count) == (200, 40)
    assert next(iter(marks_of(first))) == "a_230"
    assert not marks_of(first).keys() & marks_of(second).keys()
    assert (first.following, second.following) == ("?order=failures&after=200", "")


def test_an_empty_project_and_one_without_failures_are_told_in_words(client: Client) -> None:
    suite = shop()

    assert "No finished runs of this suite yet" in client.get("/p/shop/grid/").content.decode()
    tell(suite, {"a_1": "pp"})
    assert "Nothing failed in these 2 runs" in client.get("/p/shop/grid/?rows=ever").content.decode()
    assert "Nothing fails now" in client.get("/p/shop/grid/?rows=now").content.decode()


class Count(HTMLParser):
    """Counts a page's elements."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements += 1

    handle_startendtag = handle_starttag


def test_200_tests_by_60_runs_weigh_at_most_15_kilobytes_and_3000_elements(client: Client) -> None:
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    chance = random.Random(7)
    cases = [
        make_case(
            suite,
            f"test_{chance.choice(NOUNS)}_{chance.choice(VERBS)}_{n}",
            file=f"tests/checkout/test_{n // 8}.py",
            last_seen_at=NOW + timedelta(days=1),
        )
        for n in range(200)
    ]
    ensure_partition(NOW)
    for column in range(60):
        run = make_run(
            suite,
            status=RunStatus.FAILED,
            queued_at=NOW + timedelta(minutes=column),
            commit=f"{chance.getrandbits(160):040x}",
            commit_message="Split shipments per warehouse",
        )
        outcomes = chance.choices(list(LETTERS.values()), weights=[96, 2, 1, 1], k=200)
        Result.objects.bulk_create(
            Result(run_at=run.run_at, run=run, case=case, outcome=outcome, duration_ms=10)
            for case, outcome in zip(cases, outcomes, strict=True)
        )
        Run.objects.filter(pk=run.pk).update(test_count=200, failed_count=outcomes.count(Outcome.FAILED))

    with CaptureQueriesContext(connection) as queries:
        page = client.get("/p/shop/grid/").content
    count = Count()
    count.feed(page.decode())

    assert page.count(b'class="cells"') == 200
    assert len(gzip.compress(page, 6)) <= 15 * 1024
    assert count.elements <= 3_000
    assert sum("array_agg" in query["sql"] for query in queries) == 1


def test_hostile_names_are_inert_in_the_grid(client: Client) -> None:
    suite = make_suite(make_project("shop", visibility="public"), "x" * 120)
    hostile = "<script>alert(1)</script>\x1b[31m\u202e"
    run = make_run(suite, status=RunStatus.FAILED, branch=hostile, commit_message=hostile)
    add_results(run, {hostile: Outcome.FAILED, "y" * 10_000: Outcome.PASSED})
    TestCase.objects.update(file=hostile)

    page = client.get("/p/shop/grid/").content.decode()

    assert "<script>alert" not in page
    assert not {"\x1b", "\u202e"} & set(re.sub(r' value="[^"]*"', "", page))
    assert len(page) < 40_000
