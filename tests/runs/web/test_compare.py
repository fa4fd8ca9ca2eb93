"""Two runs compared on a page and over HTTP, and one failure wherever it was seen."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.models import Blame, CaseDuration, CaseState, Failure, Project, Result, Run, Shard, Suite
from runs.queries import comparison
from runs.queries.compare_page import compare_page
from runs.vocabulary import Outcome, RunStatus, Verdict
from tests.factories import NOW, make_member, make_project, make_run, make_suite
from tests.rows import add_results
from tests.runs.web.test_pages import HOSTILE

pytestmark = pytest.mark.django_db

P, F, K, S = Outcome.PASSED, Outcome.FAILED, Outcome.FLAKY, Outcome.SKIPPED


def shop(name: str = "checkout") -> Suite:
    return make_suite(make_project("shop", visibility="public"), name)


def varied(what: str) -> str:
    """What differs from one failure of a group to the next, as pages show it."""
    return f"\u2039{what}\u203a"


def finished(suite: Suite, outcomes: dict[str, Outcome], *, message: str = "", **values: Any) -> Run:
    is_bad = F in outcomes.values()
    values.setdefault("verdict", Verdict.FAIL if is_bad else Verdict.PASS)
    run = make_run(suite, status=RunStatus.FAILED if is_bad else RunStatus.PASSED, **values)
    add_results(run, outcomes, message=message or "expected 201, got 503")
    return run


def said(client: Client, query: str, page: str = "/p/shop/compare/") -> str:
    """A page's words, without markup and with single spaces."""
    answer = client.get(f"{page}{query}")
    assert answer.status_code == 200
    content = answer.content.decode()
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content[content.index("<main") :])).split())


def test_a_runs_differences_are_told_in_seven_categories(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_broke": P, "t_still": F, "t_fixed": F, "t_gone": P, "t_slow": P, "t_same": P})
    head = finished(
        suite,
        {"t_broke": F, "t_still": F, "t_fixed": P, "t_slow": P, "t_same": P, "t_new": P, "t_race": K},
        branch="feature",
    )
    Result.objects.filter(run=head, case__name="t_slow").update(duration_ms=9_000)

    words = said(client, "?base=1&head=2")

    # 1.2 s plus 37 ms for each place in the report, so 1.348 s for the fifth.
    assert "1 test broke; 1 was fixed, 1 fails in both and 1 got slower." in words
    assert "t_slow 1.3 s 9.0 s +7.7 s" in words
    assert "Broke 1 in 1 group Fixed 1 1 flaky Failing in both 1 carried over" in words
    assert "Added, removed 1, 1 1 test unchanged" in words
    assert "t_gone Passed not run" in words
    assert "t_race not run Flaky" in words
    assert "t_new not run Passed" in words
    assert "Both ran a81f3c20 ." in words


def test_branches_are_told_by_their_newest_run(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": F, "t_b": P})
    finished(suite, {"t_a": P, "t_b": P})
    finished(suite, {"t_a": P, "t_b": P}, branch="feature")
    finished(suite, {"t_a": F, "t_b": P}, branch="feature", pull_request="7")
    make_run(suite, status=RunStatus.ERRORED, branch="feature")

    page = compare_page(suite.project, base="main", head="feature", suite="checkout")

    assert page.base is not None
    assert page.head is not None
    assert (page.base.number, page.head.number) == (2, 4)
    words = said(client, "?base=main&head=feature")
    assert "1 test broke." in words
    assert "t_a new on this branch Passed Failed" in words
    assert "Link to exactly these two" in words


def test_without_being_asked_the_newest_is_compared_with_the_last_green_of_the_default_branch() -> None:
    suite = shop()
    green = finished(suite, {"t_a": P, "t_b": P, "t_c": P})
    finished(suite, {"t_a": F, "t_b": P, "t_c": P})
    head = finished(suite, {"t_a": F, "t_b": F, "t_c": P}, branch="feature")

    page = compare_page(suite.project)

    assert (page.base, page.head) == (green, head)
    assert page.base_words == "last green on main"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?base=1&head=99", "This suite has no run #99."),
        ("?base=nowhere&head=1", "This suite has no finished run on nowhere."),
        ("?base=1&head=1", "These are one and the same run."),
        ("?base=1&head=2", "Run #2 is of another suite: its tests are others."),
        ("?base=1&head=3", "Run #3 is not finished."),
        ("?suite=empty", "It takes two finished runs of a suite to compare."),
    ],
)
def test_what_cannot_be_compared_says_why(client: Client, query: str, words: str) -> None:
    suite = shop()
    finished(suite, {"t_a": P})
    finished(make_suite(suite.project, "other"), {"t_a": P})
    make_run(suite, status=RunStatus.RUNNING)
    make_suite(suite.project, "empty")

    found = said(client, f"{query}{'' if 'suite' in query else '&suite=checkout'}")

    assert words in found
    assert "Nothing to compare" in found


def test_a_project_without_runs_has_nothing_to_compare(client: Client) -> None:
    make_project("shop", visibility="public")

    assert "There is no suite yet" in said(client, "")


def test_what_broke_is_grouped_by_cause_with_the_services_blamed(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": P, "t_b": P, "t_c": P})
    head = finished(
        suite,
        {"t_a": F, "t_b": F},
        message="order 4711 not found at http://orders:80/1",
        branch="feature",
    )
    add_results(make_run(suite), {"t_z": F})
    result = Result.objects.get(run=head, case__name="t_a")
    Blame.objects.create(
        project=suite.project, run=head, case=result.case, run_at=head.run_at, services=["order-service"]
    )

    words = said(client, "?base=1&head=2")

    assert f"order {varied('n')} not found at {varied('url')} 2 tests t_a" in words
    assert "1 of 2 new failures are held against the service order-service." in words
    assert words.count("order-service") == 3  # the row, the cause, the summary


def test_settings_that_differ_are_listed_and_the_one_that_does_is_named_first(client: Client) -> None:
    suite = shop()
    finished(
        suite,
        {"t_a": P},
        environment_facts={"engine": "docker", "images": {"orders": "o:1", "db": "p:17"}},
        tags={"ci": "x"},
    )
    head = finished(
        suite,
        {"t_a": F},
        environment_facts={"engine": "docker", "images": {"orders": "o:2", "db": "p:17"}},
        tags={"ci": "x"},
    )

    words = said(client, "?base=1&head=2")
    assert "One setting differs: Image of orders ." in words
    assert "Image of orders o:1 o:2 changed" in words
    assert "3 the same" in words

    Shard.objects.create(run=head, number=1, variables={"DB": "17"})
    Shard.objects.create(run=head, number=2, variables={"DB": "16"})
    assert "Matrix DB not set 16, 17 changed" in said(client, "?base=1&head=2")


def test_commits_between_are_those_that_the_suite_ran_on(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": P}, commit="a" * 40)
    for letter in "bcc":
        finished(
            suite,
            {"t_a": P},
            commit=letter * 40,
            commit_message=f"Change {letter}\n\nLong",
            commit_author="Ada",
        )

    words = said(client, "?base=1&head=4")

    assert "Commits 2 that the suite ran on cccccccc Change c Ada bbbbbbbb Change b Ada" in words


def test_the_tests_that_a_run_of_selected_ones_left_out_are_not_removed(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": F, "t_b": P, "t_c": P})
    chosen = suite.cases.get(name="t_a").pk
    finished(suite, {"t_a": P}, selection=[chosen])

    words = said(client, "?base=1&head=2")

    assert "Nothing broke; 1 was fixed." in words
    assert "#2 ran selected tests only: 1 test compared." in words
    assert "Removed" not in words


def test_large_runs_are_compared_by_what_did_not_pass_and_that_is_said(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = shop()
    finished(suite, {"t_broke": P, "t_fixed": F, "t_gone": P, "t_same": P})
    finished(suite, {"t_broke": F, "t_fixed": P, "t_same": P, "t_new": P, "t_bad": F}, branch="feature")
    monkeypatch.setattr(comparison, "CASE_LIMIT", 8)

    words = said(client, "?base=1&head=2")

    assert "1 test broke; 1 new test fails and 1 was fixed." in words
    assert "These runs are large: only tests that did not pass in one of them were compared." in words
    assert "Added, removed – not compared" in words  # noqa: RUF001 - a dash in an empty figure


def test_what_changed_is_counted_alike_by_reading_both_runs_and_by_looking_tests_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = shop()
    base = finished(
        suite, {"t_a": P, "t_b": P, "t_race": P, "t_fixed": F, "t_still": F, "t_gone": F, "t_same": P}
    )
    head = finished(
        suite,
        {"t_a": F, "t_b": F, "t_race": F, "t_fixed": P, "t_still": F, "t_bad": F, "t_new": P, "t_same": P},
    )
    CaseState.objects.create(
        case=suite.cases.get(name="t_race"),
        flakiness="flaky",
        judged_at=NOW,
        changed_at=NOW,
        algorithm_version=1,
    )

    whole = comparison.changes(base, head)
    monkeypatch.setattr(comparison, "LOOK_UP", 0)
    looked_up = comparison.changes(base, head)

    assert whole == looked_up
    # t_a, t_b and the new t_bad; t_new passes and is none of those that are counted.
    assert whole.new_failures == 3
    assert {str(change): count for change, count in whole.counts.items() if count} == {
        "broke": 2,
        "still_failing": 1,
        "flaky": 1,
        "fixed": 1,
        "new_test": 1,
        "removed": 1,
    }


def test_a_longer_time_counts_only_beyond_what_is_usual_for_the_test(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_noisy": P, "t_slow": P})
    head = finished(suite, {"t_noisy": P, "t_slow": P})
    Result.objects.filter(run=head).update(duration_ms=4_000)
    for name, p95 in (("t_noisy", 5_000), ("t_slow", 3_000)):
        CaseDuration.objects.create(
            case=suite.cases.get(name=name), recent_ms=[1_000] * 10, recent_runs=[1] * 10, p50_ms=1_000,
            p95_ms=p95, last_run_at=NOW, judged_at=NOW,
        )  # fmt: skip

    words = said(client, "?base=1&head=2")

    assert "Nothing broke; 1 got slower." in words
    assert "t_slow" in words
    assert "t_noisy" not in words


def test_a_test_known_to_be_flaky_did_not_break(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_race": P})
    finished(suite, {"t_race": F})
    CaseState.objects.create(
        case=suite.cases.get(name="t_race"), flakiness="flaky", changed_at=NOW, judged_at=NOW
    )

    assert "Nothing broke, and nothing got slower." in said(client, "?base=1&head=2")


def test_the_summary_is_markdown_that_no_name_can_break(client: Client) -> None:
    suite = shop()
    finished(suite, {"t`|\n<b>": P}, tags={"[a](b)|@all": "1"})
    finished(suite, {"t`|\n<b>": F}, message="bad `code`", branch="feature")

    content = client.get("/p/shop/compare/?base=1&head=2").content.decode()

    summary = unescape(content.split('id="summary"')[1].split(">", 1)[1].split("</textarea>")[0])
    assert "### #1 against #2" in summary
    assert "- `t'¦`" in summary
    assert "**Broke, 1 test:** `bad 'code'`" in summary
    assert "| `Tag [a](b)¦@all` | `1` | – |" in summary  # noqa: RUF001 - a dash in a table's empty cell
    assert "One setting differs: Tag \\[a\\](b)\\|@\u200ball." in summary
    assert summary.strip().endswith("http://testserver/p/shop/compare/?base=1&head=2")


def test_strangers_names_stay_text_on_the_page_and_in_its_address(client: Client) -> None:
    suite = shop(name="<script>alert(1)</script>")
    long = HOSTILE + "x" * 10_000
    values = {
        "branch": HOSTILE[:25],
        "commit_message": long,
        "commit_author": HOSTILE,
        "environment_facts": {HOSTILE: long},
        "tags": {long: HOSTILE},
    }
    finished(suite, {long: P})
    head = finished(suite, {long: F, "t_ok": P}, message=long, **values)
    fingerprint = bytes(Failure.objects.get().fingerprint).hex()

    for address in ("/p/shop/compare/?base=1&head=2", f"/p/shop/failures/{fingerprint}/", "/p/shop/runs/2/"):
        content = client.get(address).content.decode()
        assert "<script>alert" not in content
        assert "\x1b" not in content
        assert "\u202e" not in content
        assert len(content) < 120_000, address
    assert head.number == 2
    for query in ("base=<script>alert(1)</script>", "base=%00&head=%00", "base=" + "9" * 300, "head=٣"):
        assert "<script>alert(1)" not in client.get(f"/p/shop/compare/?{query}").content.decode()


def test_members_may_run_the_failed_tests_again_from_the_comparison(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": P})
    finished(suite, {"t_a": F})
    assert "Run the failed tests" not in said(client, "?base=1&head=2")

    client.force_login(make_member(suite.project))

    assert "Run the failed tests of #2 again" in said(client, "?base=1&head=2")


def test_a_category_is_shown_whole_when_the_address_asks(client: Client) -> None:
    suite = shop()
    names = [f"t_{index:02d}" for index in range(30)]
    finished(suite, dict.fromkeys([*names, "t_x"], P))
    finished(suite, dict.fromkeys(names, F) | {"t_x": P})

    few = said(client, "?base=1&head=2")
    all_of_it = said(client, "?base=1&head=2&show=broke")

    assert "30 tests broke." in few
    assert "All 30" in few
    assert few.count("Passed Failed") == 25
    assert all_of_it.count("Passed Failed") == 30


def test_the_api_tells_what_differs_from_the_last_green_run(client: Client) -> None:
    suite = shop()
    green = finished(suite, {"t_a": P, "t_b": P, "t_c": P})
    finished(suite, {"t_a": F, "t_b": P, "t_c": P})
    head = finished(suite, {"t_a": F, "t_b": P, "t_new": F}, branch="feature")

    answer = client.get(f"/api/v1/runs/{head.pk}/compare")

    told = answer.json()
    assert answer.status_code == 200
    assert (told["base"]["id"], told["head"]["number"]) == (green.pk, 3)
    assert told["counts"] == {
        "broke": 1, "still_failing": 0, "flaky": 0, "fixed": 0, "new_test": 1, "removed": 1, "slower": 0,
    }  # fmt: skip
    assert (told["new_failures"], told["unchanged"], told["is_partial"]) == (2, 1, False)
    broke = told["differences"][0]
    assert (broke["name"], broke["change"], broke["base"], broke["head"]) == (
        "t_a",
        "broke",
        "passed",
        "failed",
    )
    assert broke["also_on_default_branch"] is True
    assert [one["also_on_default_branch"] for one in told["differences"][1:]] == [False, None]
    assert broke["base_seconds"] == 1.2


def test_the_api_compares_with_the_run_that_is_named_and_refuses_others(client: Client) -> None:
    suite = shop()
    first = finished(suite, {"t_a": P})
    second = finished(suite, {"t_a": F})
    other = finished(make_suite(suite.project, "other"), {"t_a": P})
    hidden = finished(make_suite(make_project("hidden")), {"t_a": P})
    address = f"/api/v1/runs/{first.pk}/compare"

    assert client.get(f"{address}?with={second.pk}").json()["counts"]["fixed"] == 1
    assert client.get(f"{address}?with={other.pk}").status_code == 422
    assert client.get(f"{address}?with={hidden.pk}").status_code == 404
    assert client.get(f"{address}?with=999999").status_code == 404
    lonely = client.get(f"/api/v1/runs/{other.pk}/compare")
    assert lonely.status_code == 409
    assert "no other run" in lonely.json()["detail"]


def test_a_failures_page_says_how_often_where_and_whose_fault(client: Client) -> None:
    suite = shop()
    now = timezone.now()
    for days in (3, 2, 1):
        run = finished(
            suite, {"t_a": F, "t_b": F, "t_c": P}, branch="feature", queued_at=now - timedelta(days=days)
        )
    finished(suite, {"t_a": F, "t_c": P, "t_d": P}, queued_at=now)
    finished(make_suite(suite.project, "late"), {"t_x": F}, queued_at=now - timedelta(days=120))
    case = suite.cases.get(name="t_b")
    Blame.objects.create(project=suite.project, run=run, case=case, run_at=run.run_at, services=["orders"])
    failure = Failure.objects.get()

    words = said(client, "", f"/p/shop/failures/{bytes(failure.fingerprint).hex()}/")

    assert f"expected {varied('n')}, got {varied('n')}" in words
    assert "Seen 7 times in 4 runs and 2 tests in 90 days" in words
    assert "1 of the runs was on main ." in words
    assert "orders 1 of 7" in words
    assert "feature 3 main 1" in words
    assert "t_a tests.test_shop 4" in words


def test_a_failure_that_nobody_saw_lately_says_so_and_one_that_is_not_there_is_not_found(
    client: Client,
) -> None:
    suite = shop()
    finished(suite, {"t_a": F}, queued_at=timezone.now() - timedelta(days=120))
    fingerprint = bytes(Failure.objects.get().fingerprint).hex()

    assert "Not seen in the last 90 days." in said(client, "", f"/p/shop/failures/{fingerprint}/")
    for wrong in ("00" * 16, "zz", "0"):
        assert client.get(f"/p/shop/failures/{wrong}/").status_code == 404
    make_project("other", visibility="public")
    assert client.get(f"/p/other/failures/{fingerprint}/").status_code == 404


def test_tests_that_broke_without_a_text_are_one_group(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": P})
    head = finished(suite, {"t_a": F})
    Result.objects.filter(run=head).update(failure=None)

    assert "Failed without a message 1 test t_a Passed Failed" in said(client, "?base=1&head=2")


def test_a_runs_page_measures_it_against_the_last_green_run_of_the_default_branch(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": P, "t_b": F, "t_c": P, "t_d": P}, verdict=Verdict.PASS)
    finished(suite, {"t_a": F, "t_b": F, "t_c": P, "t_d": P})
    finished(suite, {"t_a": F, "t_b": P, "t_c": P, "t_d": F}, branch="feature", duration_ms=66_300)

    words = said(client, "", "/p/shop/runs/3/")

    assert (
        "Against #1 last with verdict pass on main New failures 2 Fails there too 0 Fixed 1 Flaky 0" in words
    )
    assert "Duration +6.3 s Compare the two runs" in words
    assert 'href="/p/shop/compare/?base=1&amp;head=3"' in client.get("/p/shop/runs/3/").content.decode()
    assert "Against" not in said(client, "", "/p/shop/runs/1/")


def test_each_group_of_a_runs_failures_says_where_else_it_was_seen(client: Client) -> None:
    suite = shop()
    finished(suite, {"t_a": F, "t_b": P, "t_c": P}, message="also there", queued_at=NOW - timedelta(days=2))
    run = finished(suite, {"t_a": F, "t_b": P, "t_c": P}, message="also there", branch="feature")
    add_results(run, {"t_b2": F}, message="only here")

    words = said(client, "", f"/p/shop/runs/{run.number}/")

    assert "also there 1 test AssertionError Also on main , last 19 Nov" in words
    assert "Seen in 1 other run, first 19 Nov" in words
    assert "only here new on this branch 1 test AssertionError Seen in no other run" in words
    on_main = said(client, "", "/p/shop/runs/1/")
    assert "new on this branch" not in on_main
    assert "Also on" not in on_main


def test_a_runs_page_tells_what_its_gates_said(client: Client) -> None:
    suite = shop()
    base = finished(suite, {"t_a": P})
    values: dict[str, Any] = {"branch": "feature", "gates": {"new_failures": 0}, "verdict_base": base}
    finished(suite, {"t_a": F}, verdict_reasons=["Fails: 1 new failure against #1 on main."], **values)
    finished(suite, {"t_a": P}, verdict="fail", verdict_reasons=["Fails: too slow."], **values)
    finished(suite, {"t_a": F}, verdict="pass", verdict_reasons=["Holds: 0 new failures."], **values)

    assert "Fails: 1 new failure against #1 on main. Compare with #1" in said(client, "", "/p/shop/runs/2/")
    assert "The verdict is fail: a gate of the suite does not hold." in said(client, "", "/p/shop/runs/3/")
    assert "The verdict is pass: the suite\u2019s gates hold." in said(client, "", "/p/shop/runs/4/")


def test_a_run_of_selected_tests_says_so_and_only_members_may_make_one(client: Client) -> None:
    suite = shop()
    Project.objects.update(repository_url="/srv/shop.git")
    run = finished(suite, {"t_a": F, "t_b": P})
    assert "Run the failed tests again" not in said(client, "", "/p/shop/runs/1/")
    client.force_login(make_member(suite.project))
    assert "Run the failed tests again" in said(client, "", "/p/shop/runs/1/")

    answer = client.post("/p/shop/runs/1/rerun/", {"only": "failed"})

    assert answer["Location"] == "/p/shop/runs/2/"
    again = Run.objects.get(number=2)
    assert again.selection == [run.results.get(outcome=F).case_id]
    assert "Only 1 selected test was to run." in said(client, "", "/p/shop/runs/2/")
    finished(suite, {"t_b": P})
    client.post("/p/shop/runs/3/rerun/", {"only": "failed"})
    assert Run.objects.count() == 3
    assert "No test failed in run #3" in said(client, "", "/p/shop/runs/3/")


def test_a_tests_page_leads_to_its_failures_wherever_they_were_seen(client: Client) -> None:
    suite = shop()
    run = finished(suite, {"t_a": F, "t_b": P})
    fingerprint = bytes(Failure.objects.get().fingerprint).hex()
    case = run.results.get(outcome=F).case_id

    content = client.get(f"/p/shop/tests/{case}/").content.decode()

    assert f'href="/p/shop/failures/{fingerprint}/"' in content
