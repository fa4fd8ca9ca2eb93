"""Messages through a real worker: what is announced arrives, also when a bell or the worker was lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from environments.probes import wait_until
from runs.actions.channels import add_channel
from runs.actions.runs import queue_run
from runs.models import Delivery, Project
from runs.vocabulary import Trigger
from tests.browser.conftest import database_url
from tests.chaos.worker import Worker, worker
from tests.factories import make_project
from tests.standins import REPOSITORY, TOKEN, GitHub, Heard, Reply, StandIn, room

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

COMMIT = "9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"


@pytest.fixture
def own_worker(transactional_db: None, tmp_path: Path) -> Iterator[Worker]:
    variables = {
        "DATABASE_URL": database_url(),
        "BROKER_URL": settings.BROKER_URL,
        "ITDASH_DATA_DIR": str(tmp_path / "data"),
        "ITDASH_ENGINE": "local",
        "ITDASH_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    with worker(tmp_path, variables) as one:
        yield one


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub().running() as host:
        assert isinstance(host, GitHub)
        yield host


def shop(host: GitHub, tmp_path: Path) -> Project:
    """A project whose runs end soon: there is nothing to check out."""
    project = make_project("shop", repository_url=str(tmp_path / "nowhere"))
    add_channel(project=project, kind="github", address=host.url, repository=REPOSITORY, secret=TOKEN)
    return project


def test_a_runs_life_is_told_by_a_worker_until_its_end(
    own_worker: Worker, github: GitHub, tmp_path: Path
) -> None:
    project = shop(github, tmp_path)
    github.replies = [Reply(502)]
    queue_run(project=project, suite="checkout", trigger=Trigger.API, commit=COMMIT, branch="main")

    wait_until(lambda: github.states()[-1:] == ["error"], deadline_seconds=60)
    wait_until(lambda: Delivery.objects.get().status == "sent", deadline_seconds=10)
    assert github.states() == sorted(github.states(), key=["pending", "error"].index)


def test_a_message_whose_bell_was_lost_is_found_by_the_sweeper(own_worker: Worker) -> None:
    with StandIn(room).running() as slack:
        project = make_project("shop")
        channel = add_channel(project=project, kind="slack", address=slack.url)
        Delivery.objects.create(
            project=project,
            channel=channel,
            direction="sent",
            provider="slack",
            key="unheard",
            event="test",
            status="queued",
            due_at=timezone.now(),
            payload={
                "event": "test",
                "project": {"slug": "shop", "name": "Shop", "url": "https://itdash.example.org/p/shop/"},
            },
        )

        wait_until(lambda: Delivery.objects.get().status == "sent", deadline_seconds=30)
        assert len(slack.heard) == 1


def test_a_worker_killed_while_it_sends_loses_nothing(
    own_worker: Worker, github: GitHub, tmp_path: Path
) -> None:
    project = shop(github, tmp_path)
    taken = github.answer

    def kill_first(heard: Heard) -> Reply:
        github.answer = taken
        own_worker.kill()
        return Reply(500)

    github.answer = kill_first
    queue_run(project=project, suite="checkout", trigger=Trigger.API, commit=COMMIT, branch="main")
    wait_until(lambda: not own_worker.is_alive, deadline_seconds=30)
    assert github.states() == []
    assert Delivery.objects.get().status == "queued"

    own_worker.start()
    # The dead worker's lease would last two minutes.
    Delivery.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    wait_until(lambda: github.states()[-1:] == ["error"], deadline_seconds=60)
