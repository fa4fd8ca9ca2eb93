"""Several uploads are one run that ends when all of its shards are in, or when nobody waits any longer."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from runs.actions.errors import InvalidValueError
from runs.actions.results import ReportFile
from runs.actions.runs import cancel_run
from runs.actions.sweep import sweep
from runs.actions.uploads import UploadFields, ingest_upload, receive_upload
from runs.models import Event, Project, Result, Run, SuiteDay, Upload
from runs.vocabulary import RunStatus
from tests.factories import make_project, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_files")]


@pytest.fixture
def project() -> Project:
    return make_project("shop")


def report(name: str, *, fails: bool = False) -> bytes:
    inner = '<failure message="no"/>' if fails else ""
    return (
        f'<testsuite name="s"><testcase classname="c" name="{name}">{inner}</testcase></testsuite>'.encode()
    )


def statements() -> tuple[list[str], Any]:
    """What is asked of the database from here on, and what listens for it."""
    asked: list[str] = []

    def listen(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    return asked, connection.execute_wrapper(listen)


def receive(
    project: Project, shard: int, *, shards: int | None, fails: bool = False, key: str = ""
) -> Upload:
    content = report(f"t{shard}", fails=fails)
    return receive_upload(
        project=project,
        fields=UploadFields(suite="checkout", run_key="build-7", shard=shard, shards=shards),
        files=[ReportFile("junit.xml", open=lambda: io.BytesIO(content))],
        idempotency_key=key,
    ).upload


def send(project: Project, shard: int, *, shards: int | None, fails: bool = False) -> Run:
    ingest_upload(receive(project, shard, shards=shards, fails=fails).pk)
    return Run.objects.get()


def state(run: Run) -> tuple[str, int | None, int, int]:
    return run.status, run.shards_expected, run.shards_received, run.test_count


def let_pass(seconds: int) -> None:
    Upload.objects.update(received_at=timezone.now() - timedelta(seconds=seconds))


def test_a_run_ends_with_the_last_of_its_shards(project: Project) -> None:
    assert state(send(project, 2, shards=3)) == ("ingesting", 3, 1, 1)
    assert state(send(project, 1, shards=3, fails=True)) == ("ingesting", 3, 2, 2)

    run = send(project, 3, shards=3)

    assert state(run) == ("failed", 3, 3, 3)
    assert (run.failed_count, run.verdict, run.error_message) == (1, "fail", "")


def test_without_a_count_it_ends_with_each_upload(project: Project) -> None:
    assert state(send(project, 1, shards=None)) == ("passed", None, 0, 1)
    assert state(send(project, 2, shards=None, fails=True)) == ("failed", None, 0, 2)


def test_a_shard_that_is_sent_twice_does_not_stand_for_another(project: Project) -> None:
    send(project, 1, shards=2)

    assert state(send(project, 1, shards=2, fails=True)) == ("ingesting", 2, 1, 1)


def test_one_upload_that_says_how_many_is_enough_and_opens_the_run_again(project: Project) -> None:
    first = send(project, 1, shards=None)
    assert (first.status, SuiteDay.objects.get().run_count) == ("passed", 1)

    second = send(project, 2, shards=3)
    assert state(second) == ("ingesting", 3, 2, 2)
    assert (second.verdict, second.finished_at) == ("none", None)
    assert SuiteDay.objects.filter(run_count__gt=0).count() == 0

    assert state(send(project, 3, shards=None)) == ("passed", 3, 3, 3)
    assert SuiteDay.objects.get(run_count__gt=0).run_count == 1


def test_of_two_counts_the_larger_holds_and_the_other_upload_says_so(project: Project) -> None:
    send(project, 1, shards=3)
    other = receive(project, 2, shards=2)

    assert Run.objects.get().shards_expected == 3
    assert other.problems == [
        {"file": "", "line": None, "reason": "It says that there are 2 shards; another upload said 3."}
    ]
    ingest_upload(other.pk)
    assert Run.objects.get().status == "ingesting"
    assert state(send(project, 3, shards=4)) == ("ingesting", 4, 3, 3)


@pytest.mark.parametrize(
    ("fails", "status", "reason"), [(False, "errored", "no_report"), (True, "failed", "")]
)
def test_when_the_time_has_passed_the_run_ends_and_names_the_missing(
    project: Project, settings: Settings, fails: bool, status: str, reason: str
) -> None:
    settings.SHARDS_WAIT_SECONDS = 600
    send(project, 2, shards=4, fails=fails)
    run = send(project, 3, shards=4)
    let_pass(599)
    assert sweep().settled == ()

    let_pass(601)

    assert sweep().settled == (run.pk,)
    run.refresh_from_db()
    assert (run.status, run.error_reason) == (status, reason)
    assert run.error_message == "2 of 4 shards sent no report: 1, 4."
    assert Event.objects.filter(run=run, message=run.error_message).count() == 1
    assert sweep().settled == ()


def test_an_upload_that_is_not_read_yet_is_waited_for_whatever_its_age(project: Project) -> None:
    send(project, 1, shards=3)
    receive(project, 2, shards=3)
    let_pass(100_000)

    assert sweep().settled == ()


def test_a_shard_that_comes_too_late_opens_the_run_again(project: Project) -> None:
    send(project, 1, shards=2)
    let_pass(100_000)
    sweep()

    assert state(send(project, 2, shards=2)) == ("passed", 2, 2, 2)
    assert Run.objects.get().error_message == ""


def test_cancelling_a_run_that_waits_ends_it(project: Project) -> None:
    run = send(project, 1, shards=2)
    cancel_run(run_id=run.pk, by=make_user())

    assert sweep().settled == (run.pk,)
    run.refresh_from_db()
    assert (run.status, run.error_message) == ("cancelled", "1 of 2 shards sent no report: 2.")


@pytest.mark.parametrize(("shard", "shards", "key"), [(3, 2, "k"), (1, 0, "k"), (1, 10_001, "k"), (1, 2, "")])
def test_counts_that_cannot_be_are_refused(project: Project, shard: int, shards: int, key: str) -> None:
    with pytest.raises(InvalidValueError, match="shard"):
        receive_upload(
            project=project,
            fields=UploadFields(suite="checkout", run_key=key, shard=shard, shards=shards),
            files=[ReportFile("junit.xml", open=lambda: io.BytesIO(report("a")))],
        )


def in_parallel(acts: Sequence[threading.Thread]) -> None:
    for act in acts:
        act.start()
    for act in acts:
        act.join(60)


class Act(threading.Thread):
    """A thread with a connection of its own that begins with the others and keeps what went wrong."""

    def __init__(self, barrier: threading.Barrier, act: object, *args: object) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._parts = (barrier, act, args)

    def run(self) -> None:
        barrier, act, args = self._parts
        try:
            barrier.wait(30)
            act(*args)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error
        finally:
            connection.close()


def acts(act: object, calls: Sequence[tuple[object, ...]]) -> Iterator[Act]:
    barrier = threading.Barrier(len(calls))
    return (Act(barrier, act, *call) for call in calls)


@pytest.mark.django_db(transaction=True)
def test_shards_that_are_sent_and_read_in_parallel_neither_deadlock_nor_miss_each_other(
    project: Project,
) -> None:
    def whole(shard: int) -> None:
        ingest_upload(receive(project, shard, shards=8, fails=shard == 5).pk)

    own = list(acts(whole, [(shard,) for shard in range(1, 9)]))
    in_parallel(own)

    assert [act.error for act in own] == [None] * 8
    run = Run.objects.get()
    assert state(run) == ("failed", 8, 8, 8)
    assert (run.failed_count, Result.objects.count(), SuiteDay.objects.get().run_count) == (1, 8, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", ["same", ""])
def test_the_same_upload_in_parallel_is_one_with_one_set_of_results(project: Project, key: str) -> None:
    found: list[int] = []

    def whole() -> None:
        upload = receive(project, 1, shards=None, key=key)
        found.append(upload.pk)
        ingest_upload(upload.pk)

    own = list(acts(whole, [()] * 6))
    in_parallel(own)

    assert [act.error for act in own] == [None] * 6
    run = Run.objects.get()
    assert (run.status, run.test_count, Result.objects.count()) == (RunStatus.PASSED, 1, 1)
    assert (len(set(found)), Upload.objects.count()) == (1, 1)


def test_what_a_runs_tests_took_is_read_once_nobody_else_can_end_it(project: Project) -> None:
    """Of two that end it at once the last one writes: it has to have seen what the other stored."""
    upload = receive(project, 1, shards=None)
    asked, listening = statements()

    with listening:
        ingest_upload(upload.pk)

    [summed] = [place for place, sql in enumerate(asked) if 'SUM("runs_result"."duration_ms")' in sql]
    settled = max(place for place, sql in enumerate(asked) if 'UPDATE "runs_upload"' in sql)
    locked = [sql for sql in asked[settled:summed] if 'FROM "runs_run"' in sql and "FOR NO KEY UPDATE" in sql]
    assert len(locked) == 1


def test_files_stay_where_nobody_knows_whether_their_rows_do(project: Project, tmp_path: Path) -> None:
    """The database commits an upload and goes away before it says so: it is there, and has its files."""
    asked: list[str] = []

    def lose(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql)
        if "RELEASE SAVEPOINT" in sql and any('INSERT INTO "runs_upload"' in one for one in asked):
            raise ConnectionResetError
        return execute(sql, *rest)

    with pytest.raises(ConnectionResetError), connection.execute_wrapper(lose):
        receive(project, 1, shards=None)

    assert [path.name for path in tmp_path.rglob("*.xml")] == ["junit.xml"]
    assert ingest_upload(Upload.objects.get().pk) == "stored"
