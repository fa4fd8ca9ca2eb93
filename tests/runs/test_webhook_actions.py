"""What a delivery starts: filters, forks, superseded runs, and being handled once more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings

from runs import tasks
from runs.actions.errors import InvalidValueError, NotPossibleError
from runs.actions.runs import claim_run, queue_run
from runs.actions.sweep import sweep
from runs.actions.webhooks import (
    approve_delivery,
    create_hook,
    handle_delivery,
    receive_delivery,
    redeliver,
    refuse_delivery,
    remove_hook,
)
from runs.dispatch import Work
from runs.models import Delivery, Hook, Run, Suite
from runs.vocabulary import DeliveryStatus, Role, RunStatus, Trigger
from tests.factories import make_member, make_project, make_suite
from tests.hooks import COMMIT, sample

pytestmark = pytest.mark.django_db


def hook_of(provider: str = "github", **on: Any) -> Hook:
    """A hook of a project with the suite checkout, started as told."""
    project = make_project(repository_url="https://git.example.org/shop.git")
    make_suite(project, "checkout", definition={"compose": "c.yml", "on": on})
    return create_hook(project=project, provider=provider)


def handled(hook: Hook, payload: dict[str, Any], event: str = "push") -> Delivery:
    delivery = receive_delivery(hook=hook, key=str(uuid4()), event=event, payload=payload)
    handle_delivery(delivery.pk)
    delivery.refresh_from_db()
    return delivery


def push(**changes: Any) -> dict[str, Any]:
    return sample("github_push") | changes


def runs_of(delivery: Delivery) -> list[Run]:
    return list(delivery.runs.order_by("pk"))


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        (None, ""),
        ({}, ""),
        ({"branches": "main"}, ""),
        ({"branches": ["release/*", "ma*"]}, ""),
        ({"paths": ["services/order/**"]}, ""),
        ({"branches": ["main"], "paths": ["docs/**", "**/*.py"]}, ""),
        ({"branches": ["release/*"]}, "only branches release/*"),
        ({"paths": ["docs/**", "*.md"]}, "only changes in docs/**, *.md"),
        ({"branches": ["main"], "paths": ["services/*"]}, "only changes in services/*"),
    ],
)
def test_a_push_starts_the_suites_whose_filters_mean_it(filters: Any, why: str) -> None:
    delivery = handled(hook_of(push=filters), push())

    assert bool(runs_of(delivery)) is not bool(why)
    if why:
        assert delivery.status == DeliveryStatus.IGNORED
        assert delivery.reason == f"No suite runs on pushes to main with these changes.\ncheckout: {why}."
    else:
        assert (delivery.status, delivery.reason) == ("accepted", "checkout: queued as run #1.")


def test_paths_that_are_not_known_start_the_suite() -> None:
    delivery = handled(hook_of(push={"paths": ["docs/**"]}), push(forced=True))

    assert len(runs_of(delivery)) == 1


def test_each_suite_is_judged_by_itself_and_the_delivery_says_how() -> None:
    hook = hook_of(push={})
    make_suite(hook.project, "nightly", definition={"on": {"schedule": []}})
    make_suite(hook.project, "search")
    make_suite(hook.project, "smoke", definition={"on": {"push": {"branches": ["release/*"]}}})

    delivery = handled(hook, push())

    assert [run.suite.name for run in runs_of(delivery)] == ["checkout"]
    assert delivery.reason.splitlines() == [
        "checkout: queued as run #1.",
        "nightly: its suite file has no on.push.",
        "search: its suite file has not been read yet; run the suite once.",
        "smoke: only branches release/*.",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("github_push_deleted", "The branch feat/old was deleted."),
        ("github_push_tag", "Tag v1.8.0: suites start by pushes to branches."),
    ],
)
def test_deleted_branches_and_tags_start_nothing(name: str, why: str) -> None:
    delivery = handled(hook_of(push={}), sample(name))

    assert (delivery.status, delivery.reason, runs_of(delivery)) == ("ignored", why, [])


def test_a_ping_says_that_the_connection_works() -> None:
    delivery = handled(hook_of(push={}), sample("github_ping"), "ping")

    assert (delivery.status, delivery.reason) == ("accepted", "The connection works.")


def test_an_event_that_starts_no_suite_is_named() -> None:
    delivery = handled(hook_of(push={}), {}, "star")

    assert (delivery.status, delivery.reason) == ("ignored", "“star” is no event that starts a suite.")


def test_a_project_without_a_repository_is_told_so() -> None:
    hook = hook_of(push={})
    type(hook.project).objects.update(repository_url="")

    delivery = handled(hook, push())

    assert delivery.status == DeliveryStatus.FAILED
    assert "has no repository to run from" in delivery.reason


def test_a_pull_request_runs_on_its_head_by_its_target_branch() -> None:
    hook = hook_of(pull_request={"branches": ["main"]})

    delivery = handled(hook, sample("github_pull_request"), "pull_request")

    [run] = runs_of(delivery)
    assert (run.trigger, run.branch, run.commit) == ("pull_request", "feat/refund", COMMIT)
    assert (run.ref, run.pull_request) == ("refs/pull/7/head", "7")


def test_a_pull_request_told_again_with_the_same_commit_runs_once() -> None:
    hook = hook_of("bitbucket", pull_request=None)
    first = handled(hook, sample("bitbucket_pull_request"), "pullrequest:created")
    renamed = sample("bitbucket_pull_request")
    renamed["pullrequest"]["title"] = "Another title"

    second = handled(hook, renamed, "pullrequest:updated")

    assert runs_of(first) == runs_of(second)
    assert second.reason == "checkout: queued before, as run #1."


def test_a_closed_pull_request_starts_nothing() -> None:
    payload = sample("github_pull_request") | {"action": "closed"}

    delivery = handled(hook_of(pull_request={}), payload, "pull_request")

    assert (delivery.status, delivery.reason) == ("ignored", "Pull request 7 was closed.")


def test_a_forks_pull_request_waits_until_a_member_approves_it() -> None:
    hook = hook_of(pull_request={})
    member = make_member(hook.project, Role.MEMBER, username="ada")

    delivery = handled(hook, sample("github_pull_request_fork"), "pull_request")

    assert (delivery.status, runs_of(delivery)) == (DeliveryStatus.WAITING, [])
    assert delivery.reason == (
        "Pull request 7 comes from a fork: a member has to approve it. "
        "It would run checkout on 9c1f0e2b6d by mallory."
    )
    approved = approve_delivery(delivery_id=delivery.pk, by=member)
    [run] = runs_of(approved)
    # Not feat/refund: a fork's branches are not ours.
    assert (run.branch, run.requested_by, run.ref) == ("mallory:feat/refund", member, "refs/pull/7/head")
    assert (approved.status, approved.approved_by) == (DeliveryStatus.ACCEPTED, member)
    assert approved.reason == f"Approved by {member}.\ncheckout: queued as run #1."
    with pytest.raises(NotPossibleError):
        approve_delivery(delivery_id=delivery.pk, by=member)
    assert Run.objects.count() == 1


def test_a_fork_waits_with_its_newest_commit_alone_and_not_once_it_is_closed() -> None:
    hook = hook_of(pull_request={})
    member = make_member(hook.project, Role.MEMBER)
    payload = sample("github_pull_request_fork")
    first = handled(hook, payload, "pull_request")
    elsewhere = handled(
        hook, payload | {"pull_request": payload["pull_request"] | {"number": 8}}, "pull_request"
    )
    head = payload["pull_request"]["head"] | {"sha": "a" * 40}
    newer = payload | {"action": "synchronize", "pull_request": payload["pull_request"] | {"head": head}}

    second = handled(hook, newer, "pull_request")

    first.refresh_from_db()
    assert (first.status, second.status) == (DeliveryStatus.IGNORED, DeliveryStatus.WAITING)
    assert first.reason == "Pull request 7 got newer commits before this was approved."
    handled(hook, payload | {"action": "closed"}, "pull_request")
    second.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (second.status, elsewhere.status) == (DeliveryStatus.IGNORED, DeliveryStatus.WAITING)
    with pytest.raises(NotPossibleError):
        approve_delivery(delivery_id=second.pk, by=member)
    assert not Run.objects.exists()


def test_a_fork_that_no_suite_waits_for_asks_nobody() -> None:
    delivery = handled(hook_of(push={}), sample("github_pull_request_fork"), "pull_request")

    assert delivery.status == DeliveryStatus.IGNORED


def test_a_forks_commits_that_cannot_be_had_are_said_to_be_so() -> None:
    payload = sample("bitbucket_pull_request")
    payload["pullrequest"]["source"]["repository"] = {"full_name": "mallory/shop"}

    delivery = handled(hook_of("bitbucket", pull_request={}), payload, "pullrequest:created")

    assert delivery.status == DeliveryStatus.IGNORED
    assert "its commits are only there" in delivery.reason


def test_a_newer_push_cancels_what_the_older_one_started() -> None:
    hook = hook_of(push={"cancel_superseded": True})
    [queued] = runs_of(handled(hook, push()))
    by_hand = queue_run(project=hook.project, suite="checkout", trigger=Trigger.PERSON, branch="main")
    [elsewhere] = runs_of(handled(hook, push(ref="refs/heads/feat/cart")))

    newer = handled(hook, push(after="a" * 40))

    queued.refresh_from_db()
    assert (queued.status, queued.error_message) == (RunStatus.CANCELLED, "Superseded by run #4.")
    assert newer.reason.splitlines() == [
        "checkout: queued as run #4.",
        "checkout: cancelled run #1, which run #4 supersedes.",
    ]
    assert newer.status == DeliveryStatus.ACCEPTED
    for other in (by_hand, elsewhere, runs_of(newer)[0]):
        other.refresh_from_db()
        assert other.status == RunStatus.QUEUED


def test_an_active_superseded_run_is_asked_to_end() -> None:
    hook = hook_of(push={"cancel_superseded": True})
    [running] = runs_of(handled(hook, push()))
    assert claim_run(running.pk, owner="w") is not None

    handled(hook, push(after="a" * 40))

    running.refresh_from_db()
    assert running.cancel_requested_at is not None
    assert running.events.filter(kind="cancel_requested", message="Superseded by run #2.").exists()


def test_without_the_suites_word_nothing_is_superseded() -> None:
    hook = hook_of(push={"cancel_superseded": "yes"})
    [older] = runs_of(handled(hook, push()))
    handled(hook, push(after="a" * 40))

    older.refresh_from_db()
    assert older.status == RunStatus.QUEUED


def test_a_delivery_that_comes_late_ends_nothing_newer() -> None:
    hook = hook_of(push={"cancel_superseded": True})
    late = receive_delivery(hook=hook, key="late", event="push", payload=push())
    [newer] = runs_of(handled(hook, push(after="a" * 40)))

    handle_delivery(late.pk)

    newer.refresh_from_db()
    assert newer.status == RunStatus.QUEUED


def test_handling_once_more_queues_only_what_was_missed() -> None:
    hook = hook_of(push={})
    member = make_member(hook.project, username="ada")
    late = make_suite(hook.project, "late")
    delivery = handled(hook, push())
    Suite.objects.filter(pk=late.pk).update(definition={"on": {"push": None}})

    redeliver(delivery_id=delivery.pk, by=member)
    handle_delivery(delivery.pk)

    delivery.refresh_from_db()
    assert [run.suite.name for run in runs_of(delivery)] == ["checkout", "late"]
    assert delivery.reason.splitlines() == [
        f"Handled again for {member}.",
        "checkout: queued before, as run #1.",
        "late: queued as run #2.",
    ]


def test_what_was_refused_or_waits_is_not_handled_once_more() -> None:
    hook = hook_of(pull_request={})
    member = make_member(hook.project)
    refuse_delivery(hook=hook, event="push", reason="no")
    waiting = handled(hook, sample("github_pull_request_fork"), "pull_request")

    for delivery in (Delivery.objects.get(status=DeliveryStatus.REFUSED), waiting):
        with pytest.raises(NotPossibleError):
            redeliver(delivery_id=delivery.pk, by=member)
    assert not Run.objects.exists()


def test_a_delivery_that_has_gone_is_no_trouble() -> None:
    handle_delivery(987_654)


def test_the_bells_task_handles_the_delivery() -> None:
    hook = hook_of(push={})
    delivery = receive_delivery(hook=hook, key="d-1", event="push", payload=push())

    for _ in range(2):
        tasks.handle_delivery(delivery.pk)

    assert tasks.handle_delivery.name == Work.HANDLE_DELIVERY
    assert Run.objects.get().trigger == Trigger.PUSH


@pytest.mark.django_db(transaction=True)
def test_a_delivery_rings_and_the_sweeper_rings_again() -> None:
    hook = hook_of(push={})
    broker = redis.Redis.from_url(settings.BROKER_URL)
    broker.delete(Work.HANDLE_DELIVERY.queue)

    delivery = receive_delivery(hook=hook, key="d-1", event="push", payload=push())
    assert broker.llen(Work.HANDLE_DELIVERY.queue) == 1
    assert sweep().rung_deliveries == ()
    Delivery.objects.update(created_at=datetime.now(tz=UTC) - timedelta(seconds=16))
    assert sweep().rung_deliveries == (delivery.pk,)
    assert broker.llen(Work.HANDLE_DELIVERY.queue) == 2
    handle_delivery(delivery.pk)
    assert sweep().rung_deliveries == ()
    broker.close()


def test_hooks_have_secrets_and_addresses_of_their_own() -> None:
    project = make_project()
    one, two = (create_hook(project=project, provider=name) for name in ("github", "gitlab"))

    assert len({one.key, two.key, one.secret, two.secret}) == 4
    assert len(one.secret) >= 43
    assert two.secret.startswith("whsec_")
    assert [remove_hook(hook_id=one.pk) for _ in range(2)] == [True, False]
    with pytest.raises(InvalidValueError):
        create_hook(project=project, provider="svn")


def test_what_a_fault_of_ours_keeps_from_being_handled_is_marked_failed_and_can_be_redelivered() -> None:
    hook = hook_of(push={})
    delivery = receive_delivery(hook=hook, key="7", event="push", payload=push())
    Delivery.objects.filter(pk=delivery.pk).update(provider="unheard-of")

    handle_delivery(delivery.pk)

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.FAILED
    assert "the worker's log says why" in delivery.reason
    Delivery.objects.filter(pk=delivery.pk).update(provider="github")
    redeliver(delivery_id=delivery.pk, by=make_member(hook.project))
    handle_delivery(delivery.pk)
    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.ACCEPTED
