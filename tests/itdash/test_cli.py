"""`itdash up` as people start it: real processes, all of them, and none left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
import psutil
import pytest

from environments.probes import wait_until
from itdash import cli
from itdash.cli.up import why_ended
from tests.conftest import ROOT

START_SECONDS = 120
UNSET = ("DATABASE_URL", "BROKER_URL", "ITDASH_DATA_DIR", "ITDASH_PUBLIC_URL")


def variables(**more: str) -> dict[str, str]:
    """This process's, without what points to the tests' own servers."""
    return {name: value for name, value in os.environ.items() if name not in UNSET} | {
        "ITDASH_ENGINE": "local",
        "COVERAGE_PROCESS_START": "",
        **more,
    }


def itdash(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "itdash", *words],
        cwd=ROOT,
        env=variables(**more),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Up:
    """A running `itdash up`."""

    process: subprocess.Popen[str]
    url: str
    data_dir: Path
    printed: list[str]

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def log(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text()


@contextmanager
def up(data_dir: Path, **more: str) -> Iterator[Up]:
    process = subprocess.Popen(
        [sys.executable, "-m", "itdash", "up", "--port", "0", "--data-dir", str(data_dir)],
        cwd=ROOT,
        env=variables(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        for line in process.stdout:
            printed.append(line.rstrip())
            if line.startswith("Ready after"):
                break
        else:
            pytest.fail("itdash up ended:\n" + "\n".join(printed))
        url = next(line.split()[1] for line in printed if line.startswith("  web "))
        yield Up(process, url, data_dir, printed)
    finally:
        with suppress(psutil.NoSuchProcess):
            left = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
            for one in left:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        process.kill()
        process.wait(timeout=10)
        process.stdout.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("running") / "data") as started:
        yield started


def eventually[T](check: Callable[[], T | None], seconds: float = 60) -> T:
    return wait_until(check, deadline_seconds=seconds)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == HTTPStatus.OK
    except httpx.HTTPError:
        return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def command_line(process: psutil.Process) -> str:
    """Its words; empty when it has ended meanwhile."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


def program(started: Up, *words: str) -> psutil.Process:
    """The oldest of our processes whose command line has all the words."""
    found = [one for one in started.family() if all(word in command_line(one) for word in words)]
    return min(found, key=lambda one: one.create_time())


def test_a_setting_that_cannot_be_is_told_without_the_way_there(tmp_path: Path) -> None:
    log = tmp_path / "migrate.log"
    log.write_text(
        'Traceback (most recent call last):\n  File "settings.py", line 206\n'
        "django.core.exceptions.ImproperlyConfigured: ITDASH_STORAGE: “x” names no bucket.\n"
    )

    assert why_ended("migrate", 1, log) == "ITDASH_STORAGE: “x” names no bucket."
    log.write_text("first\nlast\n")
    told = f"`migrate` failed with exit code 1. The end of {log}:\nfirst\nlast"
    assert why_ended("migrate", 1, log) == told


def test_everything_comes_up_and_says_where_it_is(running: Up) -> None:
    assert running.printed[0].endswith(f"data in {running.data_dir}")
    assert [line.split()[0] for line in running.printed[1:6]] == [
        "postgresql",
        "valkey",
        "database",
        "web",
        "workers",
    ]
    ready = httpx.get(f"{running.url}/readyz", timeout=30)
    assert ready.json() == {"status": "ready", "checks": {"database": "ok", "broker": "ok"}}


def test_nobody_else_on_the_machine_can_reach_the_servers(running: Up) -> None:
    servers = [one for one in running.family() if one.name() in {"postgres", "valkey-server"}]

    assert {one.name() for one in servers} == {"postgres", "valkey-server"}
    listening = [port for one in servers for port in one.net_connections("inet") if port.status == "LISTEN"]
    assert listening == []


def test_a_web_server_that_is_killed_answers_again_and_nobody_is_turned_away(running: Up) -> None:
    web = program(running, "uvicorn")
    web.kill()

    # The port stays taken: the question waits until the new one answers.
    assert httpx.get(f"{running.url}/healthz", timeout=60).status_code == HTTPStatus.OK
    assert program(running, "uvicorn").pid != web.pid


@pytest.mark.chaos
def test_database_and_broker_that_are_killed_come_back(running: Up) -> None:
    program(running, "postgres", "unix_socket_directories").kill()
    program(running, "valkey-server").kill()

    eventually(lambda: answers(f"{running.url}/readyz"))


def test_a_second_one_on_the_same_folder_is_refused_and_told_by_whom(running: Up) -> None:
    refused = itdash("up", "--port", "0", "--data-dir", str(running.data_dir))

    inner = running.family()[0].pid
    assert refused.returncode == 1
    assert (
        f"itdash runs on {running.data_dir} already, as process {inner}, at {running.url}" in refused.stdout
    )


def test_a_taken_port_is_said_at_once(running: Up, tmp_path: Path) -> None:
    port = running.url.rsplit(":", 1)[1]

    refused = itdash("up", "--port", port, "--data-dir", str(tmp_path))

    assert refused.returncode == 1
    assert f"it cannot listen on 127.0.0.1:{port} (Address already in use)." in refused.stdout


def test_commands_beside_it_make_a_project_a_token_and_find_the_servers_well(running: Up) -> None:
    folder = f"--data-dir={running.data_dir}"
    made = itdash("project", "create", "beside", folder)
    token = itdash("token", "create", "--project=beside", "--scopes=read", "--expires=90d", folder)
    doctor = itdash("doctor", folder)

    assert (made.returncode, made.stdout) == (0, "beside\n")
    assert token.returncode == 0
    shown = httpx.get(
        f"{running.url}/api/v1/projects/beside/runs",
        headers={"Authorization": f"Bearer {token.stdout.strip()}"},
        timeout=30,
    )
    assert (shown.status_code, shown.json()["items"]) == (HTTPStatus.OK, [])
    assert "✓ database  PostgreSQL 18 answers" in doctor.stdout
    assert "✓ broker    Valkey 9" in doctor.stdout
    # Of an installation that nobody has sent anything to.
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in doctor.stdout.splitlines()}
    assert said["stored"].endswith(" MiB in the database, 0.0 MiB of reports and artifacts")
    assert said["forecast"] == "nothing grows here"


def test_a_name_that_is_taken_is_refused_in_a_sentence(running: Up) -> None:
    folder = f"--data-dir={running.data_dir}"
    itdash("project", "create", "twice", folder)

    again = itdash("project", "create", "twice", folder)

    assert again.returncode == 1
    assert again.stderr == "itdash: A project with the address “twice” exists already. Choose another.\n"


def test_a_run_that_cannot_be_checked_out_is_followed_to_exit_code_two(running: Up, tmp_path: Path) -> None:
    folder = f"--data-dir={running.data_dir}"
    itdash("project", "create", "nowhere", f"--repository={tmp_path}/missing", folder)
    token = itdash("token", "create", "--project=nowhere", "--scopes=trigger,read", folder).stdout.strip()

    followed = itdash(
        "run", "checkout", "--project=nowhere", "--wait", f"--url={running.url}", ITDASH_TOKEN=token
    )

    lines = followed.stdout.splitlines()
    assert followed.returncode == 2, followed.stderr
    assert lines[0] == f"Run 1 is queued: {running.url}/p/nowhere/runs/1/"
    assert "  errored" in lines
    assert str(tmp_path / "missing") in lines[-1]


def test_sigterm_stops_all_of_it_within_ten_seconds_and_the_data_is_there_afterwards(running: Up) -> None:
    """The last of those that share an installation: it is gone after this."""
    data_dir = running.data_dir
    itdash("project", "create", "kept", f"--data-dir={data_dir}")
    before = running.family()
    assert len(before) > 8
    begun = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    code = running.process.wait(timeout=20)
    seconds = time.monotonic() - begun

    assert (code, alive(before)) == (0, [])
    assert seconds < 10

    with up(data_dir) as second:
        again = itdash("project", "create", "kept", f"--data-dir={data_dir}")
        assert "exists already" in again.stderr
        # Killed without a word: its processes go by themselves.
        before = second.family()
        second.process.kill()
        eventually(lambda: alive(before) == [], seconds=20)

    with up(data_dir) as third:
        assert answers(f"{third.url}/readyz")


def test_servers_of_your_own_are_used_instead(tmp_path: Path) -> None:
    # The tests' own: DATABASE_URL and BROKER_URL name them since before Django read its settings.
    ours = {name: os.environ[name] for name in ("DATABASE_URL", "BROKER_URL")}
    with up(tmp_path / "data", **ours) as started:
        names = {one.name() for one in started.family()}
        assert "  postgresql  yours, from DATABASE_URL" in started.printed
        assert names.isdisjoint({"postgres", "valkey-server"})


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0

    printed = capsys.readouterr().out
    assert [name for name in cli.command_names() if f"\n  {name} " not in printed] == []


def test_an_unknown_command_is_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["launch"]) == 2

    assert capsys.readouterr().err.startswith("itdash has no command “launch”.")


def test_a_run_cannot_be_queued_without_a_token() -> None:
    refused = itdash("run", "checkout", "--project=shop", ITDASH_TOKEN="")

    assert refused.returncode == 2
    assert refused.stderr.startswith("itdash: A token is needed: --token or ITDASH_TOKEN.")


def test_a_server_that_does_not_answer_is_exit_code_two() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

        refused = itdash("run", "checkout", "--project=shop", "--token=itd_x", f"--url={url}")

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"itdash: {url} does not answer")
