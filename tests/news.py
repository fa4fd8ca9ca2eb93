"""Runs that end in every way, and the messages that are sent of it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from django.utils import timezone
from pytest_django import Settings

from runs.actions.channels import add_channel
from runs.actions.runs import Ending, claim_run, finish_run, queue_run
from runs.actions.sending import send_delivery
from runs.models import Channel, Delivery, Project, Run
from runs.vocabulary import ErrorReason, Outcome, RunStatus, Trigger
from tests.factories import make_project
from tests.rows import add_results

COMMIT = "9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"

PASSED, FAILED, ERRORED, CANCELLED = "passed", "failed", "errored", "cancelled"


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


def let_wait() -> None:
    Delivery.objects.filter(status="queued").update(due_at=timezone.now())


def mail_channel(project: Project, address: str = "ada@example.org, team@example.org") -> Channel:
    return add_channel(project=project, kind="email", address=address)


def let_loopback_hear(settings: Settings) -> None:
    settings.ALLOWED_NETWORKS = (ip_network("127.0.0.0/8"),)
    settings.PUBLIC_URL = "https://itdash.example.org"
    settings.HAS_MAIL_SERVER = True
    settings.DEFAULT_FROM_EMAIL = "itdash <itdash@example.org>"


def make_shop() -> Project:
    return make_project("shop", name="Shop", repository_url="https://git.example.org/acme/shop.git")
