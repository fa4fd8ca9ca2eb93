"""Real processes, kept and stopped. The scripts run as processes of their own, as `itdash up` does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from environments.probes import wait_until
from itdash.supervisor import describe_exit, restart_pause
from tests.conftest import ROOT

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="parents' deaths are signalled on Linux only")

#: Two programs: one that stays, one whose child stays in a session of its own.
SCRIPT = """
import sys
from pathlib import Path
from environments.wheels import Launch
from itdash.supervisor import Program, StopRequested, Supervisor, guard

FOLDER = Path(sys.argv[1])
STAY = "import signal, sys; open(sys.argv[1], 'a').write('born\\\\n'); signal.pause()"
PARENT = (
    "import signal, subprocess, sys;"
    "subprocess.Popen(['sleep', '617'], start_new_session=True);"
    "open(sys.argv[1], 'a').write('born\\\\n'); signal.pause()"
)
DEAF = "import signal; signal.signal(15, signal.SIG_IGN);" + STAY

def program(name, code, stop=((15, 2.0),)):
    words = [sys.executable, "-c", code, str(FOLDER / name)]
    from signal import Signals
    return Program(name, lambda: Launch(words, FOLDER), {}, stop=tuple((Signals(n), s) for n, s in stop))

def main():
    supervisor = Supervisor(logs=FOLDER / "logs", say=lambda text: print(text, flush=True))
    supervisor.heed_signals()
    try:
        supervisor.start(program("stays", STAY))
        supervisor.start(program("parent", PARENT))
        supervisor.start(program("deaf", DEAF, stop=((15, 0.3),)))
        return supervisor.watch()
    except StopRequested:
        return 0
    finally:
        supervisor.stop()

sys.exit(guard(main))
"""


def eventually[T](check: Callable[[], T | None], seconds: float = 15) -> T:
    return wait_until(check, deadline_seconds=seconds)


def births(folder: Path, name: str) -> int:
    place = folder / name
    return len(place.read_text().splitlines()) if place.exists() else 0


@contextmanager
def supervised(folder: Path) -> Iterator[subprocess.Popen[str]]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    outer = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: all(births(folder, name) for name in ("stays", "parent", "deaf")))
        yield outer
    finally:
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(outer.pid).children(recursive=True), psutil.Process(outer.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        outer.wait(timeout=10)
        assert outer.stdout is not None
        outer.stdout.close()


def family(outer: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything below the outer process: the inner one, three programs and one grandchild."""
    return psutil.Process(outer.pid).children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def program_of(outer: subprocess.Popen[str], name: str) -> psutil.Process:
    return next(one for one in family(outer) if one.cmdline()[-1:] and one.cmdline()[-1].endswith(f"/{name}"))


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (500, 30.0)]
)
def test_each_death_in_a_row_doubles_the_pause_up_to_half_a_minute(deaths: int, seconds: float) -> None:
    assert restart_pause(deaths) == seconds


@pytest.mark.parametrize(("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL")])
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_a_program_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path) as outer:
        program_of(outer, "stays").kill()

        eventually(lambda: births(tmp_path, "stays") == 2)

        assert outer.stdout is not None
        assert outer.stdout.readline() == (
            f"stays ended (SIGKILL); starting it again in 0.5 s · {tmp_path}/logs/stays.log\n"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_within_ten_seconds(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path) as outer:
        before = family(outer)
        assert len(before) == 5

        begun = time.monotonic()
        outer.send_signal(number)
        code = outer.wait(timeout=10)

        assert code == 0
        assert alive(before) == []
        assert time.monotonic() - begun < 10


@LINUX_ONLY
def test_nothing_outlives_an_outer_process_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as outer:
        before = family(outer)
        outer.kill()
        outer.wait(timeout=10)

        eventually(lambda: alive(before) == [])


@LINUX_ONLY
def test_nothing_outlives_an_inner_process_that_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as outer:
        before = family(outer)
        psutil.Process(outer.pid).children()[0].kill()

        assert outer.wait(timeout=10) == 128 + signal.SIGKILL
        assert alive(before) == []
