"""The same upload twice at once, its worker killed half-way, shards from everywhere: one set of results.

Two web processes take uploads over HTTP, a worker's children store them, a trigger holds whoever is at it
where the test wants, and SIGKILL ends it there. The next child takes it up when the sweeper rings again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import httpx
import psycopg
import pytest
from django.conf import settings
from django.db.models import Sum
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from environments.probes import wait_until
from itdash.supervisor import die_with_parent
from runs.actions.sweep import JUDGED_AFTER, RING_AGAIN_AFTER, ring_for_unjudged, sweep
from runs.models import (
    Attempt,
    Blame,
    CaseMonth,
    Failure,
    Project,
    Report,
    Result,
    Run,
    ServiceDay,
    SuiteDay,
    Upload,
)
from runs.vocabulary import Role, RunStatus, Scope, UploadStatus
from tests.chaos.test_killed_workers import database_url
from tests.chaos.worker import Worker
from tests.conftest import ROOT, others_at_work
from tests.factories import make_member, make_project
from tests.ports import free_ports
from tests.runs.api.test_access import bearer

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

WEB_COUNT = 2
SLOT_COUNT = 3
#: Of the tests of one report: so many fail, all of them held against one service.
CASE_COUNT, FAILED_COUNT = 40, 3
SHARD_COUNT = 6
START_SECONDS = 120

GATE = """
CREATE FUNCTION chaos_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(4712, TG_ARGV[0]::integer); RETURN NULL; END $$
"""
#: Where whoever stores an upload can be held, in the order in which he comes by.
POINTS = {
    "the results are there": "INSERT ON runs_result",
    "results are committed": "UPDATE OF stored_at ON runs_upload",
    "the suite's day is counted": "INSERT OR UPDATE ON runs_suiteday",
    "a failure is judged": "INSERT ON runs_blame",
}


@dataclass
class Site:
    """One installation in several processes."""

    worker: Worker
    webs: Sequence[str]
    project: Project = field(init=False)
    headers: dict[str, str] = field(init=False)

    def post(self, content: bytes, fields: dict[str, str], *, at: int = 0, key: str = "") -> dict[str, Any]:
        """Send a report to one of the web processes."""
        answer = httpx.post(
            f"{self.webs[at % WEB_COUNT]}/api/v1/projects/{self.project.slug}/uploads",
            headers=self.headers | ({"Idempotency-Key": key} if key else {}),
            data={"suite": "checkout", **fields},
            files={"files": ("junit.xml", content)},
            timeout=30,
        )
        assert answer.status_code in {200, 202}, answer.text  # 200: it is stored already
        body: dict[str, Any] = answer.json()
        return body

    def post_together(self, *wanted: partial[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send all at once."""
        with ThreadPoolExecutor(len(wanted)) as pool:
            return [one.result() for one in [pool.submit(each) for each in wanted]]


@pytest.fixture(scope="module")
def processes(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Started once: their start is most of what these tests take."""
    folder = tmp_path_factory.mktemp("uploads")
    with django_db_blocker.unblock():
        variables = {
            "DATABASE_URL": database_url(),
            "BROKER_URL": settings.BROKER_URL,
            "ITDASH_DATA_DIR": str(settings.DATA_DIR),
            "ITDASH_INSTANCE": f"uploads-{os.getpid()}",
        }
    ports = free_ports(WEB_COUNT)
    webs = [web(port, variables, folder) for port in ports]
    site = Site(
        Worker(folder, variables, slots=SLOT_COUNT, has_beat=False),
        [f"http://127.0.0.1:{port}" for port in ports],
    )
    try:
        # Three at once, each of which loads everything.
        site.worker.start(within_seconds=START_SECONDS)
        for address in site.webs:
            wait_until(partial(answers, address), deadline_seconds=START_SECONDS)
        yield site
    finally:
        site.worker.end()
        for process in webs:
            process.kill()
            process.wait()
        sys.stdout.write(site.worker.log[-20_000:])


def web(port: int, variables: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"web-{port}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "itdash.asgi:application", f"--port={port}", "--lifespan=off"],
            cwd=ROOT,
            env={**os.environ, **variables, "DJANGO_SETTINGS_MODULE": "itdash.settings"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(die_with_parent, SIGKILL, os.getpid()),  # noqa: PLW1509 - takes no lock
        )


def answers(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{address}/healthz").is_success
    return False


@pytest.fixture
def site(processes: Site, transactional_db: None) -> Iterator[Site]:
    """The processes with a project, left when they rest: the next test begins with none."""
    processes.project = make_project("shop", default_branch="main")
    processes.headers = bearer(processes.project, Scope.UPLOAD)
    yield processes
    wait_until(are_at_rest, deadline_seconds=30)


def are_at_rest() -> bool:
    """Whether nobody touches the database for half a second."""
    for _ in range(5):
        if others_at_work():
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def gates() -> Iterator[psycopg.Connection]:
    """Triggers at every point; who holds a point's lock holds whoever comes by."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute(GATE)
        for number, point in enumerate(POINTS.values()):
            other.execute(
                f"CREATE TRIGGER chaos_gate_{number} AFTER {point} FOR EACH STATEMENT "
                f"EXECUTE FUNCTION chaos_gate({number})".encode()
            )
        yield other
        other.execute("DROP FUNCTION chaos_gate CASCADE")


@contextmanager
def held(gates: psycopg.Connection, number: int) -> Iterator[None]:
    gates.execute("SELECT pg_advisory_lock(4712, %s)", [number])
    try:
        yield
    finally:
        gates.execute("SELECT pg_advisory_unlock(4712, %s)", [number])


def is_held(gates: psycopg.Connection, number: int) -> bool:
    """Whether somebody waits at the point."""
    query = "SELECT count(*) FROM pg_locks WHERE classid = 4712 AND objid = %s AND NOT granted"
    row = gates.execute(query, [number]).fetchone()
    return row is not None and row[0] > 0


def report(*names: str, failed: int = FAILED_COUNT) -> bytes:
    """Tests of these names, the first of which fail."""
    broken = '<failure message="no answer">at pay.py:7</failure>'
    said = '<properties><property name="service" value="payments"/></properties>'
    inner = [said + broken] * failed + [""] * (len(names) - failed)
    cases = [
        f'<testcase classname="c" name="{name}" time="0.5">{own}</testcase>'
        for name, own in zip(names, inner, strict=True)
    ]
    return f'<testsuite name="s">{"".join(cases)}</testsuite>'.encode()


def is_stored(upload_id: int) -> bool:
    """Let the sweeper ring again, as it does after a while, and look."""
    Upload.objects.filter(pk=upload_id).update(received_at=timezone.now() - 2 * RING_AGAIN_AFTER)
    sweep()
    return Upload.objects.get(pk=upload_id).status != UploadStatus.RECEIVED


def is_judged(upload_id: int) -> bool:
    """The same for what follows from a run's end."""
    run = Run.objects.get(uploads=upload_id)
    if Blame.objects.filter(run=run).exists():
        return True
    Run.objects.filter(pk=run.pk, finished_at__isnull=False).update(
        finished_at=timezone.now() - 2 * JUDGED_AFTER
    )
    ring_for_unjudged()
    return False


def counted_by_day() -> tuple[int, int, int, int]:
    """Runs, results of the suite's days, results of the cases' months, failures of the services' days."""
    days = SuiteDay.objects.aggregate(runs=Sum("run_count"), results=Sum("result_count"))
    months = sum(
        count or 0 for results in CaseMonth.objects.values_list("results", flat=True) for count in results
    )
    failures = ServiceDay.objects.filter(is_total=True).aggregate(count=Sum("failure_count"))["count"]
    return days["runs"] or 0, days["results"] or 0, months, failures or 0


def test_an_upload_sent_twice_at_once_whose_worker_is_killed_half_way_is_one_set_of_results(
    site: Site, gates: psycopg.Connection
) -> None:
    names = [f"t{number}" for number in range(CASE_COUNT)]
    for number, point in enumerate(POINTS):
        # Half of them are known again by their key, half by their run and content.
        key = f"key-{number}" if number % 2 else ""
        fields = {"branch": "main"} | ({} if key else {"run_key": f"build-{number}"})
        content = report(*names, f"only-in-{number}")
        with held(gates, number):
            both = [partial(site.post, content, fields, at=web, key=key) for web in range(WEB_COUNT)]
            ids = {told["upload"]["id"] for told in site.post_together(*both)}
            wait_until(partial(is_held, gates, number), deadline_seconds=30)
            site.worker.kill_children()
            ids.add(site.post(content, fields, key=key)["upload"]["id"])
        [upload_id] = ids
        wait_until(partial(is_stored, upload_id), deadline_seconds=60)
        wait_until(partial(is_judged, upload_id), deadline_seconds=60)

        upload = Upload.objects.get(pk=upload_id)
        run = upload.run
        assert (upload.status, upload.problems) == (UploadStatus.STORED, []), point
        # Whoever is held while he judges may still be at the run before.
        assert upload.try_count in ({1, 2} if point == "a failure is judged" else {2}), point
        assert (run.status, run.test_count, run.failed_count) == (
            RunStatus.FAILED,
            CASE_COUNT + 1,
            FAILED_COUNT,
        )
        assert Report.objects.filter(run=run).count() == 1, point
        assert Result.objects.filter(run_id=run.pk).count() == CASE_COUNT + 1, point
        assert Attempt.objects.filter(run_id=run.pk).count() == FAILED_COUNT, point
        assert run.events.filter(kind="finished").count() == 1, point

    count = len(POINTS)
    expected = (count, count * (CASE_COUNT + 1), count * (CASE_COUNT + 1), count * FAILED_COUNT)
    assert counted_by_day() == expected
    assert (Upload.objects.count(), Run.objects.count(), Failure.objects.count()) == (count, count, 1)
    page = audit_page(site, Upload.objects.earliest("pk").pk)
    assert "All of it was read" in page
    assert "<dt>Tries</dt><dd>2</dd>" in page


def audit_page(site: Site, upload_id: int) -> str:
    from django.test import Client  # noqa: PLC0415

    client = Client()
    client.force_login(make_member(site.project, Role.VIEWER))
    return client.get(f"/p/shop/uploads/{upload_id}/").content.decode()


def test_shards_from_several_processes_at_once_are_one_run_and_nobody_waits_for_each_other(
    site: Site,
) -> None:
    common = [f"t{number}" for number in range(CASE_COUNT)]
    posts = []
    for shard in range(1, SHARD_COUNT + 1):
        # Each knows the same tests in another order: whoever locks row by row would meet somebody.
        turned = common[shard * 5 :] + common[: shard * 5]
        content = report(f"fails-{shard}", *turned, f"own-{shard}", failed=1)
        fields = {"run_key": "build-7", "shard": f"{shard}/{SHARD_COUNT}", "branch": "main"}
        posts += [partial(site.post, content, fields, at=web) for web in range(WEB_COUNT)]

    told = site.post_together(*posts)

    [run_id] = {one["run"]["id"] for one in told}
    assert len({one["upload"]["id"] for one in told}) == SHARD_COUNT
    wait_until(lambda: Run.objects.get(pk=run_id).status == RunStatus.FAILED, deadline_seconds=30)
    # Nobody was the victim of a deadlock: that would have been a second try.
    assert set(Upload.objects.values_list("status", "try_count")) == {(UploadStatus.STORED, 1)}
    run = Run.objects.get(pk=run_id)
    case_count = CASE_COUNT + 2 * SHARD_COUNT
    assert (run.test_count, run.failed_count, run.shards_received) == (case_count, SHARD_COUNT, SHARD_COUNT)
    assert Result.objects.filter(run_id=run_id).count() == case_count
    wait_until(lambda: counted_by_day() == (1, case_count, case_count, SHARD_COUNT), deadline_seconds=20)
