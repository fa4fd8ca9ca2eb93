"""Messages: told when something changed and only then, to Slack, by mail and to machines."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_network
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.core import mail
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from itdash.mail import mailer
from runs.actions.channels import add_channel, try_channel
from runs.actions.quarantine import quarantine_case
from runs.actions.runs import (
    Claim,
    Ending,
    claim_run,
    finish_run,
    open_uploaded_run,
    queue_run,
    settle_uploaded_run,
)
from runs.actions.sending import resend_delivery, send_delivery
from runs.models import Channel, Delivery, Project, Run
from runs.providers.generic import verify
from runs.vocabulary import DeliveryStatus, ErrorReason, Outcome, RunStatus, Trigger
from tests.factories import make_project, make_user
from tests.rows import add_results
from tests.standins import Reply, StandIn, room

pytestmark = pytest.mark.django_db

COMMIT = "9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"
PASSED, FAILED, ERRORED, CANCELLED = "passed", "failed", "errored", "cancelled"


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Settings) -> None:
    settings.ALLOWED_NETWORKS = (ip_network("127.0.0.0/8"),)
    settings.PUBLIC_URL = "https://itdash.example.org"
    settings.HAS_MAIL_SERVER = True
    settings.DEFAULT_FROM_EMAIL = "itdash <itdash@example.org>"


@pytest.fixture
def project() -> Project:
    return make_project("shop", name="Shop", repository_url="https://git.example.org/acme/shop.git")


@pytest.fixture
def slack() -> Iterator[StandIn]:
    with StandIn(room).running() as running:
        yield running


def send_all() -> None:
    for delivery in Delivery.objects.filter(direction="sent", status="queued").order_by("pk"):
        send_delivery(delivery.pk)


def run_of(
    project: Project,
    *,
    failing: Sequence[str] = (),
    passing: Sequence[str] = ("test_ok",),
    branch: str = "main",
) -> Run:
    """A queued run with results, as its worker has it before the end."""
    run = queue_run(project=project, suite="checkout", trigger=Trigger.API, commit=COMMIT, branch=branch)
    Run.objects.filter(pk=run.pk).update(
        commit_message="Split shipments per warehouse\n\nLong story.", commit_author="Ada Lovelace"
    )
    run.refresh_from_db()
    add_results(
        run,
        dict.fromkeys(passing, Outcome.PASSED) | dict.fromkeys(failing, Outcome.FAILED),
        message="expected 201, got 503",
    )
    return run


def end(run: Run, how: str) -> Run:
    claim = claim_run(run.pk, owner="w1")
    assert claim is not None
    why = ErrorReason.NEVER_HEALTHY if how == ERRORED else None
    message = "postgres never became healthy" if how == ERRORED else ""
    assert finish_run(claim, Ending(RunStatus(how), message, why))
    run.refresh_from_db()
    return run


def have(project: Project, *ends: str, branch: str = "main") -> list[str]:
    """Let runs end so, and say what is told of each: an event, or nothing."""
    told = []
    for how in ends:
        known = Delivery.objects.count()
        failing = ["test_a"] if how == FAILED else []
        end(run_of(project, failing=failing, branch=branch), how)
        new = list(Delivery.objects.order_by("pk").values_list("event", flat=True)[known:])
        send_all()
        told.append(", ".join(new))
    return told


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


def let_wait() -> None:
    Delivery.objects.filter(status="queued").update(due_at=timezone.now())


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


class MailBox:
    """Takes mails as a server of the net does; refuses recipients that are told to it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.refusals: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        content = envelope.content
        assert isinstance(content, bytes)
        found = message_from_bytes(content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        return "250 OK"


@pytest.fixture
def mail_box(settings: Settings) -> Iterator[MailBox]:
    box = MailBox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    settings.MAILERS = {"default": mailer(f"smtp://127.0.0.1:{port}?tls=off", timeout_seconds=5)}
    try:
        yield box
    finally:
        controller.stop()


def mail_channel(project: Project, address: str = "ada@example.org, team@example.org") -> Channel:
    return add_channel(project=project, kind="email", address=address)


def test_a_mail_reaches_every_recipient_in_one_thread(project: Project, mail_box: MailBox) -> None:
    mail_channel(project)
    have(project, PASSED, FAILED, PASSED)

    broke, mended = mail_box.mails
    assert mail_box.envelopes[0].rcpt_tos == ["ada@example.org", "team@example.org"]
    assert broke["Subject"] == "[Shop] checkout fails on main: 1 test failing"
    assert mended["Subject"] == "[Shop] checkout passes again on main"
    assert broke["From"] == "itdash <itdash@example.org>"
    assert broke["References"] == mended["References"]
    assert broke["Message-ID"] != mended["Message-ID"]
    assert broke["Auto-Submitted"] == "auto-generated"
    assert broke.get_content().replace("\r\n", "\n") == (
        "checkout fails on main: 1 test failing.\n"
        "\n"
        "1 test failed.\n"
        "Run #2, 9c1f0e2b, Split shipments per warehouse, by Ada Lovelace\n"
        "\n"
        "Failing now and not in the run before:\n"
        "  - test_a: expected 201, got 503\n"
        "\n"
        "https://itdash.example.org/p/shop/runs/2/\n"
        "\n"
        "-- \n"
        "Sent when something changes, by the channel that an administrator of Shop made.\n"
    )


def test_a_mail_sent_again_has_the_same_id(project: Project, mail_box: MailBox) -> None:
    mail_channel(project)
    have(project, PASSED, FAILED)
    resend_delivery(delivery_id=Delivery.objects.get().pk, by=make_user())
    send_all()

    first, second = mail_box.mails
    assert first["Message-ID"] == second["Message-ID"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [("450 busy", DeliveryStatus.QUEUED), ("550 no such user", DeliveryStatus.FAILED)],
    ids=["later", "never"],
)
def test_a_recipient_who_is_refused_is_tried_again_or_given_up(
    project: Project, mail_box: MailBox, answer: str, status: DeliveryStatus
) -> None:
    mail_channel(project, "ada@example.org")
    mail_box.refusals["ada@example.org"] = answer
    have(project, PASSED, FAILED)

    delivery = Delivery.objects.get()
    assert delivery.status == status
    assert "ada@example.org" in delivery.reason


def test_a_mail_server_that_is_away_is_tried_again(project: Project, settings: Settings) -> None:
    settings.MAILERS = {"default": mailer("smtp://127.0.0.1:1?tls=off", timeout_seconds=1)}
    mail_channel(project)
    have(project, PASSED, FAILED)

    delivery = Delivery.objects.get()
    assert delivery.status == DeliveryStatus.QUEUED
    assert "The mail server could not be spoken to" in delivery.reason


def test_a_subject_has_one_line_whatever_the_branch_is_called(project: Project) -> None:
    mail_channel(project)
    branch = "x" * 200
    have(project, PASSED, FAILED, branch=branch)

    [sent] = mail.outbox
    assert "\n" not in sent.subject
    assert len(sent.subject) <= 180


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
