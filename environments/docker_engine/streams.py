"""Streams from the engine: always closed, always stoppable, cut into whole lines."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import requests
import urllib3

from environments.engine import EngineEvent, EngineEventKind, LogLine
from environments.labels import SERVICE

HEADER = struct.Struct(">BxxxL")
STDERR = 2
READ_BYTES = 64 * 1024
#: A line without an end is cut here; nothing that long is read by a person.
LONGEST_LINE_BYTES = 1024 * 1024
CLOSER_PERIOD_SECONDS = 0.1

ACTIONS = {
    "create": EngineEventKind.CREATED,
    "start": EngineEventKind.STARTED,
    "health_status: healthy": EngineEventKind.HEALTHY,
    "health_status: unhealthy": EngineEventKind.UNHEALTHY,
    "oom": EngineEventKind.OUT_OF_MEMORY,
    "die": EngineEventKind.DIED,
    "pause": EngineEventKind.PAUSED,
    "unpause": EngineEventKind.UNPAUSED,
    "destroy": EngineEventKind.REMOVED,
    "died": EngineEventKind.DIED,
    "remove": EngineEventKind.REMOVED,
}
#: The same for the engine's own filter; exec events would drown the others.
#: Docker's words, and Podman's own for an end and a removal.
EVENT_FILTER = [
    *("create", "start", "health_status", "oom", "die", "pause", "unpause", "destroy", "died", "remove"),
]


class StreamCloser:
    """Ends blocked reads whose time has come: one thread for all streams of an engine.

    A read from the engine cannot be interrupted by the thread that waits in it. Shutting the socket down from
    here makes it return as if the stream had ended.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[requests.Response, Callable[[], bool]]] = {}
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, response: requests.Response, is_over: Callable[[], bool]) -> Iterator[None]:
        """While entered, shut the response down as soon as `is_over`; on leaving, close it in any case."""
        with self._lock:
            self._watched[id(response)] = (response, is_over)
            self._any.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="docker-stream-closer", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(id(response), None)
            response.close()

    def _run(self) -> None:
        never = threading.Event()
        while True:
            self._any.wait()
            never.wait(CLOSER_PERIOD_SECONDS)
            with self._lock:
                for response, is_over in list(self._watched.values()):
                    if is_over():
                        _shut_down(response)
                        del self._watched[id(response)]
                if not self._watched:
                    self._any.clear()


def _shut_down(response: requests.Response) -> None:
    try:
        response.raw.shutdown()
    except (OSError, RuntimeError, ValueError):
        # It ended by itself in this moment: nobody is blocked in it.
        return


def chunks(response: requests.Response, is_over: Callable[[], bool]) -> Iterator[bytes]:
    """The body as it comes; what breaks after `is_over` is the end, what breaks before is raised."""
    try:
        while data := response.raw.read1(READ_BYTES):
            yield data
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        if not is_over():
            raise


def frames(data: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Split the engine's multiplexed stream into (stream number, payload)."""
    buffer = bytearray()
    for chunk in data:
        buffer += chunk
        at = 0
        while len(buffer) - at >= HEADER.size:
            stream, length = HEADER.unpack_from(buffer, at)
            end = at + HEADER.size + length
            if len(buffer) < end:
                break
            yield stream, bytes(buffer[at + HEADER.size : end])
            at = end
        del buffer[:at]


def terminal_frames(data: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Split the stream of a service with a terminal, which is not multiplexed, at its line ends."""
    buffer = bytearray()
    for chunk in data:
        buffer += chunk
        *lines, rest = bytes(buffer).split(b"\n")
        yield from ((1, line.rstrip(b"\r") + b"\n") for line in lines)
        buffer = bytearray(rest)
    if buffer:
        yield 1, bytes(buffer)


def log_lines(service: str, stamped: Iterator[tuple[int, bytes]]) -> Iterator[LogLine]:
    """Whole lines from stamped frames.

    The engine cuts a line longer than 16 KiB into frames and stamps each; the first stamp is the line's.
    """
    open_lines: dict[int, tuple[datetime, bytearray]] = {}
    for stream, payload in stamped:
        stamp, _, text = payload.partition(b" ")
        at, line = open_lines.pop(stream) if stream in open_lines else (_moment(stamp.decode()), bytearray())
        line += text
        if line.endswith(b"\n") or len(line) >= LONGEST_LINE_BYTES:
            yield _line(service, stream, at, line)
        else:
            open_lines[stream] = (at, line)
    for stream, (at, line) in open_lines.items():
        yield _line(service, stream, at, line)


def _line(service: str, stream: int, at: datetime, line: bytearray) -> LogLine:
    text = line.removesuffix(b"\n").decode(errors="replace")
    return LogLine(at=at, service=service, text=text, is_stderr=stream == STDERR)


def output(stamped: Iterator[tuple[int, bytes]], limit: int) -> str:
    """Both streams of a command as text, its middle left out when it is longer than `limit` bytes."""
    kept = bytearray()
    lost = 0
    for _, payload in stamped:
        room = limit - len(kept)
        kept += payload[:room]
        lost += max(0, len(payload) - room)
    text = kept.decode(errors="replace")
    return f"{text}\n[{lost} bytes left out]" if lost else text


def events(data: Iterator[bytes]) -> Iterator[tuple[int, EngineEvent]]:
    """Engine events in our words, each with its moment in nanoseconds."""
    buffer = b""
    for chunk in data:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.strip() and (event := _event(json.loads(line))) is not None:
                yield event


def _event(said: dict[str, Any]) -> tuple[int, EngineEvent] | None:
    kind = ACTIONS.get(said.get("Action", ""))
    attributes = said.get("Actor", {}).get("Attributes", {})
    if kind is None or SERVICE not in attributes:
        return None
    nanoseconds = int(said["timeNano"])
    code = attributes.get("exitCode", attributes.get("containerExitCode"))
    return nanoseconds, EngineEvent(
        at=datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC),
        service=attributes[SERVICE],
        kind=kind,
        exit_code=int(code) if kind is EngineEventKind.DIED and code is not None else None,
    )


def moment(text: str) -> datetime | None:
    """A moment from the engine; None for its zero, which means never."""
    return None if not text or text.startswith("0001-") else _moment(text)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
