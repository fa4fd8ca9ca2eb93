"""A suite's gates decide about its runs when they end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from itdash.cli.upload import exit_code
from runs.actions.quarantine import quarantine_case
from runs.actions.runs import (
    Ending,
    claim_run,
    finish_run,
    open_uploaded_run,
    settle_uploaded_run,
)
from runs.models import CaseState, Run, Shard, Suite
from runs.queries.quarantine import gate_of
from runs.vocabulary import Outcome, RunStatus, Trigger, Verdict
from tests.factories import NOW, make_case, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.django_db

GREEN = [f"test_green_{index}" for index in range(10)]
PASSES = dict.fromkeys(GREEN, Outcome.PASSED)


def shop() -> Suite:
    return make_suite(make_project("shop", visibility="public"), "checkout")


def on_main(
    suite: Suite, outcomes: dict[str, Outcome] | None = None, *, minutes: int = 1, **values: Any
) -> Run:
    """A finished run of the default branch."""
    found = outcomes or {}
    is_bad = Outcome.FAILED in found.values()
    run = make_run(
        suite,
        status=RunStatus.FAILED if is_bad else RunStatus.PASSED,
        verdict=Verdict.FAIL if is_bad else Verdict.PASS,
        queued_at=values.pop("queued_at", NOW - timedelta(days=1)),
        duration_ms=minutes * 60_000,
        **values,
    )
    add_results(run, PASSES | found)
    return run


def ended(
    suite: Suite,
    outcomes: dict[str, Outcome] | None = None,
    *,
    gates: dict[str, float] | None = None,
    status: RunStatus | None = None,
    **values: Any,
) -> Run:
    """A run that ends now, on a branch unless said otherwise."""
    found = outcomes or {}
    values.setdefault("branch", "feature")
    run = make_run(suite, gates=gates or {"new_failures": 0}, **values)
    add_results(run, PASSES | found)
    claim = claim_run(run.pk, owner="worker")
    assert claim is not None
    is_bad = Outcome.FAILED in found.values()
    assert finish_run(claim, Ending(status or (RunStatus.FAILED if is_bad else RunStatus.PASSED)))
    run.refresh_from_db()
    return run


def test_a_run_that_fails_as_its_base_does_passes() -> None:
    suite = shop()
    base = on_main(suite, {"test_old": Outcome.FAILED})

    run = ended(suite, {"test_old": Outcome.FAILED})

    assert (run.status, run.verdict, run.verdict_base) == (RunStatus.FAILED, Verdict.PASS, base)
    assert run.verdict_reasons == [
        "Holds: 0 new failures against #1 on main, at most 0 allowed; 1 failure that it has too do not count."
    ]
    assert gate_of(run).gating_count == 0
    assert run.events.get(kind="gated").data == {"verdict": "pass", "base": base.pk}


def test_a_new_failure_fails_the_run_and_is_the_one_that_decides(client: Client) -> None:
    suite = shop()
    on_main(suite, {"test_old": Outcome.FAILED})

    run = ended(suite, {"test_old": Outcome.FAILED, "test_new": Outcome.FAILED})

    assert run.verdict == Verdict.FAIL
    answer = client.get(f"/api/v1/runs/{run.pk}/verdict").json()
    assert answer["why"] == (
        "2 tests failed. Fails: 1 new failure against #1 on main, at most 0 allowed; "
        "1 failure that it has too do not count."
    )
    assert [test["name"] for test in answer["gating"]["tests"]] == ["test_new"]
    assert answer["gating"]["count"] == 1
    assert answer["base"] == {"id": run.verdict_base_id, "number": 1}
    assert answer["gates"] == run.verdict_reasons


def test_as_many_new_failures_as_allowed_pass() -> None:
    suite = shop()
    on_main(suite)

    assert ended(suite, {"test_a": Outcome.FAILED}, gates={"new_failures": 1}).verdict == Verdict.PASS
    both = {"test_a": Outcome.FAILED, "test_b": Outcome.FAILED}
    assert ended(suite, both, gates={"new_failures": 1}).verdict == Verdict.FAIL


def test_a_test_that_passed_only_on_retry_in_the_base_is_no_new_failure() -> None:
    suite = shop()
    on_main(suite, {"test_race": Outcome.FLAKY})

    assert ended(suite, {"test_race": Outcome.FAILED}).verdict == Verdict.PASS


def test_what_is_in_quarantine_counts_for_no_gate() -> None:
    suite = shop()
    on_main(suite)
    for name in ("test_a", "test_b"):
        quarantine_case(case=make_case(suite, name), reason="SHOP-1", days=14, now=NOW - timedelta(days=1))

    run = ended(
        suite,
        {"test_a": Outcome.FAILED, "test_b": Outcome.FLAKY},
        gates={"new_failures": 0, "new_flaky": 0},
    )

    assert run.verdict == Verdict.PASS
    assert run.verdict_reasons[0] == "Holds: 0 new failures against #1 on main, at most 0 allowed."


def test_the_first_run_is_judged_strictly_and_says_so() -> None:
    run = ended(shop(), {"test_a": Outcome.FAILED}, gates={"new_failures": 5, "new_flaky": 0})

    assert (run.verdict, run.verdict_base) == (Verdict.FAIL, None)
    why = "because there is no finished run on main to compare with"
    assert run.verdict_reasons == [
        f"Not applied: new_failures, {why}: every failure counts.",
        f"Not applied: new_flaky, {why}.",
    ]


def test_a_run_on_the_default_branch_is_compared_with_those_before_it() -> None:
    suite = shop()
    before = on_main(suite, {"test_old": Outcome.FAILED})
    on_main(suite, number=9)

    run = ended(suite, {"test_old": Outcome.FAILED}, branch="main", number=5)

    assert (run.verdict, run.verdict_base) == (Verdict.PASS, before)


def test_no_outage_no_pull_request_no_selection_and_no_other_suite_is_a_base() -> None:
    suite = shop()
    base = on_main(suite)
    outage = make_run(suite, status=RunStatus.FAILED)
    add_results(outage, dict.fromkeys([*GREEN, "test_a"], Outcome.FAILED))
    on_main(suite, {"test_a": Outcome.FAILED}, pull_request="7")
    on_main(suite, {"test_a": Outcome.FAILED}, selection=[1])
    on_main(suite, {"test_a": Outcome.FAILED}, branch="release")
    on_main(make_suite(suite.project, "other"), {"test_a": Outcome.FAILED})
    make_run(suite, status=RunStatus.ERRORED)

    run = ended(suite, {"test_a": Outcome.FAILED})

    assert (run.verdict, run.verdict_base) == (Verdict.FAIL, base)


def test_a_newly_flaky_test_fails_a_run_that_passed() -> None:
    suite = shop()
    on_main(suite)
    known = make_case(suite, "test_known")
    CaseState.objects.create(case=known, flakiness="flaky", changed_at=NOW, judged_at=NOW)
    flaky = {"test_new": Outcome.FLAKY, "test_known": Outcome.FLAKY}

    run = ended(suite, flaky, gates={"new_flaky": 0})

    assert (run.status, run.verdict) == (RunStatus.PASSED, Verdict.FAIL)
    assert run.verdict_reasons == [
        "Fails: 1 test newly flaky against #1 on main, at most 0 allowed; 1 more was known to be."
    ]
    assert ended(suite, flaky, gates={"new_flaky": 1}).verdict == Verdict.PASS


def test_without_a_gate_on_failures_every_failure_decides() -> None:
    suite = shop()
    on_main(suite, {"test_old": Outcome.FAILED})

    run = ended(suite, {"test_old": Outcome.FAILED}, gates={"new_flaky": 0})

    assert run.verdict == Verdict.FAIL


def test_a_run_that_takes_too_long_fails() -> None:
    suite = shop()
    for minutes in (1, 2, 3):
        on_main(suite, minutes=minutes)
    made, _ = open_uploaded_run(project=suite.project, suite="checkout", run_key="k", branch="feature")
    add_results(made, PASSES)
    Run.objects.filter(pk=made.pk).update(gates={"duration_increase": 0.25})

    settle_uploaded_run(made.pk, duration_ms=150_000)
    made.refresh_from_db()
    assert made.verdict == Verdict.PASS

    settle_uploaded_run(made.pk, duration_ms=151_000)
    made.refresh_from_db()
    assert made.verdict == Verdict.FAIL
    usual = "a median of 120.0 s in the last 3 passed runs"
    assert made.verdict_reasons == [
        f"Fails: 151.0 s against {usual}, 26 % longer; at most 25 % longer is allowed."
    ]


def test_a_run_of_selected_tests_is_not_held_to_the_usual_duration() -> None:
    suite = shop()
    on_main(suite)

    run = ended(suite, gates={"duration_increase": 0.0}, selection=[1])

    assert run.verdict == Verdict.PASS
    assert run.verdict_reasons == ["Not applied: duration_increase, because only selected tests ran."]


def test_a_broken_shard_and_a_time_out_fail_whatever_the_gates_allow() -> None:
    suite = shop()
    on_main(suite, {"test_old": Outcome.FAILED})
    late = ended(suite, {"test_old": Outcome.FAILED}, status=RunStatus.TIMED_OUT)
    assert (late.verdict, late.verdict_reasons) == (Verdict.FAIL, [])
    run = make_run(suite, branch="feature", gates={"new_failures": 0})
    add_results(run, PASSES | {"test_old": Outcome.FAILED})
    Shard.objects.create(run=run, number=1, status=RunStatus.FAILED, exit_code=1, failed_count=1)
    Shard.objects.create(run=run, number=2, status=RunStatus.FAILED, exit_code=137, failed_count=0)
    claim = claim_run(run.pk, owner="worker")
    assert claim is not None

    finish_run(claim, Ending(RunStatus.FAILED))

    run.refresh_from_db()
    assert run.verdict == Verdict.FAIL
    assert "shard 2 failed though none of its tests did" in gate_of(run).why


def test_a_container_that_ended_with_an_error_without_a_failure_fails_the_run() -> None:
    suite = shop()
    on_main(suite)

    assert ended(suite, status=RunStatus.FAILED).verdict == Verdict.FAIL


def test_an_upload_takes_the_gates_of_its_suites_definition() -> None:
    suite = shop()
    Suite.objects.filter(pk=suite.pk).update(
        definition={"gates": {"new_failures": 0, "duration_increase": "25%", "new_flaky": "many"}}
    )
    on_main(suite, {"test_old": Outcome.FAILED})

    made, _ = open_uploaded_run(project=suite.project, suite="checkout", run_key="k", branch="feature")
    add_results(made, PASSES | {"test_old": Outcome.FAILED})
    for _ in range(2):
        settle_uploaded_run(made.pk, duration_ms=60_000)

    made.refresh_from_db()
    assert made.gates == {"new_failures": 0, "duration_increase": 0.25}
    assert (made.trigger, made.verdict) == (Trigger.UPLOAD, Verdict.PASS)
    assert made.events.filter(kind="gated").count() == 1
    told = {"run": {"verdict": made.verdict, "status": made.status, "totals": {}}, "status": "stored"}
    assert exit_code(told, "verdict") == 0
