"""The one door to Celery. A doorbell, not a queue: the rows are the queue, and a bell that is not heard is
rung again by the sweeper. So ringing never fails and never holds its caller up for long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from functools import partial

from celery import Celery
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 2.0


class Work(StrEnum):
    """What can be asked for, as the task's name. Each takes the id of one row."""

    EXECUTE_RUN = "runs.tasks.execute_run"
    INGEST_UPLOAD = "runs.tasks.ingest_upload"
    HANDLE_DELIVERY = "runs.tasks.handle_delivery"
    JUDGE_RUN = "runs.tasks.judge_run"
    SEND_DELIVERY = "runs.tasks.send_delivery"
    LOAD_SAMPLES = "runs.tasks.load_samples"

    @property
    def queue(self) -> str:
        """Where its workers listen: a long run never keeps an upload waiting."""
        return _QUEUES.get(self, "default")


_QUEUES = {
    Work.EXECUTE_RUN: "runs",
    Work.INGEST_UPLOAD: "ingest",
    # Results are to be seen first; what they mean follows as soon as no upload is waiting.
    Work.JUDGE_RUN: "judge",
    # Receivers may be slow, and nobody else's work should be.
    Work.SEND_DELIVERY: "send",
}


def after_commit(work: Work, row_id: int) -> None:
    """Ring for the row once the transaction that wrote it is committed; at once when there is none."""
    transaction.on_commit(partial(ring, work, row_id))


def ring(work: Work, row_id: int) -> bool:
    """Ring now; False when the broker cannot be reached within a few seconds."""
    answer = _answer.get()
    if answer is not None:
        answer(work, row_id)
        return True
    try:
        _bell.send_task(
            work,
            args=[row_id],
            queue=work.queue,
            ignore_result=True,
            # Once more at once: a connection of the pool may be from before the broker's restart.
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0},
        )
    except (OperationalError, OSError) as error:
        logger.warning("The broker did not take %s(%s); the sweeper will ring again: %s", work, row_id, error)
        return False
    return True


@contextmanager
def answering(answer: Callable[[Work, int], None]) -> Iterator[None]:
    """Have what rings in this context answered by the caller, here and at once, instead of by a worker."""
    token = _answer.set(answer)
    try:
        yield
    finally:
        _answer.reset(token)


def make_bell(url: str) -> Celery:
    """Return a Celery application that only sends, in a hurry.

    Our own and not the current one: whoever rings need not have imported the wiring.
    """
    bell = Celery("doorbell", broker=url, set_as_current=False)
    bell.conf.update(
        # Before `broker_url`, which the environment's CELERY_BROKER_URL overrules.
        broker_write_url=url,
        broker_connection_timeout=_PATIENCE_SECONDS,
        broker_transport_options={
            "socket_timeout": _PATIENCE_SECONDS,
            "socket_connect_timeout": _PATIENCE_SECONDS,
            "max_retries": 0,
        },
    )
    return bell


_answer: ContextVar[Callable[[Work, int], None] | None] = ContextVar("answer", default=None)
_bell = make_bell(settings.CELERY_BROKER_URL)
