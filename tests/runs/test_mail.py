"""Mails: what is sent of a change, to whom, and what comes of a server that refuses."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.core import mail
from pytest_django import Settings

from itdash.mail import mailer
from runs.actions.sending import resend_delivery
from runs.models import Delivery, Project
from runs.vocabulary import DeliveryStatus
from tests.factories import make_user
from tests.news import FAILED, PASSED, have, let_loopback_hear, mail_channel, make_shop, send_all
from tests.ports import free_ports

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Settings) -> None:
    let_loopback_hear(settings)


@pytest.fixture
def project() -> Project:
    return make_shop()


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
    [port] = free_ports(1)
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    settings.MAILERS = {"default": mailer(f"smtp://127.0.0.1:{port}?tls=off", timeout_seconds=5)}
    try:
        yield box
    finally:
        controller.stop()


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
