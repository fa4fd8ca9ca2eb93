"""Keeps one service of the local engine: starts it, writes down what it says and how it ends.

Run as a program of its own, ``python -I -S keeper.py FOLDER``, on the standard library alone so that it
starts in milliseconds. It outlives the worker that asked for it: what a service said and did is on disk,
readable by any process, whatever happens to the one that started it.

- As a child subreaper it inherits whatever the service leaves orphaned, so that the service's whole tree
  hangs below one process. When the main process ends, the rest is killed: as a container's would be.
- If the keeper itself is killed, the kernel kills the service's main process.

FOLDER holds ``program.json`` (what to run). The keeper writes ``state.json`` (replaced, never half there),
``log`` (``<nanoseconds> <o|e> <text>`` per line) and appends to the environment's ``events.jsonl``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
#: A line without an end is cut here, in bytes.
MAX_LINE_BYTES = 1024 * 1024
#: What one service may write to its log in all, in bytes; the rest is counted, not kept.
MAX_LOG_BYTES = 256 * 1024 * 1024
READ_BYTES = 256 * 1024
#: Before a restart, doubled each time until the service has stayed up; as the engines of containers do.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 10.0
#: How soon it is noticed that a service that is about to be restarted was told to stop.
LOOK_SECONDS = 0.02
#: How much sooner than its service the keeper is run, in steps of niceness.
HASTE = 5
NICENESS = os.getpriority(os.PRIO_PROCESS, 0)
SIGNAL_EXIT_BASE = 128
NOT_FOUND_EXIT_CODE = 127
NOT_EXECUTABLE_EXIT_CODE = 126


def main(folder: Path) -> None:
    """Start the service, say on standard output whether that worked, keep it until it ends for good."""
    program = json.loads((folder / "program.json").read_text())
    state = State(folder, program["service"])
    log = Log(folder / "log")
    _become_subreaper()
    _hurry()
    try:
        process = start(program)
    except OSError as error:
        code = state.failed(program["argv"][0], error)
        _answer({"error": state.values["error"], "exit_code": code})
        return
    state.started(process.pid)
    _answer({"pid": process.pid})
    while _kept_until_restart(folder, program["restart"], Keeper(process, log, state), state):
        try:
            process = start(program)
        except OSError as error:  # its program has gone since the last time
            state.failed(program["argv"][0], error)
            return
        state.restarted(process.pid)


def _kept_until_restart(folder: Path, policy: str, keeper: Keeper, state: State) -> bool:
    """Keep the service to its end; True when, after a pause, it is to be started again."""
    began = time.monotonic()
    code, finished_at = keeper.keep()
    if time.monotonic() - began > STEADY_SECONDS:
        state.pause_seconds = FIRST_PAUSE_SECONDS
    if not _is_restarted(folder, policy, code, state):
        state.ended(code, finished_at)
        return False
    state.restarting(code, finished_at)
    until = time.monotonic() + state.pause_seconds
    state.pause_seconds = min(2 * state.pause_seconds, LONGEST_PAUSE_SECONDS)
    while time.monotonic() < until:
        if not _is_restarted(folder, policy, code, state):
            state.ended(code, finished_at, told=True)
            return False
        select.select([], [], [], LOOK_SECONDS)
    return True


def _is_restarted(folder: Path, policy: str, code: int, state: State) -> bool:
    """As the engines of containers do: whatever was told to stop stays down."""
    name, _, most = policy.partition(":")
    wanted = name in {"always", "unless-stopped"} or (name == "on-failure" and code != 0)
    used_up = most.isdecimal() and state.values.get("restart_count", 0) >= int(most)
    return wanted and not used_up and not (folder / "told-to-stop").exists()


def start(program: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the program as the leader of a session of its own."""
    keeper = os.getpid()

    def die_with_keeper() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it went before the kernel was told
            os.kill(os.getpid(), signal.SIGKILL)

    return subprocess.Popen(  # noqa: S603 - the program of a trusted suite, no shell of ours
        program["argv"],
        cwd=program["cwd"],
        env=program["environment"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_keeper,  # noqa: PLW1509 - there is one thread
    )


class Keeper:
    """Moves output to the log until the service's main process has ended, then ends the rest."""

    def __init__(self, process: subprocess.Popen[bytes], log: Log, state: State) -> None:
        assert process.stdout is not None  # noqa: S101 - both are pipes
        assert process.stderr is not None  # noqa: S101
        self._process = process
        self._log = log
        self._state = state
        self._selector = selectors.DefaultSelector()
        for stream, mark in ((process.stdout, b"o"), (process.stderr, b"e")):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream.fileno(), selectors.EVENT_READ, mark)
        # Any child's end writes a byte here and wakes the selector.
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._process.send_signal(signal.SIGTERM))
        self._selector.register(self._woken, selectors.EVENT_READ, b"")

    def keep(self) -> tuple[int, int]:
        """Return the exit code and the moment of the end when all that was said is written down."""
        code = self._reap()
        while code is None:
            for key, _ in self._selector.select():
                self._drain(key.fd, key.data)
            code = self._reap()
        finished_at = time.time_ns()
        _end_children()
        for key in list(self._selector.get_map().values()):
            self._drain(key.fd, key.data, to_the_end=True)
        self._close()
        return code, finished_at

    def _close(self) -> None:
        self._log.finish()
        self._selector.close()
        signal.set_wakeup_fd(-1)
        for descriptor in (self._woken, self._waker):
            os.close(descriptor)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _drain(self, descriptor: int, mark: bytes, *, to_the_end: bool = False) -> None:
        while True:
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                return
            if mark and data:
                self._log.write(data, mark, time.time_ns())
            if not data:
                self._selector.unregister(descriptor)
            if not data or not to_the_end:
                return

    def _reap(self) -> int | None:
        """Reap what has ended; the exit code once the main process is among it."""
        found = None
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._process.pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self._process.returncode = code  # so that nobody signals its number any more
                    found = code if code >= 0 else SIGNAL_EXIT_BASE - code
        return found


class Log:
    """The service's output: whole lines, stamped when they were read."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._room = MAX_LOG_BYTES - os.fstat(self._file).st_size
        self._partial = {b"o": b"", b"e": b""}
        self._lost = 0
        self._last = 0

    def write(self, data: bytes, mark: bytes, at: int) -> None:
        """Append what was read at `at`; an unfinished line waits for its end."""
        *lines, rest = (self._partial[mark] + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._partial[mark] = rest
        self._append(lines, mark, at)

    def finish(self) -> None:
        """Write what did not end in a newline, and how much is missing."""
        now = time.time_ns()
        for mark, rest in self._partial.items():
            if rest:
                self._append([rest], mark, now)
        self._partial = {b"o": b"", b"e": b""}
        if self._lost:
            text = b"itdash: %d lines were not kept: the log or the disk is full" % self._lost
            self._room, self._lost = 1024, 0
            self._append([text], b"e", now)
            self._room = 0

    def _append(self, lines: list[bytes], mark: bytes, at: int) -> None:
        if not lines:
            return
        # Stamps never go back, even when the clock does: readers look for a moment by halving the file.
        self._last = max(self._last, at)
        prefix = b"%d %s " % (self._last, mark)
        data = b"".join(prefix + line + b"\n" for line in lines)
        try:
            if len(data) > self._room:
                raise OSError  # noqa: TRY301 - a full disk and a full log are the same loss
            self._room -= os.write(self._file, data)
        except OSError:
            self._lost += len(lines)


class State:
    """What is known of the service, for whoever reads ``state.json``, and its line in the events."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self.values: dict[str, Any] = {"service": service, "keeper": _identity(os.getpid())}
        #: How long the next restart waits.
        self.pause_seconds = FIRST_PAUSE_SECONDS

    def started(self, pid: int) -> None:
        """Its main process runs."""
        now = time.time_ns()
        self.values |= {"main": _identity(pid), "started_at": now}
        self._write()
        self._tell("started", now)

    def failed(self, program: str, error: OSError) -> int:
        """Its program could not be started; returns the exit code that stands for it."""
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        code = NOT_FOUND_EXIT_CODE if missing else NOT_EXECUTABLE_EXIT_CODE
        now = time.time_ns()
        self.values |= {"error": f"{program}: {error.strerror or error}", "exit_code": code}
        self.values |= {"started_at": self.values.get("started_at", now), "finished_at": now}
        self._write()
        return code

    def restarting(self, exit_code: int, at: int) -> None:
        """Its main process ended and is started again after a pause."""
        self.values |= {"main": None, "exit_code": exit_code, "restarting": True}
        self._write()
        self._tell("died", at, exit_code)

    def restarted(self, pid: int) -> None:
        """Its main process runs again."""
        count = self.values.get("restart_count", 0) + 1
        self.values |= {"exit_code": None, "restarting": False, "restart_count": count}
        self.started(pid)

    def ended(self, exit_code: int, at: int, *, told: bool = False) -> None:
        """Its main process ended for good; `told` when that is known already."""
        self.values |= {"exit_code": exit_code, "finished_at": at, "restarting": False}
        self._write()
        if not told:
            self._tell("died", at, exit_code)

    def _write(self) -> None:
        unfinished = self._folder / ".state.json"
        unfinished.write_text(json.dumps(self.values))
        unfinished.replace(self._folder / "state.json")

    def _tell(self, kind: str, at: int, exit_code: int | None = None) -> None:
        line = {"at": at, "service": self.values["service"], "kind": kind, "exit_code": exit_code}
        # One write to a file opened for appending: lines of several keepers never mix.
        with (self._folder.parent.parent / "events.jsonl").open("ab", buffering=0) as events:
            events.write(json.dumps(line).encode() + b"\n")


def _end_children() -> None:
    """Kill everything below this process. Orphans become children of ours, so that it gets to them all."""
    while True:
        for pid in _children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    me = os.getpid()
    try:
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:  # no /proc on this system: the main process was all there is to end
        return []
    return [pid for pid in numbers if _stat(pid)[0] == me]


def _identity(pid: int) -> list[int]:
    """A process's number and the clock tick it began at: together never used again."""
    return [pid, _stat(pid)[1]]


def _stat(pid: int) -> tuple[int, int]:
    """A process's parent and starting tick; zeros when it is gone or the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - read in a loop over all processes
            # The program's name, in brackets, may hold anything; what follows the last one is fields.
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0, 0


def _hurry() -> None:
    """Be run soon after output comes, where that is allowed: it keeps two streams in order under load."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS - HASTE)


def _become_subreaper() -> None:
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        LIBC.prctl(option, value, 0, 0, 0)


LIBC = ctypes.CDLL(None)


def _answer(value: dict[str, Any]) -> None:
    """Tell whoever started the keeper; nobody may be listening any more."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(value).encode() + b"\n")
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
