"""Messages: told when something changed and only then, to Slack, by mail and to machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from runs.actions.channels import add_channel, try_channel
from runs.actions.quarantine import quarantine_case
from runs.actions.runs import Claim, Ending, claim_run, finish_run, open_uploaded_run, settle_uploaded_run
from runs.actions.sending import resend_delivery
from runs.models import Channel, Delivery, Project, Run
from runs.providers.generic import verify
from runs.vocabulary import DeliveryStatus, RunStatus
from tests.factories import make_project, make_user
from tests.news import (
    CANCELLED,
    COMMIT,
    ERRORED,
    FAILED,
    PASSED,
    end,
    have,
    let_loopback_hear,
    let_wait,
    mail_channel,
    make_shop,
    run_of,
    send_all,
)
from tests.standins import Reply, StandIn, room

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Settings) -> None:
    let_loopback_hear(settings)


@pytest.fixture
def project() -> Project:
    return make_shop()


@pytest.fixture
def slack() -> Iterator[StandIn]:
    with StandIn(room).running() as running:
        yield running


def slack_channel(project: Project, slack: StandIn, **values: Any) -> Channel:
    return add_channel(project=project, kind="slack", address=f"{slack.url}/services/T/B/x", **values)


def test_a_message_is_sent_when_a_suite_starts_to_fail_and_when_it_passes_again(
    project: Project, slack: StandIn
) -> None:
    slack_channel(project, slack)

    told = have(project, PASSED, PASSED, FAILED, FAILED, PASSED, PASSED)

    assert told == ["", "", "run.failed", "", "run.passed", ""]
    assert len(slack.heard) == 2


def test_the_message_names_what_broke_where_and_by_whose_change(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    have(project, PASSED)
    run = end(run_of(project, failing=[f"test_{letter}" for letter in "abcdefg"]), FAILED)
    send_all()

    [heard] = slack.heard
    assert heard.path == "/services/T/B/x"
    lines = heard.json["text"].replace("\u200b", "").split("\n")
    cases = {case.name: case.pk for case in run.suite.cases.all()}
    page = "https://itdash.example.org/p/shop"
    assert lines == [
        f":x: *<{page}/runs/2/|checkout fails on main: 7 tests failing>*",
        "7 tests failed.",
        "Run #2, 9c1f0e2b, Split shipments per warehouse, by Ada Lovelace",
        *(f"• <{page}/tests/{cases[name]}/|{name}>: expected 201, got 503" for name in sorted(cases)[:5]),
        "and 2 more",
    ]


def test_other_tests_that_fail_meanwhile_are_news_and_the_same_are_not(
    project: Project, slack: StandIn
) -> None:
    slack_channel(project, slack)
    have(project, PASSED, FAILED)
    end(run_of(project, failing=["test_a", "test_b"]), FAILED)
    end(run_of(project, failing=["test_a", "test_b"]), FAILED)
    end(run_of(project, failing=["test_b"]), FAILED)
    send_all()

    events = Delivery.objects.order_by("pk").values_list("event", flat=True)
    assert list(events) == ["run.failed", "run.new_failures"]
    text = slack.heard[-1].json["text"].replace("\u200b", "")
    assert "checkout on main: 1 test more failing" in text
    assert "|test_b>" in text
    assert "test_a" not in text


def test_a_run_that_could_not_be_run_is_told_once_with_its_reason(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)

    assert have(project, PASSED, ERRORED, ERRORED, PASSED) == ["", "run.errored", "", "run.passed"]
    assert "postgres never became healthy" in slack.heard[0].json["text"]


def test_cancelled_runs_say_nothing_and_change_nothing(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)

    told = have(project, PASSED, CANCELLED, FAILED, CANCELLED, FAILED, PASSED)

    assert told == ["", "", "run.failed", "", "", "run.passed"]


def test_branches_are_told_apart_and_filtered(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack, branches=["main", "release/*"])
    have(project, PASSED)

    assert have(project, FAILED, branch="feature") == [""]
    assert have(project, PASSED, FAILED, branch="release/1.2") == ["", "run.failed"]
    assert have(project, PASSED, FAILED, branch="feature") == ["", ""]
    assert have(project, PASSED) == [""]


def test_a_failure_in_quarantine_is_no_news(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    run = run_of(project, failing=["test_a"])
    hour_ago = run.run_at - timedelta(hours=1)
    quarantine_case(case=run.suite.cases.get(name="test_a"), reason="SHOP-1", days=7, now=hour_ago)
    end(run, FAILED)

    assert have(project, PASSED, FAILED) == ["", ""]


def test_a_run_that_ends_after_a_newer_one_is_no_news(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    have(project, PASSED)
    older, newer = run_of(project, failing=["test_a"]), run_of(project)
    end(newer, PASSED)
    end(older, FAILED)

    assert not Delivery.objects.exists()


def test_two_channels_each_hear_once(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    slack_channel(project, slack)
    have(project, PASSED, FAILED)

    assert len(slack.heard) == 2
    assert Delivery.objects.count() == 2


def test_a_message_that_waited_until_there_was_newer_news_is_let_go(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    have(project, PASSED)
    slack.replies = [Reply(503)]
    have(project, FAILED)
    have(project, PASSED)
    Delivery.objects.filter(status="queued").update(due_at=timezone.now())
    send_all()

    broke, mended = Delivery.objects.order_by("pk")
    assert (broke.status, broke.reason) == ("ignored", "There is newer news of this suite and branch.")
    assert mended.status == DeliveryStatus.SENT
    resend_delivery(delivery_id=broke.pk, by=make_user())
    send_all()
    broke.refresh_from_db()
    assert broke.status == DeliveryStatus.SENT


@pytest.mark.django_db(transaction=True)
def test_two_runs_that_end_at_the_same_moment_tell_one_change(slack: StandIn) -> None:
    project = make_project("shop", repository_url="https://git.example.org/acme/shop.git")
    slack_channel(project, slack)
    have(project, PASSED)
    runs = [run_of(project, failing=["test_a"]) for _ in range(4)]
    claims = [claim_run(run.pk, owner="w1") for run in runs]

    def finish(claim: Claim | None) -> None:
        assert claim is not None
        try:
            finish_run(claim, Ending(RunStatus.FAILED))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(finish, claims))
    send_all()

    # Whichever ended first told of it; those after it only found it so, or came too late to matter.
    assert list(Delivery.objects.values_list("event", flat=True)) == ["run.failed"]
    assert len(slack.heard) == 1


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ends=st.lists(
        st.tuples(st.sampled_from(["main", "other"]), st.sampled_from([PASSED, FAILED, ERRORED, CANCELLED])),
        max_size=12,
    )
)
def test_whatever_happens_a_message_is_sent_exactly_when_something_changed(
    slack: StandIn, ends: list[tuple[str, str]]
) -> None:
    project = make_project(repository_url="https://git.example.org/acme/shop.git")
    slack_channel(project, slack)
    stands: dict[str, str] = {}

    for branch, how in ends:
        [told] = have(project, how, branch=branch)
        is_change = how != CANCELLED and branch in stands and stands[branch] != how
        assert told == (f"run.{how}" if is_change else "")
        if how != CANCELLED:
            stands[branch] = how


def upload(project: Project, key: str, *, failed: int, passed: int, branch: str = "main") -> Run:
    """One more job of another CI's build has uploaded."""
    run, _ = open_uploaded_run(
        project=project,
        suite="checkout",
        run_key=key,
        branch=branch,
        commit=COMMIT,
        started_at=timezone.now(),
    )
    Run.objects.filter(pk=run.pk).update(test_count=failed + passed, failed_count=failed, passed_count=passed)
    settle_uploaded_run(run.pk)
    return run


def test_what_the_first_of_several_uploads_says_is_not_told_before_the_others_came(
    project: Project, slack: StandIn
) -> None:
    slack_channel(project, slack)
    upload(project, "build-1", failed=1, passed=1)
    upload(project, "build-2", failed=0, passed=5)
    send_all()
    assert slack.heard == []
    upload(project, "build-2", failed=1, passed=9)
    let_wait()
    send_all()

    assert slack.heard == []
    assert Delivery.objects.get().status == DeliveryStatus.IGNORED


def test_an_upload_that_turns_a_run_after_its_message_is_told_again(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    upload(project, "build-1", failed=0, passed=5)
    upload(project, "build-2", failed=1, passed=5)
    let_wait()
    send_all()
    upload(project, "build-2", failed=0, passed=6)
    let_wait()
    send_all()
    upload(project, "build-2", failed=0, passed=7)

    assert list(Delivery.objects.order_by("pk").values_list("event", "status")) == [
        ("run.failed", "sent"),
        ("run.passed", "sent"),
    ]


def test_reports_of_long_ago_are_no_news(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    for number, failed in enumerate((0, 1, 0)):
        run, _ = open_uploaded_run(
            project=project,
            suite="checkout",
            run_key=f"old-{number}",
            branch="main",
            started_at=timezone.now() - timedelta(days=30 - number),
        )
        Run.objects.filter(pk=run.pk).update(test_count=2, failed_count=failed, passed_count=2 - failed)
        settle_uploaded_run(run.pk)

    assert not Delivery.objects.exists()


def test_a_webhook_is_signed_and_its_body_is_as_documented(project: Project) -> None:
    with StandIn(lambda heard: Reply(202)).running() as machine:
        add_channel(project=project, kind="webhook", address=f"{machine.url}/hook", secret="s3cret")
        have(project, PASSED, FAILED)

    [heard] = machine.heard
    verify(
        {
            "X-Itdash-Signature": heard.headers["x-itdash-signature"],
            "X-Itdash-Timestamp": heard.headers["x-itdash-timestamp"],
            "X-Itdash-Delivery": heard.headers["x-itdash-delivery"],
        },
        heard.body,
        secret="s3cret",
        now=timezone.now(),
    )
    assert heard.headers["x-itdash-event"] == "run.failed"
    run = Run.objects.get(number=2)
    case = run.suite.cases.get(name="test_a")
    assert heard.json == {
        "event": "run.failed",
        "project": {"slug": "shop", "name": "Shop", "url": "https://itdash.example.org/p/shop/"},
        "suite": "checkout",
        "branch": "main",
        "pull_request": "",
        "run": {
            "id": run.pk,
            "number": 2,
            "url": "https://itdash.example.org/p/shop/runs/2/",
            "status": "failed",
            "verdict": "fail",
            "error_message": "",
            "duration_seconds": heard.json["run"]["duration_seconds"],
        },
        "previous_number": 1,
        "why": "1 test failed.",
        "held": "",
        "commit": {"sha": COMMIT, "title": "Split shipments per warehouse", "author": "Ada Lovelace"},
        "totals": {"tests": 2, "passed": 1, "failed": 1, "errored": 0, "skipped": 0, "flaky": 0},
        "new_failure_count": 1,
        "new_failures": [
            {
                "name": "test_a",
                "message": "expected 201, got 503",
                "url": f"https://itdash.example.org/p/shop/tests/{case.pk}/",
            }
        ],
    }


def test_a_webhook_sent_again_keeps_its_id(project: Project) -> None:
    with StandIn(lambda heard: Reply(202)).running() as machine:
        machine.replies = [Reply(500)]
        add_channel(project=project, kind="webhook", address=f"{machine.url}/hook")
        have(project, PASSED, FAILED)
        let_wait()
        send_all()

    first, second = machine.heard
    assert first.headers["x-itdash-delivery"] == second.headers["x-itdash-delivery"]
    assert first.body == second.body


HOSTILE = "<!channel> @here *x* `y` [z](https://evil.example) <https://evil.example|c> \x1b[31m\u202eabc & | "


def test_strangers_words_call_nobody_and_link_nowhere(project: Project, slack: StandIn) -> None:
    slack_channel(project, slack)
    have(project, PASSED)
    run = run_of(project, failing=[HOSTILE])
    Run.objects.filter(pk=run.pk).update(commit_message=HOSTILE + "x" * 10_000, commit_author=HOSTILE)
    end(run, FAILED)
    send_all()

    text = slack.heard[0].json["text"]
    assert "<!channel>" not in text
    assert "@here" not in text
    assert "<https://evil" not in text
    assert "](" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 2_000
    assert {part.partition("/p/")[0] for part in text.split("<")[1:]} == {"https://itdash.example.org"}


@pytest.mark.parametrize("kind", ["slack", "webhook", "email"])
def test_a_test_message_says_that_it_is_one(project: Project, slack: StandIn, kind: str) -> None:
    channel = (
        mail_channel(project)
        if kind == "email"
        else add_channel(project=project, kind=kind, address=slack.url)
    )
    slack.answer = lambda heard: Reply(200)
    delivery = try_channel(channel=channel, by=make_user())
    send_all()

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.SENT
    said = mail.outbox[0].body if kind == "email" else json.dumps(slack.heard[0].json)
    assert ("test" if kind == "webhook" else "test message for Shop") in said
