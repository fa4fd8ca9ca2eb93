"""A real worker beside the tests: to be killed, and started again as its supervisor would."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from environments.probes import wait_until
from tests.conftest import ROOT

#: Short, so that what is lost is found while the test looks.
QUICK = {
    "ITDASH_RUN_LEASE_SECONDS": "2",
    "ITDASH_ENVIRONMENT_LEASE_SECONDS": "3",
    "ITDASH_SWEEP_INTERVAL_SECONDS": "1",
    "ITDASH_REAP_INTERVAL_SECONDS": "1",
    "ITDASH_LOG_LEVEL": "INFO",
}


def _die_with_the_tests() -> None:
    """Linux ends it when the tests are ended without a chance to tidy up."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Worker:
    """One worker with its children in a process group of its own: beat, if wanted, and who does the work."""

    def __init__(
        self, folder: Path, variables: Mapping[str, str], *, slots: int = 2, has_beat: bool = True
    ) -> None:
        self.folder = folder
        self._words = ["--concurrency", str(slots), *(["-B"] if has_beat else [])]
        self._variables = {**os.environ, **QUICK, **variables}
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it wrote, all its lives together."""
        return "".join(
            path.read_text("utf-8", "replace") for path in sorted(self.folder.glob("worker-*.log"))
        )

    def start(self, *, within_seconds: float = 30) -> None:
        """Start it and return once it takes work."""
        self._lives += 1
        log = self.folder / f"worker-{self._lives}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "itdash", "worker", *self._words),
                    *("-Q", "runs,default,ingest,send,judge", "--without-gossip", "--without-mingle"),
                    # In memory: its file, opened by two processes at once, can be found locked.
                    *("--loglevel", "INFO", "--scheduler", "celery.beat:Scheduler"),
                ],
                cwd=ROOT,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - one call that takes no lock
            )
        wait_until(lambda: " ready." in log.read_text("utf-8", "replace"), deadline_seconds=within_seconds)

    @property
    def is_alive(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill the worker and all of its children at once, as a machine does that loses power."""
        process = self._alive()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_child(self, pid: int) -> None:
        """Kill only the process that executes a run; the worker replaces it."""
        assert pid in [child.pid for child in psutil.Process(self._alive().pid).children(recursive=True)]
        os.kill(pid, signal.SIGKILL)

    def kill_children(self) -> None:
        """Kill all who do the work, as a machine does whose memory is full; the worker replaces them."""
        for child in psutil.Process(self._alive().pid).children():
            child.kill()

    def ask_to_stop(self) -> None:
        """Ask it to stop, as a deployment does."""
        self._alive().send_signal(signal.SIGQUIT)

    def wait(self) -> None:
        """Return once it has ended.

        Celery does all of its stopping within the signal's handler. Where that came while a result was being
        taken, the process that sent the result waits 30 s for a sign that it was.
        """
        process = self._process
        assert process is not None
        try:
            process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGUSR1)  # it writes into its log where each thread stands
            time.sleep(1)
            raise

    def end(self) -> None:
        """Leave no process."""
        if self.is_alive:
            self.kill()

    def _alive(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return self._process


@contextmanager
def worker(folder: Path, variables: Mapping[str, str]) -> Iterator[Worker]:
    """Yield a worker that has been started."""
    folder.mkdir(parents=True, exist_ok=True)
    one = Worker(folder, variables)
    try:
        one.start()
        yield one
    finally:
        one.end()
        # Shown by pytest when the test fails.
        sys.stdout.write(one.log)


def processes_of(folder: Path) -> list[str]:
    """Processes that were started for something below the folder, the tests' own aside."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            words = process.cmdline()
        except psutil.Error:
            continue
        told = [*words, *environment.values()]
        if process.pid != os.getpid() and any(str(folder / "environments") in word for word in told):
            found.append(" ".join(words))
    return found
