"""What keepers have written, read: a service's state, its log, the environment's events."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import IO

from environments.engine import (
    EngineEvent,
    EngineEventKind,
    Health,
    LogLine,
    ServiceState,
    ServiceStatus,
)
from environments.local_engine.folders import EnvironmentFolder, Program, ServiceFolder, State
from environments.local_engine.processes import is_stopped

#: How often a file that is followed is looked at, in seconds.
LOOK_SECONDS = 0.02
#: Below this, lines before a moment are read and left out.
NEAR_BYTES = 64 * 1024
KILLED_EXIT_CODE = 137


def moment(nanoseconds: int) -> datetime:
    """A moment in UTC from nanoseconds since the epoch, to the microsecond."""
    return datetime.fromtimestamp(nanoseconds // 10**9, tz=UTC).replace(
        microsecond=nanoseconds % 10**9 // 1000
    )


def answer_of(process: subprocess.Popen[bytes], *, seconds: float) -> Mapping[str, object] | None:
    """The one line of JSON with which a keeper says how the start went; None when it says nothing."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with process.stdout as stream, selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        line = stream.readline() if selector.select(seconds) else b""
    if not line:
        return None
    answer: Mapping[str, object] = json.loads(line)
    return answer


def runs(state: State | None) -> bool:
    """Whether a keeper still keeps it: once it has gone, the output is complete."""
    return state is not None and state.finished_at is None and state.keeper.process() is not None


def service_state(own: ServiceFolder, program: Program) -> ServiceState:
    """The service as it is now."""
    state = own.state()
    status = _status(state)
    health, outputs = _health(own, program, state, status)
    exit_code = state.exit_code if state else None
    if state and status is ServiceStatus.EXITED:
        # Without a last word of its keeper both were killed.
        exit_code = KILLED_EXIT_CODE if state.exit_code is None else state.exit_code
    return ServiceState(
        service=own.name,
        status=status,
        health=health,
        exit_code=exit_code,
        restart_count=state.restart_count if state else 0,
        created_at=moment(own.created_at()),
        started_at=moment(state.started_at) if state and state.started_at else None,
        finished_at=moment(state.finished_at) if state and state.finished_at else None,
        image=program.title,
        error=state.error if state else "",
        probe_outputs=outputs,
    )


def _status(state: State | None) -> ServiceStatus:
    if state is None:
        return ServiceStatus.CREATED
    if not runs(state):
        return ServiceStatus.EXITED
    if state.is_restarting:
        return ServiceStatus.RESTARTING
    main = state.main.process() if state.main else None
    return ServiceStatus.PAUSED if main is not None and is_stopped(main) else ServiceStatus.RUNNING


def _health(
    own: ServiceFolder, program: Program, state: State | None, status: ServiceStatus
) -> tuple[Health, tuple[str, ...]]:
    if program.healthcheck is None:
        return Health.NONE, ()
    record = own.health()
    if state is None or record is None or record.started_at != state.started_at:
        return Health.STARTING, ()
    # As the engines of containers do: what does not run is not well.
    health = Health(record.status) if status is not ServiceStatus.EXITED else Health.UNHEALTHY
    return health, record.outputs


def log_lines(
    own: ServiceFolder, *, since: datetime | None, follow: bool, stop: threading.Event
) -> Iterator[LogLine]:
    """Whole lines, oldest first; following ends with the service, when all it said was read."""
    file = None
    try:
        while True:
            # Asked before reading: what is written before the end is then read.
            state = own.state()
            ended = state is not None and not runs(state)
            if file is None and (file := _opened(own.log)) and since is not None:
                _seek_to(file, since)
            for line in _lines(file):
                at, mark, text = line.split(b" ", 2)
                stamp = moment(int(at))
                if since is None or stamp >= since:
                    yield LogLine(stamp, own.name, text.decode(errors="replace"), is_stderr=mark == b"e")
            if ended or not follow or stop.wait(LOOK_SECONDS):
                return
    finally:
        if file:
            file.close()


def _seek_to(file: IO[bytes], since: datetime) -> None:
    """Move before the first line of that moment: stamps only grow, so the place is found by halving."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > NEAR_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        at = file.readline().partition(b" ")[0]
        if at.isdigit() and moment(int(at)) < since:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline()


def tail(own: ServiceFolder, count: int) -> list[LogLine]:
    """The last lines of a log."""
    return list(deque(log_lines(own, since=None, follow=False, stop=threading.Event()), maxlen=count))


def events(folder: EnvironmentFolder, *, stop: threading.Event) -> Iterator[EngineEvent]:
    """What is written after this call. The file is held open: its last lines outlive its name."""
    file = _opened(folder.events)
    if file:
        file.seek(0, 2)
    return _events(folder, file, stop)


def _events(
    folder: EnvironmentFolder, file: IO[bytes] | None, stop: threading.Event
) -> Iterator[EngineEvent]:
    try:
        while True:
            last = stop.is_set()
            file = file or _opened(folder.events)
            for line in _lines(file):
                values = json.loads(line)
                yield EngineEvent(
                    at=moment(values["at"]),
                    service=values["service"],
                    kind=EngineEventKind(values["kind"]),
                    exit_code=values["exit_code"],
                )
            if last:
                return
            stop.wait(LOOK_SECONDS)
    finally:
        if file:
            file.close()


def _lines(file: IO[bytes] | None) -> Iterator[bytes]:
    """Every whole line that is there, without its newline; half a line is left for the next time."""
    if file is None:
        return
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), 1)
            return
        yield line[:-1]


def _opened(path: object) -> IO[bytes] | None:
    try:
        return open(str(path), "rb")  # noqa: PTH123 - the caller closes it
    except (FileNotFoundError, NotADirectoryError):
        return None
