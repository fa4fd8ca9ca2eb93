"""What a run's life tells Git hosts, against servers that speak their APIs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network

import pytest
from django.utils import timezone
from pytest_django import Settings

from runs.actions.announcing import announce_run
from runs.actions.channels import add_channel, pause_channel, remove_channel, try_channel
from runs.actions.errors import NotPossibleError
from runs.actions.runs import Ending, cancel_run, claim_run, finish_run, queue_run
from runs.actions.sending import resend_delivery, send_delivery
from runs.models import Channel, Delivery, Project, Run
from runs.vocabulary import DeliveryStatus, ErrorReason, RunStatus, Trigger
from tests.factories import make_project, make_run, make_suite, make_user
from tests.standins import HOSTS, REPOSITORY, TOKEN, GitHost, Reply

pytestmark = pytest.mark.django_db

COMMIT = "9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Settings) -> None:
    settings.ALLOWED_NETWORKS = LOOPBACK
    settings.PUBLIC_URL = "https://itdash.example.org"


@pytest.fixture(params=sorted(HOSTS))
def host(request: pytest.FixtureRequest) -> Iterator[GitHost]:
    stand_in = HOSTS[request.param]()
    with stand_in.running():
        yield stand_in


@pytest.fixture
def github() -> Iterator[GitHost]:
    stand_in = HOSTS["github"]()
    with stand_in.running():
        yield stand_in


def kind_of(host: GitHost) -> str:
    return next(name for name, made in HOSTS.items() if isinstance(host, made))


def channel_to(host: GitHost, project: Project | None = None, **values: object) -> Channel:
    project = project or make_project(repository_url="https://git.example.org/acme/shop.git")
    wanted = {"address": host.url, "repository": REPOSITORY, "secret": TOKEN} | values
    return add_channel(project=project, kind=kind_of(host), **wanted)  # type: ignore[arg-type]


def send_all() -> None:
    """What workers do: each delivery that is queued is rung for."""
    for delivery in Delivery.objects.filter(direction="sent", status="queued").order_by("pk"):
        send_delivery(delivery.pk)


def let_pass(seconds: float) -> None:
    """Move every due moment into the past instead of waiting for it."""
    for delivery in Delivery.objects.filter(status="queued").exclude(due_at=None):
        delivery.due_at -= timedelta(seconds=seconds)  # type: ignore[operator]
        delivery.save(update_fields=["due_at"])


def queue(project: Project, suite: str = "checkout", **values: str) -> Run:
    return queue_run(
        project=project, suite=suite, trigger=Trigger.API, commit=COMMIT, branch="main", **values
    )  # type: ignore[arg-type]


def end(run: Run, ending: Ending) -> None:
    claim = claim_run(run.pk, owner="w1")
    assert claim is not None
    assert finish_run(claim, ending)


WORDS = {
    "github": ["pending", "pending", "success"],
    "gitea": ["pending", "pending", "success"],
    "gitlab": ["pending", "running", "success"],
}


def test_a_host_hears_of_a_run_from_its_queue_to_its_end(host: GitHost) -> None:
    channel = channel_to(host)
    run = queue(channel.project)
    send_all()
    claim = claim_run(run.pk, owner="w1")
    assert claim is not None
    announce_run(run.pk)
    send_all()
    Run.objects.filter(pk=run.pk).update(test_count=3, passed_count=3)
    finish_run(claim, Ending(RunStatus.PASSED))
    send_all()

    assert host.states() == WORDS[kind_of(host)]
    [(sha, context)] = host.statuses
    assert (sha, context) == (COMMIT, "itdash/checkout")
    last = host.statuses[sha, context][-1]
    assert last["description"] == "3 passed of 3 tests."
    assert last["target_url"] == f"https://itdash.example.org/p/{channel.project.slug}/runs/1/"
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.try_count) == (DeliveryStatus.SENT, 1)
    assert delivery.reason == "Success: 3 passed of 3 tests."


ENDS = [
    (Ending(RunStatus.FAILED), ("failure", "failed", "failure")),
    (Ending(RunStatus.TIMED_OUT), ("failure", "failed", "failure")),
    (Ending(RunStatus.ERRORED, "postgres died", ErrorReason.SERVICE_EXITED), ("error", "failed", "error")),
    (Ending(RunStatus.CANCELLED), ("error", "canceled", "error")),
]


@pytest.mark.parametrize(("ending", "words"), ENDS, ids=[str(ending.status) for ending, _ in ENDS])
def test_each_end_has_a_word_of_the_hosts(host: GitHost, ending: Ending, words: tuple[str, str, str]) -> None:
    channel = channel_to(host)
    end(queue(channel.project), ending)
    send_all()

    assert host.states() == [words[["github", "gitlab", "gitea"].index(kind_of(host))]]


def test_a_state_that_waited_is_told_as_it_is_by_then(github: GitHost) -> None:
    channel = channel_to(github)
    run = queue(channel.project)
    github.replies = [Reply(502)]
    send_all()
    assert github.states() == []
    end(run, Ending(RunStatus.PASSED))
    send_all()
    let_pass(3600)
    send_all()

    assert github.states() == ["success"]
    assert Delivery.objects.count() == 1


def test_a_state_that_changes_while_it_is_sent_is_sent_next_by_the_same_worker(github: GitHost) -> None:
    channel = channel_to(github)
    run = queue(channel.project)
    answer = github._answer
    said: list[str] = []

    def answer_and_finish(heard):  # type: ignore[no-untyped-def]
        said.append(heard.json["state"])
        return answer(heard)

    github._answer = answer_and_finish
    delivery = Delivery.objects.get()
    # Between the claim and the note: as another worker would write it.
    Delivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now())
    claim = claim_run(run.pk, owner="w1")
    assert claim is not None
    finish_run(claim, Ending(RunStatus.PASSED))
    send_delivery(delivery.pk)

    assert said[-1] == "success"


def test_the_newest_run_of_a_commit_speaks_for_it(github: GitHost) -> None:
    channel = channel_to(github)
    older, newer = queue(channel.project), queue(channel.project)
    end(newer, Ending(RunStatus.PASSED))
    send_all()
    end(older, Ending(RunStatus.FAILED))
    send_all()

    assert github.states()[-1] == "success"
    assert Delivery.objects.get().runs.count() == 2


def test_a_cancelled_rerun_leaves_the_older_verdict(github: GitHost) -> None:
    channel = channel_to(github)
    end(queue(channel.project), Ending(RunStatus.FAILED))
    cancel_run(run_id=queue(channel.project).pk, by=None)
    send_all()

    assert github.states()[-1] == "failure"
