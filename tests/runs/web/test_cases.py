"""A test's page says why it is judged so, when it fails and where; lists of tests are narrowed and sorted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.actions.judging import judge_run
from runs.actions.quarantine import quarantine_case
from runs.models import Attempt, CaseDuration, CaseState, Result, Run, Suite, TestCase
from runs.queries.case_evidence import why
from runs.queries.case_history import case_history
from runs.queries.case_list import CaseFilter, Sort, case_page
from runs.vocabulary import Outcome, RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite
from tests.rows import add_results, digest

pytestmark = pytest.mark.django_db

LETTERS = {"p": Outcome.PASSED, "f": Outcome.FAILED, "k": Outcome.FLAKY, "s": Outcome.SKIPPED}
#: Tests that always pass, so that one failure is no outage.
CALM = [f"calm_{number}" for number in range(10)]


def shop() -> Suite:
    return make_suite(make_project("shop", visibility="public"), "checkout")


def tell(
    suite: Suite,
    marks: str,
    *,
    name: str = "test_race",
    commits: Sequence[int] = (),
    branch: str = "main",
    start: int = 0,
    step: timedelta = timedelta(hours=6),
) -> TestCase:
    """A run per letter, each of a commit of its own unless `commits` says otherwise, the last judged."""
    for index, letter in enumerate(marks, start):
        run = make_run(
            suite,
            status=RunStatus.FAILED if letter == "f" else RunStatus.PASSED,
            queued_at=NOW + index * step,
            commit=f"{(commits or range(1000))[index - start]:040x}",
            branch=branch,
        )
        add_results(
            run, dict.fromkeys(CALM, Outcome.PASSED) | {name: LETTERS[letter]}, message=f"wrong {index}"
        )
        if letter == "k":
            retry(run, name)
    judge_run(run.pk)
    return TestCase.objects.get(suite=suite, name=name)


def retry(run: Run, name: str) -> None:
    """The two attempts of a result that passed at last."""
    result = Result.objects.get(run=run, case__name=name)
    for number, outcome in ((1, Outcome.FAILED), (2, Outcome.PASSED)):
        Attempt.objects.create(
            run_at=run.run_at,
            run=run,
            case_id=result.case_id,
            number=number,
            outcome=outcome,
            failure_id=None,
        )


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return " ".join(answer.content.decode().split())


def in_words(page: str) -> str:
    """A page's text without its tags."""
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    return re.sub(r" ([:;,.])", r"\1", words)


def test_evidence_of_both_kinds_is_named_with_its_runs(client: Client) -> None:
    suite = shop()
    # Runs 4 and 5 are of one commit, which failed and then passed; run 8 failed alone between two others.
    case = tell(suite, "pppfpppfpp", commits=[1, 2, 3, 4, 4, 5, 6, 7, 8, 9])

    found = why(suite.project, case)

    assert [(one.commit, [(run.number, run.words) for run in one.runs]) for one in found.direct] == [
        (f"{4:040x}", [(4, "failed"), (5, "passed")])
    ]
    assert [
        (one.before.number, [run.number for run in one.failing], one.after.number) for one in found.isolated
    ] == [(7, [8], 9)]
    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))
    assert "Flaky, because it both passed and failed on one commit in the last 14 days." in page
    assert "#4 failed, #5 passed" in page
    assert "#8 failed on 00000000; passed right before in #7 and right after in #9" in page
    assert "Looked at 9 commits, 10 executions" in page
    assert "2 distinct changes on which it failed" in page
    # (2 · 1 + 1) ÷ (2 · 9) = 16.7 %
    assert "Evidence 16.7%, between" in page


def test_a_page_with_evidence_asks_as_much_of_a_long_history_as_of_a_short_one(client: Client) -> None:
    suite = shop()
    counts = []
    for start in (0, 20):
        case = tell(suite, "pppfppkppf" * (1 + start // 10), start=start)
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/p/shop/tests/{case.pk}/")
        counts.append(len(queries))

    # Without anybody signed in: two less than with.
    assert counts == [11, 11]


def test_a_retry_is_evidence_in_one_run(client: Client) -> None:
    case = tell(shop(), "ppkp")

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "#3 failed, then passed on a retry" in page


def test_a_suspect_is_told_what_would_prove_it(client: Client) -> None:
    case = tell(shop(), "ppfpp")

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "Suspected to be flaky. Passing now. It failed 1 of its last 5 results." in page
    assert (
        "Suspect, because it failed alone, between passing commits, 1 time; 3 would prove it flaky." in page
    )
    assert "after 30 passes in a row (2 so far)" in page


def test_a_broken_test_is_no_flaky_one(client: Client) -> None:
    case = tell(shop(), "pppffff")

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "Broken: every try failed on the last 4 commits of main." in page
    assert "Both ways on one commit 0 commits" in page


def test_an_outage_is_set_aside_by_name(client: Client) -> None:
    suite = shop()
    tell(suite, "ppfpp")
    outage = make_run(suite, status=RunStatus.FAILED, queued_at=NOW + timedelta(days=3), commit="f" * 40)
    add_results(outage, dict.fromkeys([*CALM, "test_race"], Outcome.FAILED), message="no database")
    judge_run(outage.pk)
    case = tell(suite, "pp", start=20)

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert f"#{outage.number}: 11 of 11 tests failed: the environment, not the tests" in page
    assert "Set aside 1 run in which the environment failed" in page


def test_a_test_that_failed_in_an_outage_alone_is_healthy_and_the_outage_is_named(client: Client) -> None:
    suite = shop()
    tell(suite, "ppp")
    outage = make_run(suite, status=RunStatus.FAILED, queued_at=NOW + timedelta(days=2), commit="f" * 40)
    add_results(outage, dict.fromkeys([*CALM, "test_race"], Outcome.FAILED), message="no database")
    judge_run(outage.pk)
    case = tell(suite, "pp", start=20)

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert not CaseState.objects.filter(case=case).exists()
    assert (
        "Healthy: no evidence of flakiness in the runs looked at. It failed while the environment did."
        in page
    )
    assert f"Set aside #{outage.number}: 11 of 11 tests failed: the environment, not the tests" in page
    # An outage's failures are not compared either.
    assert "When it fails" not in page


def test_what_was_not_judged_yet_is_said_to_be_so(client: Client) -> None:
    case = tell(shop(), "ppfpp")
    CaseState.objects.all().delete()

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "Not judged yet." in page
    assert "Failed alone #3 failed" in page


def test_without_evidence_the_page_says_healthy_and_asks_no_more(client: Client) -> None:
    case = tell(shop(), "pppp")

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "Healthy: no evidence of flakiness in the runs looked at." in page
    assert "When it fails" not in page


def test_when_it_fails_is_said_only_with_failures_enough(client: Client) -> None:
    case = tell(shop(), "pfpfp" * 2)

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "It failed 4 times in 10 results: too seldom to say when. 5 failures are needed" in page


def test_a_condition_that_chance_hardly_explains_is_marked(client: Client) -> None:
    # At 8, 14, 20 and 2 o'clock in turn: all seven failures in the morning, none of the others.
    case = tell(shop(), "fppp" * 7 + "p")

    page = text_of(client, f"/p/shop/tests/{case.pk}/")

    assert "In the morning, 6 to 12 UTC</bdi>" in page
    assert '<td class="num soft">7 / 8</td>' in page
    assert page.count("only here") == 1


def test_the_rate_has_its_interval_and_each_branch_its_row() -> None:
    suite = shop()
    tell(suite, "ppppppppkf")
    case = tell(suite, "pf", branch="feat/x", start=20)

    page = case_history(suite.project, case)
    rate = page.failing_rate

    # Wilson's interval of 2 in 10.
    assert (rate.count, rate.judged) == (2, 10)
    assert (round(rate.low, 3), round(rate.high, 3)) == (0.057, 0.51)
    assert (page.hard_rate.count, page.hard_rate.judged) == (1, 10)
    assert [(row.name, row.marks, row.rate.count) for row in page.branch_rows] == [
        ("feat/x", "pf", 1),
        ("main", "ppppppppkf", 2),
    ]


def test_the_commit_of_the_newest_failure_and_a_command_reproduce_it(client: Client) -> None:
    suite = shop()
    case = tell(suite, "ppfp", commits=[1, 2, 0xABCDEF << 136, 4])
    TestCase.objects.filter(pk=case.pk).update(file="tests/test_a.py", parameters="[a b]")

    page = in_words(text_of(client, f"/p/shop/tests/{case.pk}/"))

    assert "git switch --detach abcdef00 pytest &#x27;tests/test_a.py::test_race[a b]&#x27;" in page


def names_of(suite: Suite, wanted: CaseFilter) -> list[str]:
    return [row.case.name for row in case_page(suite.project, wanted, now=timezone.now()).rows]


def fill_list(suite: Suite) -> None:
    """Four tests: one flaky, one broken, one slower, one plain; each seen at another hour."""
    seen = {"b_flaky": 4, "a_broken": 3, "d_slower": 2, "c_plain": 1}
    cases = {
        name: make_case(suite, name, last_seen_at=NOW + timedelta(hours=hour)) for name, hour in seen.items()
    }
    moments = {"changed_at": NOW, "judged_at": NOW}
    CaseState.objects.create(case=cases["b_flaky"], flakiness="flaky", lost_ms_per_week=900, **moments)
    CaseState.objects.create(case=cases["a_broken"], is_broken=True, **moments)
    pace = {"last_run_at": NOW, "p95_ms": 9_000, "judged_at": NOW}
    CaseDuration.objects.create(case=cases["c_plain"], p50_ms=5_000, **pace)
    CaseDuration.objects.create(
        case=cases["d_slower"], p50_ms=2_000, before_ms=1_000, after_ms=2_000, is_slower=True, **pace
    )


ORDERS: Mapping[Sort, list[str]] = {
    Sort.FIRST_SEEN: ["b_flaky", "a_broken", "d_slower", "c_plain"],
    Sort.RECENT: ["b_flaky", "a_broken", "d_slower", "c_plain"],
    Sort.NAME: ["a_broken", "b_flaky", "c_plain", "d_slower"],
    Sort.FLAKY: ["b_flaky", "a_broken"],
    Sort.SLOW: ["c_plain", "d_slower"],
    Sort.SLOWER: ["d_slower"],
}


@pytest.mark.parametrize("sort", list(Sort))
def test_tests_are_sorted_by_what_is_known_of_them(sort: Sort) -> None:
    suite = shop()
    fill_list(suite)

    assert names_of(suite, CaseFilter(sort=sort)) == ORDERS[sort]


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("unhealthy", ["b_flaky", "a_broken"]),
        ("flaky", ["b_flaky"]),
        ("broken", ["a_broken"]),
        ("suspect", []),
        ("healthy", ["d_slower", "c_plain"]),
        ("slower", ["d_slower"]),
        ("quarantined", ["c_plain"]),
    ],
)
def test_tests_are_narrowed_by_their_state(state: str, names: list[str]) -> None:
    suite = shop()
    fill_list(suite)
    quarantine_case(case=TestCase.objects.get(name="c_plain"), reason="SHOP-1", days=3)

    assert names_of(suite, CaseFilter(state=state)) == names


@pytest.mark.parametrize("sort", [Sort.RECENT, Sort.NAME])
def test_pages_of_tests_follow_each_other_without_gap_or_repetition(client: Client, sort: Sort) -> None:
    suite = shop()
    TestCase.objects.bulk_create(
        TestCase(
            suite=suite,
            identity=digest(str(number)),
            # Many share a name and a moment: the id tells them apart.
            name=f"test_{number % 7}",
            first_seen_at=NOW,
            last_seen_at=NOW + timedelta(hours=number % 5),
        )
        for number in range(120)
    )
    found, address = [], f"/p/shop/tests/?sort={sort}"
    for _ in range(3):
        page = client.get(address).context["page"]
        found += [row.case.pk for row in page.rows]
        address = f"/p/shop/tests/{page.older}"

    assert len(found) == len(set(found)) == 120
    assert page.older == ""


def test_a_page_after_a_test_that_is_gone_begins_again() -> None:
    suite = shop()
    fill_list(suite)

    assert names_of(suite, CaseFilter(after=999_999)) == ORDERS[Sort.RECENT]


def test_the_list_shows_state_cost_and_pace(client: Client) -> None:
    suite = shop()
    fill_list(suite)

    page = text_of(client, "/p/shop/tests/")

    assert page.count('<span class="tag flaky">') == 1
    assert "900 ms</td>" in page
    assert '2.0 s<span class="sub up-bad">+1.0 s</span>' in page
    answer = client.get("/p/shop/tests/?q=PLAIN", headers={"HX-Request": "true"}).content.decode()
    assert answer.lstrip().startswith('<div id="tests"')
    assert "c_plain" in answer
    assert "b_flaky" not in answer
