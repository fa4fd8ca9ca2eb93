"""What happens and what is printed, written in batches, on a real database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError

from environments.probes import wait_until
from runs.actions.events import NewEvent, NewLine, append_lines, record_events
from runs.execution import recorder as recorder_module
from runs.execution.recorder import Recorder
from runs.models import Event, LogChunk
from tests.factories import make_run

pytestmark = pytest.mark.django_db(transaction=True)

AT = datetime(2026, 11, 21, 8, 0, 0, 250_000, tzinfo=UTC)


def line(text: str, service: str = "web", *, seconds: float = 0, shard: int = 1) -> NewLine:
    return NewLine(AT + timedelta(seconds=seconds), shard, service, text)


def test_lines_are_kept_by_service_behind_the_engines_time() -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        recorder.line(line("listening on 8000"))
        recorder.line(line("ready", "db"))
        recorder.line(line("GET / 200", seconds=1.5))

    web = LogChunk.objects.get(run=run, service="web")
    assert web.text == (
        "2026-11-21T08:00:00.250000Z listening on 8000\n2026-11-21T08:00:01.750000Z GET / 200\n"
    )
    assert (web.line_count, web.first_at, web.last_at) == (2, AT, AT + timedelta(seconds=1.5))
    assert LogChunk.objects.get(run=run, service="db").line_count == 1


def test_lines_are_written_soon_and_not_one_by_one() -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        for number in range(500):
            recorder.line(line(f"line {number}"))
        wait_until(lambda: LogChunk.objects.filter(run=run).exists(), deadline_seconds=5)

    chunks = list(LogChunk.objects.filter(run=run).order_by("pk"))
    assert sum(chunk.line_count for chunk in chunks) == 500
    assert len(chunks) <= 3
    assert "".join(chunk.text for chunk in chunks).splitlines()[-1].endswith(" line 499")


def test_events_are_written_in_their_order_while_the_run_goes_on() -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        for number in range(20):
            recorder.event(NewEvent("notice", f"{number}", at=AT))
        assert recorder.flush()
        messages = Event.objects.filter(run=run).order_by("pk").values_list("message", flat=True)
        assert list(messages) == [f"{number}" for number in range(20)]


def test_what_postgres_cannot_hold_is_replaced_and_the_endless_is_cut() -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        recorder.line(line("a\0b\ud800c\nd"))
        recorder.line(line("x" * 20_000))
        recorder.event(NewEvent("notice", "nul\0", data={"deep": {"nul\0": ["\0", 1, None, AT]}}))

    first, second = LogChunk.objects.get(run=run).text.splitlines()
    assert first.endswith(" a�b?c↵d")
    # 20,000 less 16,384 is 3,616 too many.
    assert second.endswith("x… [3616 characters more]")
    assert len(second) == 16_384 + 28
    assert Event.objects.get(run=run).message == "nul�"


def test_a_service_that_prints_without_end_is_cut_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SERVICE_LIMIT_BYTES", 1000)
    run = make_run()

    with Recorder(run.pk) as recorder:
        for number in range(100):
            recorder.line(line(f"{number:010}"))
        recorder.line(line("heard", "db"))

    # A line costs its 10 characters and 30 for the time: 25 fit into 1000.
    assert LogChunk.objects.get(run=run, service="web").line_count == 25
    assert LogChunk.objects.get(run=run, service="db").line_count == 1
    assert Event.objects.get(run=run).message == (
        "75 more lines of web were printed and not kept: it prints too much."
    )


def test_every_line_of_a_burst_is_kept_in_chunks_that_can_be_read() -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        for number in range(200_000):
            recorder.line(line(f"line {number:06} of a burst without a pause"))

    chunks = list(LogChunk.objects.filter(run=run).order_by("pk"))
    texts = [text[28:] for chunk in chunks for text in chunk.text.splitlines()]
    assert texts == [f"line {number:06} of a burst without a pause" for number in range(200_000)]
    assert max(len(chunk.text) for chunk in chunks) <= recorder_module.CHUNK_BYTES
    assert not Event.objects.filter(run=run).exists()


def test_lines_that_found_no_place_while_the_database_was_away_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder_module, "BACKLOG_LIMIT_BYTES", 100)
    run = make_run()
    away = threading.Event()
    away.set()

    def append_or_fail(run_id: int, lines: list[NewLine]) -> list[LogChunk]:
        if away.is_set():
            message = "the database system is shutting down"
            raise OperationalError(message)
        return append_lines(run_id, lines)

    monkeypatch.setattr(recorder_module, "append_lines", append_or_fail)
    with Recorder(run.pk) as recorder:
        for number in range(3):
            recorder.line(line(f"{number:010}"))
        away.clear()

    # Each takes 40 bytes: two find a place in 100.
    assert LogChunk.objects.get(run=run).line_count == 2
    assert Event.objects.get(run=run).message == (
        "1 more line of web was printed and not kept: the database was away for too long."
    )


def test_an_outage_of_the_database_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    away = threading.Event()
    failures: list[str] = []
    away.set()

    def record_or_fail(run_id: int, events: list[NewEvent]) -> list[Event]:
        if away.is_set():
            failures.append("away")
            raise OperationalError("the database system is shutting down")
        return record_events(run_id, events)

    monkeypatch.setattr(recorder_module, "record_events", record_or_fail)
    with Recorder(run.pk) as recorder:
        recorder.line(line("one"))
        recorder.event(NewEvent("notice", "first"))
        wait_until(lambda: failures, deadline_seconds=5)
        recorder.event(NewEvent("notice", "second"))
        away.clear()

    assert list(Event.objects.order_by("pk").values_list("message", flat=True)) == ["first", "second"]
    assert LogChunk.objects.get(run=run).line_count == 1


def test_what_the_database_refuses_does_not_hold_up_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        recorder.event(NewEvent("x" * 41, "too long a kind"))
        recorder.event(NewEvent("notice", "fits"))

    assert list(Event.objects.values_list("message", flat=True)) == ["fits"]
    assert "too long a kind" in caplog.text


def test_a_run_that_was_removed_meanwhile_ends_its_recorder(caplog: pytest.LogCaptureFixture) -> None:
    run = make_run()

    with Recorder(run.pk) as recorder:
        run.delete()
        recorder.line(line("to nobody"))

    assert not LogChunk.objects.exists()


def test_many_threads_may_speak_at_once() -> None:
    run = make_run()

    def speak(recorder: Recorder, service: str) -> None:
        for number in range(300):
            recorder.line(line(f"{number}", service))

    with Recorder(run.pk) as recorder:
        threads = [threading.Thread(target=speak, args=(recorder, f"s{index}")) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sum(LogChunk.objects.values_list("line_count", flat=True)) == 1800
