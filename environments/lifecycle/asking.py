"""Whether a service is ready, by what its file says under ``x-itdash.ready``.

Ports are asked from here, over the service's own network, as its dependants will: no program inside has to
help, and a server that listens on its loopback alone is not taken for one that can be reached. Where the
network cannot be reached from here, the same is asked inside by whatever the image has.
"""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import IO, Final, cast

from environments.engine import ExecResult
from environments.errors import EnvironmentFailedError, FailureKind
from environments.lifecycle.session import Session
from environments.lifecycle.watching import LogFollowers
from environments.probes import OUTPUT_KEPT_CHARACTERS, ProbeOutcome, executed
from environments.spec import EMPTY
from environments.spec.ready import (
    AllOf,
    AnyOf,
    ExecProbe,
    FileProbe,
    HttpProbe,
    LogProbe,
    Probe,
    TcpProbe,
)

#: How much of an answer is read: enough for what says that a service is well.
BODY_BYTES: Final = 16 * 1024
#: A pattern is searched for in the beginning of each line.
LINE_CHARACTERS: Final = 500
#: Says 0 when somebody listens on port $1 on more than the loopback. Only a shell is needed.
LISTENS: Final = """
port=$(printf %04X "$1")
for table in /proc/net/tcp /proc/net/tcp6; do
  [ -r "$table" ] || continue
  while read -r _ here _ state _; do
    case "$here" in
      0100007F:*|0B00007F:*|00000000000000000000000001000000:*) ;;
      *:"$port") [ "$state" = 0A ] && exit 0 ;;
    esac
  done < "$table"
done
echo "nobody listens on port $1"
exit 1
"""
#: Writes the answer to the request $2 at port $1, with its head, by the first program that is there.
FETCHES: Final = """
if command -v python3 >/dev/null 2>&1; then
  exec python3 -c 'import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as asked:
    asked.sendall(sys.argv[2].encode())
    while data := asked.recv(16384):
        sys.stdout.buffer.write(data)' "$1" "$2"
elif command -v nc >/dev/null 2>&1; then
  printf %s "$2" | nc -w 5 127.0.0.1 "$1"
elif command -v bash >/dev/null 2>&1; then
  exec bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf %s "$2" >&3 && cat <&3' bash "$1" "$2"
else
  echo "the network of the service cannot be reached from here, and its image has no python3, nc or bash"
  exit 1
fi
"""


class Asker:
    """Asks the services of one environment."""

    def __init__(self, session: Session, followers: LogFollowers) -> None:
        self._session = session
        self._followers = followers

    def ask(self, name: str, probe: Probe) -> ProbeOutcome:
        """Ask once, all that has to be asked, each when it is its turn."""
        match probe:
            case AnyOf(probes):
                return self._one_of(name, probes)
            case AllOf(probes):
                return self._every(name, probes)
            case LogProbe():
                # Nothing is asked: the lines have come here by themselves.
                outcome = self._found(name, probe)
            case _:
                outcome = self._session.prober.in_turn(lambda: self._asked(name, probe))
        return _said(probe, outcome)

    def _one_of(self, name: str, probes: Sequence[Probe]) -> ProbeOutcome:
        outcomes = []
        for probe in probes:
            outcomes.append(self.ask(name, probe))
            if outcomes[-1].passed:
                break
        return _together(outcomes, passed=outcomes[-1].passed)

    def _every(self, name: str, probes: Sequence[Probe]) -> ProbeOutcome:
        outcomes = []
        for probe in probes:
            outcomes.append(self.ask(name, probe))
            if not outcomes[-1].passed:
                break
        return _together(outcomes, passed=outcomes[-1].passed)

    def _asked(self, name: str, probe: HttpProbe | TcpProbe | ExecProbe | FileProbe) -> ProbeOutcome:
        try:
            match probe:
                case HttpProbe():
                    return self._http(name, probe)
                case TcpProbe():
                    return self._tcp(name, probe)
                case ExecProbe(command, timeout):
                    return executed(command, timeout, lambda words, seconds: self.run(name, words, seconds))
                case FileProbe():
                    return self._file(name, probe)
        except (OSError, HTTPException) as error:
            return ProbeOutcome(passed=False, output=_reason(error))

    def run(
        self, name: str, command: Sequence[str], seconds: float, variables: Mapping[str, str] = EMPTY
    ) -> ExecResult:
        """Run a command inside; one that ended meanwhile, or is being restarted, has not answered."""
        session = self._session
        try:
            return session.engine.execute(
                session.ref, name, command, timeout_seconds=seconds, variables=variables
            )
        except EnvironmentFailedError as error:
            if error.kind is not FailureKind.SERVICE_EXITED:
                raise
            return ExecResult(exit_code=-1, output=str(error))

    def _found(self, name: str, probe: LogProbe) -> ProbeOutcome:
        found = self._followers.found(name, probe, since=self._session.board.of(name).last_ended_at)
        return ProbeOutcome(found >= probe.times, f"found {found} of {probe.times} times")

    def _tcp(self, name: str, probe: TcpProbe) -> ProbeOutcome:
        address = self._session.engine.reach(self._session.ref, name, probe.port)
        if address is None:
            words = ("/bin/sh", "-c", LISTENS, "sh", str(probe.port))
            return executed(words, probe.timeout_seconds, lambda *asked: self.run(name, *asked))
        with socket.create_connection(address, probe.timeout_seconds):
            return ProbeOutcome(passed=True, output="connected")

    def _http(self, name: str, probe: HttpProbe) -> ProbeOutcome:
        address = self._session.engine.reach(self._session.ref, name, probe.port)
        if address is None:
            words = ("/bin/sh", "-c", FETCHES, "sh", str(probe.port), _request(name, probe.port, probe.path))
            answer = self.run(name, words, probe.timeout_seconds)
            if answer.timed_out or answer.exit_code != 0:
                return executed(words, probe.timeout_seconds, lambda *_: answer)
            return judged(probe, _Recorded(answer.output.encode()))
        is_here = address[0].startswith("127.")
        host, port = (address[0], address[1]) if is_here else (name, probe.port)
        with socket.create_connection(address, probe.timeout_seconds) as connection:
            # A server that answers drop by drop would hold its turn for ever.
            end = threading.Timer(probe.timeout_seconds, _hang_up, (connection,))
            end.start()
            try:
                connection.sendall(_request(host, port, probe.path).encode())
                return judged(probe, connection)
            finally:
                end.cancel()

    def _file(self, name: str, probe: FileProbe) -> ProbeOutcome:
        result = self.run(name, ("test", "-e", probe.path), probe.timeout_seconds)
        if result.exit_code in {126, 127}:
            # An image without programs: the engine looks itself, where it can.
            session = self._session
            is_there = any(True for _ in session.engine.collect(session.ref, name, [probe.path]))
        else:
            is_there = result.exit_code == 0 and not result.timed_out
        return ProbeOutcome(is_there, "there" if is_there else result.output.strip() or "not there")


def judged(probe: HttpProbe, connection: socket.socket | _Recorded) -> ProbeOutcome:
    """What an HTTP server's answer says of it. Raises `HTTPException` for what is no HTTP."""
    with HTTPResponse(cast("socket.socket", connection), method="GET") as response:
        response.begin()
        body = response.read(BODY_BYTES).decode(errors="replace")
    said = f"{response.status} {response.reason}".strip()
    is_expected = (
        response.status in probe.statuses if probe.statuses else 200 <= response.status < 400  # noqa: PLR2004
    )
    is_found = probe.body is None or any(
        re.search(probe.body, line[:LINE_CHARACTERS]) for line in body.splitlines()
    )
    if is_expected and is_found:
        return ProbeOutcome(passed=True, output=said)
    missed = f", and {probe.body!r} is not in it" if is_expected else ""
    return ProbeOutcome(passed=False, output=f"{said}{missed}: {body.strip()}"[:OUTPUT_KEPT_CHARACTERS])


class _Recorded:
    """An answer that has been read already, for a reader of sockets."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> IO[bytes]:
        return io.BytesIO(self._data)


def _request(host: str, port: int, path: str) -> str:
    """HTTP/1.0: the answer ends where the connection does."""
    return f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: itdash\r\nAccept: */*\r\n\r\n"


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _together(outcomes: Sequence[ProbeOutcome], *, passed: bool) -> ProbeOutcome:
    """Several answers as one: of a tree that did not pass, all that did not."""
    told = [outcome for outcome in outcomes if outcome.passed is passed]
    seconds = sum(outcome.seconds for outcome in outcomes)
    output = "; ".join(outcome.output for outcome in told)
    return ProbeOutcome(passed, output[:OUTPUT_KEPT_CHARACTERS], seconds)


def _said(probe: Probe, outcome: ProbeOutcome) -> ProbeOutcome:
    """The answer with the question before it."""
    output = f"{probe}: {outcome.output}"[:OUTPUT_KEPT_CHARACTERS]
    return ProbeOutcome(outcome.passed, output, outcome.seconds)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return f"no HTTP: {error!r}"
