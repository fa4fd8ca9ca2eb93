"""What a run's life tells Git hosts, against servers that speak their APIs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from runs.actions.announcing import announce_run
from runs.actions.channels import add_channel, pause_channel, remove_channel, try_channel
from runs.actions.errors import NotPossibleError
from runs.actions.quarantine import quarantine_case
from runs.actions.runs import Ending, cancel_run, claim_run, finish_run, queue_run
from runs.actions.sending import LEASE, resend_delivery, send_delivery
from runs.actions.sweep import sweep
from runs.models import AuditEntry, Channel, Delivery, Project, Run
from runs.vocabulary import DeliveryStatus, ErrorReason, Outcome, RunStatus, Trigger
from tests.factories import make_project, make_user
from tests.rows import add_results
from tests.standins import HOSTS, REPOSITORY, TOKEN, GitHost, Heard, Reply

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


def channel_to(host: GitHost, project: Project | None = None, **values: Any) -> Channel:
    project = project or make_project(repository_url="https://git.example.org/acme/shop.git")
    wanted = {"address": host.url, "repository": REPOSITORY, "secret": TOKEN} | values
    return add_channel(project=project, kind=kind_of(host), **wanted)


def send_all() -> None:
    """What workers do: each delivery that is queued is rung for."""
    for delivery in Delivery.objects.filter(direction="sent", status="queued").order_by("pk"):
        send_delivery(delivery.pk)


def let_pass(seconds: float) -> None:
    """Move every due moment into the past instead of waiting for it."""
    for delivery in Delivery.objects.filter(status="queued").exclude(due_at=None):
        assert delivery.due_at is not None
        delivery.due_at -= timedelta(seconds=seconds)
        delivery.save(update_fields=["due_at"])


def queue(project: Project) -> Run:
    return queue_run(project=project, suite="checkout", trigger=Trigger.API, commit=COMMIT, branch="main")


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


@pytest.mark.django_db(transaction=True)
def test_a_state_that_changes_while_it_is_sent_is_sent_next_by_the_same_worker(github: GitHost) -> None:
    channel = channel_to(github)
    run = queue(channel.project)
    delivery = Delivery.objects.get()
    answer = github.answer

    def answer_while_it_ends(heard: Heard) -> Reply:
        """The run ends while the host has the request in its hands; whoever hears the bell is too many."""
        github.answer = answer
        end(run, Ending(RunStatus.PASSED))
        send_delivery(delivery.pk)
        connection.close()
        return answer(heard)

    github.answer = answer_while_it_ends
    send_delivery(delivery.pk)

    assert github.states() == ["pending", "success"]
    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.SENT


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


def test_tests_in_quarantine_do_not_fail_the_status(github: GitHost) -> None:
    channel = channel_to(github)
    run = queue(channel.project)
    results = add_results(run, {"test_a": Outcome.PASSED, "test_b": Outcome.FAILED})
    quarantine_case(case=results[1].case, reason="SHOP-1", days=7, now=run.run_at - timedelta(hours=1))
    end(run, Ending(RunStatus.FAILED))
    send_all()

    [[last]] = github.statuses.values()
    assert last["state"] == "success"
    assert last["description"] == ("Nothing failed but 1 test in quarantine. 1 failed, 1 passed of 2 tests.")


@pytest.mark.parametrize(("before", "state"), [(Outcome.FAILED, "success"), (Outcome.PASSED, "failure")])
def test_a_suites_gates_have_their_word_in_the_status(github: GitHost, before: Outcome, state: str) -> None:
    """On a branch, what fails on the default branch too does not count where only new failures do."""
    channel = channel_to(github)
    base = queue(channel.project)
    add_results(base, {"test_a": before})
    end(base, Ending(RunStatus(before)))
    run = queue(channel.project)
    Run.objects.filter(pk=run.pk).update(gates={"new_failures": 0}, branch="feature")
    add_results(run, {"test_a": Outcome.FAILED})
    end(run, Ending(RunStatus.FAILED))
    send_all()

    [told] = github.statuses.values()
    assert told[-1]["state"] == state
    assert "at most 0 allowed" in told[-1]["description"]


def test_an_answer_that_may_heal_is_tried_again_later_and_later(github: GitHost) -> None:
    channel = channel_to(github)
    queue(channel.project)
    github.replies = [Reply(503), Reply(500), Reply(429, headers={"Retry-After": "400"})]
    pauses = []
    for _ in range(3):
        send_all()
        delivery = Delivery.objects.get()
        assert delivery.due_at is not None
        pauses.append((delivery.due_at - timezone.now()).total_seconds())
        let_pass(3600)
    send_all()

    assert 8 < pauses[0] < 12
    assert 26 < pauses[1] < 34
    assert 390 < pauses[2] <= 400
    delivery.refresh_from_db()
    assert (delivery.status, delivery.try_count) == (DeliveryStatus.SENT, 4)


def test_nothing_is_sent_before_its_time(github: GitHost) -> None:
    queue(channel_to(github).project)
    github.replies = [Reply(503)]
    send_all()
    send_all()

    assert len(github.heard) == 1
    assert "Tried 1 time; tried again by itself." in Delivery.objects.get().reason


def test_after_the_last_try_it_is_given_up(github: GitHost) -> None:
    queue(channel_to(github).project)
    github.replies = [Reply(503, {"message": "down"})] * 8
    for _ in range(9):
        send_all()
        let_pass(4 * 3600)

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.try_count) == (DeliveryStatus.FAILED, 8)
    assert delivery.reason == 'It answered 503: {"message": "down"} Given up after 8 tries.'
    assert len(github.heard) == 8


@pytest.mark.parametrize(
    ("values", "code"),
    [({"secret": "wrong"}, 401), ({"repository": "acme/other"}, 404)],
    ids=["token", "name"],
)
def test_what_will_never_be_taken_fails_at_once(host: GitHost, values: dict[str, Any], code: int) -> None:
    queue(channel_to(host, **values).project)
    send_all()

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.try_count) == (DeliveryStatus.FAILED, 1)
    assert f"It answered {code}" in delivery.reason
    assert host.states() == []


def test_a_host_that_is_not_there_is_tried_again() -> None:
    stand_in = HOSTS["gitea"]()
    with stand_in.running():
        channel = channel_to(stand_in)
    queue(channel.project)
    send_all()

    delivery = Delivery.objects.get()
    assert delivery.status == DeliveryStatus.QUEUED
    assert "could not be spoken to" in delivery.reason


def test_a_private_address_is_refused_with_what_to_do(github: GitHost, settings: Settings) -> None:
    settings.ALLOWED_NETWORKS = ()
    queue(channel_to(github).project)
    send_all()

    delivery = Delivery.objects.get()
    assert delivery.status == DeliveryStatus.FAILED
    assert "ITDASH_ALLOWED_NETWORKS" in delivery.reason
    assert github.heard == []


def test_what_was_given_up_is_sent_again_as_it_is_now(github: GitHost) -> None:
    channel = channel_to(github)
    run = queue(channel.project)
    github.replies = [Reply(404)]
    send_all()
    Run.objects.filter(pk=run.pk).update(status="passed", verdict="pass", finished_at=run.queued_at)
    resend_delivery(delivery_id=Delivery.objects.get().pk, by=make_user("maya"))
    send_all()

    assert github.states() == ["success"]
    noted = AuditEntry.objects.get(action="delivery.sent_again")
    assert (noted.actor, noted.subject) == ("maya", "github commit status")


def test_what_a_removed_channel_sent_is_not_sent_again(github: GitHost) -> None:
    channel = channel_to(github)
    queue(channel.project)
    send_all()
    remove_channel(channel=channel, by=None)

    with pytest.raises(NotPossibleError):
        resend_delivery(delivery_id=Delivery.objects.get().pk, by=make_user())


def test_a_run_without_a_commit_tells_no_host(github: GitHost) -> None:
    project = channel_to(github).project
    queue_run(project=project, suite="checkout", trigger=Trigger.API, ref="main")

    assert not Delivery.objects.exists()


def test_a_paused_channel_and_other_branches_hear_nothing(github: GitHost) -> None:
    project = channel_to(github, branches=["release/*"]).project
    pause_channel(channel=channel_to(github, project), by=None)
    queue(project)

    assert not Delivery.objects.exists()


def test_what_waits_for_a_channel_that_was_paused_or_removed_is_let_go(github: GitHost) -> None:
    project = make_project(repository_url="https://git.example.org/acme/shop.git")
    paused, removed = channel_to(github, project), channel_to(github, project)
    queue(project)
    pause_channel(channel=paused, by=None)
    remove_channel(channel=removed, by=None)
    send_all()

    assert list(Delivery.objects.order_by("pk").values_list("status", "reason")) == [
        ("ignored", "The channel is paused."),
        ("failed", "Its channel was removed."),
    ]
    assert github.heard == []


def test_a_test_asks_for_the_repository_and_changes_nothing(host: GitHost) -> None:
    channel = channel_to(host)
    delivery = try_channel(channel=channel, by=make_user())
    send_all()

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.SENT
    assert "knows the repository and the token." in delivery.reason
    assert [heard.method for heard in host.heard] == ["GET"]


def test_a_test_that_fails_is_not_tried_again(github: GitHost) -> None:
    delivery = try_channel(channel=channel_to(github), by=make_user())
    github.replies = [Reply(503)]
    send_all()

    delivery.refresh_from_db()
    assert (delivery.status, delivery.due_at) == (DeliveryStatus.FAILED, None)


def test_a_token_that_may_not_write_is_named(github: GitHost) -> None:
    delivery = try_channel(channel=channel_to(github), by=make_user())
    github.replies = [Reply(200, {"full_name": REPOSITORY, "permissions": {"push": False}})]
    send_all()

    delivery.refresh_from_db()
    assert "may not push there" in delivery.reason


def test_the_sweeper_rings_for_what_is_due_and_not_before(github: GitHost) -> None:
    project = channel_to(github).project
    queue(project)
    assert sweep().rung_messages == ()
    let_pass(3)

    assert sweep().rung_messages == (Delivery.objects.get().pk,)


def test_a_delivery_whose_worker_died_is_sent_by_another(github: GitHost) -> None:
    queue(channel_to(github).project)
    delivery = Delivery.objects.get()
    # As a worker leaves it that died between claim and note.
    Delivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now() + LEASE, try_count=1)
    send_all()
    assert github.heard == []
    let_pass(LEASE.total_seconds() + 1)
    send_all()

    assert github.states() == ["pending"]
    delivery.refresh_from_db()
    assert delivery.try_count == 2


@pytest.mark.django_db(transaction=True)
def test_five_workers_at_once_send_once(github: GitHost) -> None:
    queue(channel_to(github).project)
    delivery = Delivery.objects.get()

    def work(_: int) -> None:
        try:
            send_delivery(delivery.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(5) as workers:
        list(workers.map(work, range(5)))

    assert github.states() == ["pending"]


def test_a_fault_of_ours_keeps_no_run_from_ending(github: GitHost, caplog: pytest.LogCaptureFixture) -> None:
    channel = channel_to(github)
    run = queue(channel.project)
    Channel.objects.filter(pk=channel.pk).update(branches=["["])

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runs.actions.announcing._announce", broken)
        end(run, Ending(RunStatus.PASSED))

    run.refresh_from_db()
    assert run.status == RunStatus.PASSED
    assert "could not be announced" in caplog.text
