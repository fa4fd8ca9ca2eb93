"""The doorbell, on a real broker: heard after commit, never a burden to who rings."""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.db import transaction

from runs import dispatch
from runs.dispatch import Work, after_commit, answering, ring


@pytest.fixture
def broker() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.BROKER_URL)
    for work in Work:
        client.delete(work.queue)
    yield client
    client.close()


def heard(broker: redis.Redis, work: Work) -> list[list[object]]:
    """The arguments of every message in the queue."""
    messages = [json.loads(raw) for raw in broker.lrange(work.queue, 0, -1)]
    assert {message["headers"]["task"] for message in messages} <= {work}
    return [json.loads(base64.b64decode(message["body"]))[0] for message in messages]


@pytest.mark.django_db(transaction=True)
def test_work_is_asked_for_after_the_commit_and_not_before(broker: redis.Redis) -> None:
    with transaction.atomic():
        after_commit(Work.EXECUTE_RUN, 17)
        assert heard(broker, Work.EXECUTE_RUN) == []

    assert heard(broker, Work.EXECUTE_RUN) == [[17]]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_asked_for_when_nothing_was_written(broker: redis.Redis) -> None:
    with transaction.atomic():
        after_commit(Work.INGEST_UPLOAD, 3)
        transaction.set_rollback(True)

    assert heard(broker, Work.INGEST_UPLOAD) == []


def test_each_work_has_its_queue(broker: redis.Redis) -> None:
    assert ring(Work.INGEST_UPLOAD, 5)

    assert heard(broker, Work.INGEST_UPLOAD) == [[5]]
    assert heard(broker, Work.EXECUTE_RUN) == []


@pytest.fixture
def silent_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A broker that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        monkeypatch.setattr(dispatch, "_bell", dispatch.make_bell(url))
        yield


def test_a_broker_that_is_down_costs_moments_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatch, "_bell", dispatch.make_bell("redis://127.0.0.1:1/0"))
    began = time.monotonic()

    with caplog.at_level(logging.WARNING):
        assert not ring(Work.EXECUTE_RUN, 1)

    assert time.monotonic() - began < 3
    assert "the sweeper will ring again" in caplog.text


def test_a_broker_that_never_answers_is_not_waited_for(silent_broker: None) -> None:
    began = time.monotonic()

    assert not ring(Work.EXECUTE_RUN, 1)

    assert time.monotonic() - began < 10


@pytest.mark.django_db(transaction=True)
def test_whoever_answers_here_keeps_the_workers_asleep(broker: redis.Redis) -> None:
    answered: list[tuple[Work, int]] = []

    with answering(lambda work, row_id: answered.append((work, row_id))), transaction.atomic():
        after_commit(Work.JUDGE_RUN, 7)
        assert answered == []
    after_commit(Work.INGEST_UPLOAD, 8)

    assert answered == [(Work.JUDGE_RUN, 7)]
    assert heard(broker, Work.JUDGE_RUN) == []
    assert heard(broker, Work.INGEST_UPLOAD) == [[8]]
