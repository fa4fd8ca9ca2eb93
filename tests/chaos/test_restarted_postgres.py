"""PostgreSQL restarted in the middle of an ingestion: no result is lost, none is there twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from environments.probes import wait_until
from tests.chaos.worker import worker
from tests.conftest import ROOT
from tests.start_servers import start_postgres, start_valkey

pytestmark = pytest.mark.chaos

#: Enough for an ingestion that can be met half-way.
CASES = 60_000
UNDER_WAY = """
    SELECT count(*) FROM pg_stat_activity
    WHERE state <> 'idle' AND query LIKE '%itdash_staging%' AND pid <> pg_backend_pid()
"""
RECEIVE = """
import sys
from runs.actions.projects import create_project
from runs.actions.results import ReportFile
from runs.actions.uploads import UploadFields, receive_upload

report = ReportFile("junit.xml", open=lambda: open(sys.argv[-1], "rb"))
received = receive_upload(
    project=create_project(slug="shop"), fields=UploadFields(suite="checkout"), files=[report]
)
print(received.upload.pk)
"""


@dataclass
class Site:
    """An installation with servers of its own."""

    folder: Path
    variables: dict[str, str]

    def run(self, *command: str) -> str:
        return subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **self.variables},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def ask(self, query: str) -> object:
        """The first column of the first row; None while the server is away."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.variables["DATABASE_URL"]) as database:
            row = database.execute(query.encode()).fetchone()
            return row[0] if row else None
        return None


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("restart")
    broker_url, stop_valkey = start_valkey(folder / "valkey")
    try:
        yield Site(folder, {"BROKER_URL": broker_url, "ITDASH_DATA_DIR": str(folder / "data")})
    finally:
        stop_valkey()


def test_an_ingestion_survives_a_restart_of_the_database(site: Site) -> None:
    url, stop = start_postgres(site.folder / "postgres")
    try:
        site.variables["DATABASE_URL"] = url
        site.run("manage.py", "migrate", "--verbosity", "0")
        report = site.folder / "junit.xml"
        cases = "".join(
            f'<testcase classname="c" name="t{number}"><failure message="m{number % 9}"/></testcase>\n'
            for number in range(CASES)
        )
        report.write_text(f'<testsuite name="s">{cases}</testsuite>', encoding="utf-8")
        with worker(site.folder, site.variables):
            site.run("-c", f"import django; django.setup()\n{RECEIVE}", str(report))
            wait_until(lambda: site.ask(UNDER_WAY), deadline_seconds=30)

            stop()
            _, stop = start_postgres(site.folder / "postgres")

            done = "SELECT count(*) FROM runs_upload WHERE status <> 'received'"
            wait_until(lambda: site.ask(done), deadline_seconds=90)

        assert site.ask("SELECT status FROM runs_upload") == "stored"
        assert site.ask("SELECT count(*) FROM runs_result WHERE attempt_count = 1") == CASES
        assert site.ask("SELECT count(*) FROM runs_attempt") == CASES
        assert site.ask("SELECT count(*) FROM runs_testcase") == CASES
        assert site.ask("SELECT count(*) FROM runs_failure") == 9
        assert site.ask("SELECT status FROM runs_run") == "failed"
        assert site.ask("SELECT test_count FROM runs_run") == CASES
        assert site.ask("SELECT try_count FROM runs_upload") != 1
    finally:
        stop()
