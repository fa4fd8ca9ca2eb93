"""What workers listen to, and what they keep between two tasks."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.fixups.django import DjangoWorkerFixup  # type: ignore[attr-defined]

import itdash.celery
from runs.dispatch import Work
from runs.tasks import ingest_upload

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("place", "listening"),
    [
        ("docker-compose.yml", r"--queues=([a-z,]+)"),
        ("itdash/cli/up.py", r'\("(?:runs|ingest)", "([a-z,]+)"'),
    ],
)
def test_somebody_listens_wherever_is_rung(place: str, listening: str) -> None:
    heard = re.findall(listening, (ROOT / place).read_text("utf-8"))
    assert {work.queue for work in Work} <= set(",".join(heard).split(","))


def test_results_are_stored_before_verdicts_are_made() -> None:
    assert itdash.celery.app.conf.broker_transport_options["queue_order_strategy"] == "sorted"
    assert sorted([Work.JUDGE_RUN.queue, Work.INGEST_UPLOAD.queue]) == ["ingest", "judge"]


def test_connections_stay_open_between_short_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    pooled = SimpleNamespace(close_pool=lambda: ended.append("pool"))
    monkeypatch.setattr(itdash.celery, "close_old_connections", lambda: ended.append("given back"))
    monkeypatch.setattr(itdash.celery, "connections", SimpleNamespace(all=lambda **_: [pooled]))

    itdash.celery.give_back_connection(SimpleNamespace(name="runs.tasks.ingest_upload"))
    assert ended == ["given back"]
    itdash.celery.give_back_connection(SimpleNamespace(name="runs.tasks.execute_run"))
    assert ended == ["given back", "given back", "pool"]


def test_celery_itself_leaves_them_open(monkeypatch: pytest.MonkeyPatch) -> None:
    fixup = DjangoWorkerFixup(itdash.celery.app)
    monkeypatch.setattr(fixup, "_close_database", lambda: pytest.fail("closed"))
    for _ in range(3):
        fixup.on_task_prerun(SimpleNamespace(request=None))


def test_a_worker_that_grew_is_replaced_and_an_upload_has_an_end() -> None:
    assert itdash.celery.app.conf.worker_max_memory_per_child == 400 * 1024
    assert (ingest_upload.soft_time_limit, ingest_upload.time_limit) == (1_200, 1_260)
