"""One command run to its end, with a limit on time and on output."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from environments.engine import ExecResult
from environments.local_engine.processes import kill

MAX_OUTPUT_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
NOT_FOUND, NOT_EXECUTABLE, TIMED_OUT = 127, 126, 124
SIGNAL_EXIT_BASE = 128
#: How often a command that has closed its output, or left it to a child, is looked at.
LOOK_SECONDS = 0.05


def run_command(
    command: Sequence[str], *, cwd: str, environment: Mapping[str, str], timeout_seconds: float
) -> ExecResult:
    """Run it in a session of its own; what is still there at the time-out is killed with all its children.

    It has ended when its own process has, even if it left something in the background that holds its output.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - a command of a trusted suite, no shell of ours
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = f"{command[0]}: {error.strerror or error}" if command else "no command"
        return ExecResult(NOT_FOUND if missing else NOT_EXECUTABLE, reason)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with process.stdout:
        output, timed_out = _read(process, process.stdout.fileno(), time.monotonic() + timeout_seconds)
    if timed_out:
        _kill_with_children(process)
        return ExecResult(TIMED_OUT, output, timed_out=True)
    code = process.returncode
    return ExecResult(code if code >= 0 else SIGNAL_EXIT_BASE - code, output)


def _read(process: subprocess.Popen[bytes], descriptor: int, deadline: float) -> tuple[str, bool]:
    kept = bytearray()
    os.set_blocking(descriptor, False)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            selector.select(min(left, LOOK_SECONDS))
            ended = process.poll() is not None
            closed = _take(descriptor, kept, to_the_end=ended)
            if closed and not ended:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(0.0, deadline - time.monotonic()))
                ended = process.returncode is not None
            if ended:
                return _text(kept), False
            if closed:
                break
    return _text(kept), True


def _take(descriptor: int, kept: bytearray, *, to_the_end: bool) -> bool:
    """Take what is there; True when nothing can come any more. Beyond the limit it is read and dropped."""
    while True:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        kept += data[: MAX_OUTPUT_BYTES - len(kept)]
        if not data or not to_the_end:
            return not data


def _text(kept: bytearray) -> str:
    return kept.decode(errors="replace")


def _kill_with_children(process: subprocess.Popen[bytes]) -> None:
    children: list[psutil.Process] = []
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    kill(children)
    process.wait()
