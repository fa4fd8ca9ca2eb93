"""The shop as plain processes on this machine behind the real control API: no engine, no containers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from environments import wheels
from environments.control import ControlServer, MarkPhase
from environments.engine import LogLine, ServiceState, ServiceStatus
from environments.probes import wait_until
from tests.conftest import ROOT
from tests.controls import NoDepths
from tests.ports import free_ports

SHOP = ROOT / "examples" / "shop"
TOKEN = "sample-control-token"
PROGRAMS = {
    "user-service": "shop.users",
    "order-service": "shop.orders",
    "notification-service": "shop.notifications",
}


@dataclass
class ShopProcesses(NoDepths):
    """A running shop; implements the `Controls` that its own tests call. Use `running_shop`."""

    variables: dict[str, str]
    ports: dict[str, int]
    folder: Path
    marks: list[tuple[str, MarkPhase]] = field(default_factory=list)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a Python module in the shop's folder and wait for its end."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=SHOP,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, name: str) -> None:
        if name == "valkey":
            self._start_valkey()
            return
        port = {"HOST": "127.0.0.1", "PORT": str(self.ports[name])}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", PROGRAMS[name]],
                cwd=SHOP,
                env={**self.variables, **port},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(
            lambda: self.run("shop.health", **port).returncode == 0 or self._complaint(name),
            deadline_seconds=30,
        )

    def _start_valkey(self) -> None:
        launch = wheels.valkey_launch(self.folder / "valkey", sockets=self.sockets, settings={"save": ""})
        process = subprocess.Popen(
            launch.command, **launch.place(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self._processes["valkey"] = process
        wheels.wait_for_valkey(process, self.sockets)

    @property
    def sockets(self) -> Path:
        return wheels.socket_folder(self.folder / "sockets")

    def stop(self, name: str) -> None:
        if process := self._processes.pop(name, None):
            process.terminate()
            # On SIGTERM a service ends at once; one that dawdles would cost every run of every suite.
            assert process.wait(timeout=2) == 0

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def mark(self, test: str, phase: MarkPhase) -> None:
        self.marks.append((test, phase))

    def services(self) -> Sequence[ServiceState]:
        return [
            ServiceState(name, ServiceStatus.RUNNING if name in self._processes else ServiceStatus.EXITED)
            for name in (*PROGRAMS, "valkey")
        ]

    def pause(self, name: str) -> None:
        raise NotImplementedError

    def unpause(self, name: str) -> None:
        raise NotImplementedError

    def kill(self, name: str) -> None:
        raise NotImplementedError

    def logs(self, name: str, since: datetime | None) -> Iterable[LogLine]:
        raise NotImplementedError

    def _complaint(self, name: str) -> bool:
        if (code := self._processes[name].poll()) is None:
            return False
        message = f"{name} ended with {code}: {(self.folder / f'{name}.log').read_text()}"
        raise AssertionError(message)


@contextmanager
def running_shop(folder: Path) -> Iterator[ShopProcesses]:
    """The shop's services on free ports, on a database and a Valkey of their own, stopped at the end."""
    with scratch_database() as database_url, ExitStack() as stack:
        ports = dict(zip(PROGRAMS, free_ports(len(PROGRAMS)), strict=True))
        shop = ShopProcesses(variables={}, ports=ports, folder=folder)
        shop.start("valkey")
        stack.callback(wheels.remove_socket_folder, folder / "sockets")
        stack.callback(shop.stop, "valkey")
        server = stack.enter_context(ControlServer(shop, token=TOKEN, address="127.0.0.1"))
        shop.variables |= shop_variables(ports) | {
            "DATABASE_URL": database_url,
            "QUEUE_URL": wheels.valkey_url(shop.sockets),
            "ITDASH_CONTROL_URL": server.url,
            "ITDASH_CONTROL_TOKEN": TOKEN,
        }
        migrated = shop.run("shop.migrate")
        assert migrated.returncode == 0, migrated.stderr
        for name in PROGRAMS:
            shop.start(name)
            stack.callback(shop.stop, name)
        yield shop


@contextmanager
def scratch_database() -> Iterator[str]:
    """The address of an empty database on the tests' server, dropped at the end."""
    url = os.environ["DATABASE_URL"]
    name = f"shop_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield make_conninfo(url, dbname=name)
        finally:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def shop_variables(ports: Mapping[str, int]) -> dict[str, str]:
    addresses = {
        f"{name.upper().replace('-', '_')}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()
    }
    return {**addresses, "PATH": os.environ["PATH"], "SHOP_TOKEN": "sample", "SHOP_FLAKE_RATE": "0"}
