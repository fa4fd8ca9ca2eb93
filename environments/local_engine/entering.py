"""How a person gets at a service that is a process of this machine: folder, ports and environment."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

from environments import wheels
from environments.engine import WayIn
from environments.local_engine import inside
from environments.local_engine.folders import Program, ServiceFolder
from environments.local_engine.ports import LOOPBACK
from environments.local_engine.programs import POSTGRES

TAIL_LINES = 200
#: A log's lines are `<nanoseconds> <o|e> <text>`.
TEXT_ONLY = "cut -d ' ' -f 3-"


def way_in(own: ServiceFolder, program: Program) -> WayIn:
    """The way into a service, running or ended; nothing bounds what it uses."""
    addresses = tuple(
        f"{LOOPBACK}:{here} is its port {there}" for there, here in sorted(program.own_ports.items())
    )
    return WayIn(addresses=addresses, commands=tuple(_commands(own, program)))


def _commands(own: ServiceFolder, program: Program) -> Iterator[tuple[str, str]]:
    enter = shlex.join([sys.executable, "-I", "-S", inside.__file__, str(own.path)])
    if program.preset == POSTGRES:
        psql = _psql(program)
        yield "psql to it", f"{enter} sh -c {shlex.quote(psql)}"
    yield "A shell where it runs, with its environment", enter
    log = shlex.quote(str(own.log))
    yield "What it printed", f"tail -n {TAIL_LINES} {log} | {TEXT_ONLY}"
    yield "What it prints, as it comes", f"tail -n 0 -f {log} | {TEXT_ONLY}"
    yield "Its own files", f"ls -la {shlex.quote(str(own.private_root))}"


def _psql(program: Program) -> str:
    """The password comes from the environment of the shell that this is given to."""
    psql = shlex.quote(str(wheels.postgres_programs() / "psql"))
    port = next(iter(program.own_ports.values()))
    login = '-U "$POSTGRES_USER" -d "$POSTGRES_DB"'
    return f'PGPASSWORD="$POSTGRES_PASSWORD" exec {psql} -h {LOOPBACK} -p {port} {login}'
