"""What a page that follows a run is sent: changed sections, new lines, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import cast

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client

from runs.models import LogChunk, Run
from runs.queries.live import is_settled
from runs.queries.log import SHOWN_LINES, log_since, log_view
from runs.queries.progress import progress
from runs.vocabulary import Outcome, Role, RunStatus
from runs.web.access import RunAccess
from runs.web.live import Follower, View, message
from tests.factories import NOW, make_event, make_project, make_run, make_suite
from tests.rows import add_environment, add_log, add_results


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


def running() -> Run:
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    return make_run(suite, status=RunStatus.RUNNING, started_at=NOW)


def follow(run: Run, clock: Clock | None = None) -> Follower:
    access = RunAccess(project=run.project, role=Role.VIEWER, run=run)
    clock = clock or Clock()
    return Follower(access=access, view=View(), cursor=0, clock=clock, now=clock.now)


def finish(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(
        status=RunStatus.PASSED, finished_at=NOW + timedelta(seconds=9), duration_ms=9000
    )


@pytest.mark.django_db
def test_the_first_look_brings_everything_and_the_next_only_what_changed() -> None:
    run = running()
    follower = follow(run)

    assert 'id="run-head"' in follower.changes().html
    assert follower.changes().html == ""

    make_event(run, message="postgres is ready")
    html = follower.changes().html

    assert 'id="events"' in html
    assert "postgres is ready" in html
    assert 'id="run-head"' not in html


@pytest.mark.django_db
def test_a_service_that_becomes_ready_changes_only_the_environment() -> None:
    run = running()
    environment = add_environment(run, {"postgres": (0.1, 0.2, None)})
    follower = follow(run)
    follower.changes()

    environment.services.update(ready_at=NOW + timedelta(seconds=1.5))
    html = follower.changes().html

    assert 'id="boot"' in html
    assert "1.5 s" in html
    assert 'id="results"' not in html


@pytest.mark.django_db
def test_new_lines_are_sent_once_and_late_ones_are_not_lost() -> None:
    run = running()
    first, late, third = (add_log(run, "order", f"line {number}") for number in (1, 2, 3))
    LogChunk.objects.filter(pk=late.pk).delete()  # its transaction has not ended yet
    follower = follow(run)
    html = follower.changes().html
    assert html.index("line 1") < html.index("line 3")

    late.save(force_insert=True)
    changes = follower.changes()

    assert "line 2" in changes.html
    assert "line 1" not in changes.html
    assert changes.cursor == third.pk > first.pk
    assert follower.changes().html == ""


@pytest.mark.django_db
def test_a_page_goes_on_from_its_cursor() -> None:
    run = running()
    first = add_log(run, "order", "line 1")
    add_log(run, "order", "line 2")
    follower = follow(run)
    follower.cursor = first.pk

    html = follower.changes().html

    assert "line 2" in html
    assert "line 1" not in html


@pytest.mark.django_db
def test_a_following_page_may_watch_one_service() -> None:
    run = running()
    add_log(run, "order", "from order")
    last = add_log(run, "postgres", "from postgres")

    log = log_since(run.pk, 0, "postgres")

    assert [line.text for line in log.lines] == ["from postgres"]
    assert log.cursor == last.pk


@pytest.mark.django_db
def test_clocks_and_bars_move_every_five_seconds_though_nothing_happened() -> None:
    clock = Clock()
    run = running()
    add_environment(run, {"postgres": (0.1, 0.2, None)})
    follower = follow(run, clock=clock)
    follower.changes()

    clock.seconds = 4.9
    assert follower.changes().html == ""
    clock.seconds = 5.0
    assert 'id="boot"' in follower.changes().html


@pytest.mark.django_db
def test_the_end_comes_after_the_last_line() -> None:
    run = running()
    follower = follow(run)
    follower.changes()
    add_log(run, "order", "the last line")
    finish(run)

    last = follower.changes()
    end = follower.changes()

    assert "the last line" in last.html
    assert 'id="run-head"' in last.html
    assert not last.is_finished
    assert end.is_finished


@pytest.mark.django_db
def test_a_run_that_was_deleted_ends_the_page() -> None:
    run = running()
    follower = follow(run)
    run.delete()

    assert follower.changes().is_finished


@pytest.mark.django_db
def test_asking_again_is_answered_with_not_modified_until_something_happens(client: Client) -> None:
    run = running()
    first = client.get("/p/shop/runs/1/live/?cursor=0")
    tag = {"If-None-Match": first["ETag"]}

    assert first.status_code == 200
    assert client.get("/p/shop/runs/1/live/?cursor=0", headers=tag).status_code in {200, 304}

    add_log(run, "order", "hello")
    second = client.get("/p/shop/runs/1/live/?cursor=0", headers=tag)
    assert b"hello" in second.content
    assert int(second["X-Cursor"]) > 0

    finish(run)
    assert client.get(f"/p/shop/runs/1/live/?cursor={second['X-Cursor']}").status_code == 286


@pytest.mark.django_db
def test_a_finished_run_that_stands_still_has_one_tag(client: Client) -> None:
    run = running()
    finish(run)

    tags = {client.get("/p/shop/runs/1/live/?cursor=0")["ETag"] for _ in range(2)}

    assert len(tags) == 1


@pytest.mark.django_db
def test_a_log_shows_its_end_sorted_by_the_engines_clock_and_says_what_is_left_out() -> None:
    run = running()
    add_log(run, "order", *(f"order {number}" for number in range(SHOWN_LINES)), at=NOW)
    add_log(run, "postgres", "between", at=NOW + timedelta(milliseconds=SHOWN_LINES - 2, microseconds=1))

    view = log_view(run)

    assert [line.text for line in view.log.lines[-3:]] == [
        f"order {SHOWN_LINES - 2}",
        "between",
        f"order {SHOWN_LINES - 1}",
    ]
    assert (view.line_count, view.left_out) == (SHOWN_LINES + 1, 1)
    assert view.sources == ["order", "postgres"]
    assert [line.text for line in log_view(run, "postgres").log.lines] == ["between"]


@pytest.mark.django_db
def test_error_and_warning_lines_are_told_apart() -> None:
    run = running()
    add_log(run, "order", "ERROR no stock", "WARNING slow", "terror of the deep", "all well")

    assert [line.css for line in log_view(run).log.lines] == ["err-line", "warn-line", "", ""]


def test_an_event_of_several_lines_is_framed_as_the_standard_says() -> None:
    assert message("sections", "<p>\n</p>", 7) == "id: 7\nevent: sections\ndata: <p>\ndata: </p>\n\n"


@pytest.mark.django_db(transaction=True)
def test_the_stream_sends_events_until_the_run_is_finished() -> None:
    run = running()
    add_results(run, {"test_a": Outcome.PASSED})
    add_log(run, "order", "hello")

    async def listen() -> tuple[StreamingHttpResponse, str]:
        answer = cast(
            "StreamingHttpResponse",
            await AsyncClient().get("/p/shop/runs/1/stream/", headers={"Last-Event-ID": "0"}),
        )
        heard = ""
        async with asyncio.timeout(20):
            async for part in cast("AsyncIterator[bytes]", answer.streaming_content):
                heard += part.decode()
                if "hello" in heard and "event: end" not in heard:
                    await Run.objects.filter(pk=run.pk).aupdate(
                        status=RunStatus.PASSED, finished_at=NOW, duration_ms=1
                    )
        await sync_to_async(connections.close_all)()  # the client leaves it to us
        return answer, heard

    answer, heard = asyncio.run(listen())

    assert answer["Content-Type"] == "text/event-stream"
    assert answer["X-Accel-Buffering"] == "no"
    assert "no-store" in answer["Cache-Control"]
    assert heard.startswith("retry: 2000\n\n")
    assert "event: sections" in heard
    assert heard.rstrip().endswith("event: end\ndata: finished")


@pytest.mark.django_db(transaction=True)
def test_the_whole_log_and_the_files_are_downloads() -> None:
    from django.core.files.base import ContentFile  # noqa: PLC0415 - beside its use
    from django.core.files.storage import default_storage  # noqa: PLC0415

    from runs.models import Report  # noqa: PLC0415

    run = running()
    add_log(run, "order", "hello", "world")
    name = default_storage.save("reports/junit.xml", ContentFile(b"<testsuite/>"))
    report = Report.objects.create(
        run=run, name="results/junit <1>.xml", size=12, sha256="0" * 64, storage_name=name
    )

    async def fetch(address: str) -> tuple[StreamingHttpResponse, bytes]:
        answer = cast("StreamingHttpResponse", await AsyncClient().get(address))
        parts = cast("AsyncIterator[bytes]", answer.streaming_content) if answer.streaming else None
        content = b"" if parts is None else b"".join([part async for part in parts])
        await sync_to_async(connections.close_all)()  # the client leaves it to us
        return answer, content

    log, text = asyncio.run(fetch("/p/shop/runs/1/log/"))
    file, content = asyncio.run(fetch(f"/p/shop/runs/1/files/report/{report.pk}/"))
    unknown, _ = asyncio.run(fetch("/p/shop/runs/1/files/secret/1/"))

    assert log["Content-Type"] == "text/plain; charset=utf-8"
    assert [line.split(" | ")[0] for line in text.decode().splitlines()] == ["order", "order"]
    assert content == b"<testsuite/>"
    assert file["Content-Type"] == "application/octet-stream"
    assert file["Content-Disposition"] == 'attachment; filename="junit <1>.xml"'
    assert unknown.status_code == 404


@pytest.mark.django_db
def test_tests_that_mark_their_start_and_end_are_shown_as_they_come() -> None:
    run = running()
    mark(run, "tests/a.py::test_one", "start", 1)
    mark(run, "tests/a.py::test_one", "end", 3)
    mark(run, "tests/a.py::test_two", "start", 4)

    seen = progress(run)
    html = follow(run).changes().html

    assert seen.ended_count == 1
    assert [(each.test[-8:], each.duration_ms) for each in seen.sightings] == [
        ("test_two", None),
        ("test_one", 2000.0),
    ]
    assert "1 test ended" in html
    assert "test_one: start" not in html  # the timeline tells of services, not of every test


@pytest.mark.django_db
def test_a_test_that_is_tried_again_runs_again() -> None:
    run = running()
    for second, phase in enumerate(["start", "end", "start"]):
        mark(run, "test_one", phase, second)

    (seen,) = progress(run).sightings

    assert seen.ended_at is None


def mark(run: Run, test: str, phase: str, second: int) -> None:
    at = NOW + timedelta(seconds=second)
    make_event(run, "mark", message=f"{test}: {phase}", at=at, data={"test": test, "phase": phase})


@pytest.mark.django_db
def test_a_page_waits_a_little_for_the_service_to_blame() -> None:
    run = make_run(status=RunStatus.FAILED, finished_at=NOW, failed_count=1)

    assert not is_settled(run, NOW + timedelta(seconds=20))
    assert is_settled(run, NOW + timedelta(seconds=21))
    make_event(run, "blamed")
    assert is_settled(run, NOW)
    assert is_settled(make_run(run.suite, status=RunStatus.PASSED, finished_at=NOW), NOW)
    assert not is_settled(make_run(run.suite, status=RunStatus.RUNNING, failed_count=1), NOW)
