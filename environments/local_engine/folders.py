"""Where the local engine keeps what it knows: one private folder per environment, nothing in memory.

    <root>/<environment>/labels.json            whose it is; written first, removed last
                        /ports.json             service → container port → port on this machine
                        /events.jsonl           appended to by the engine and by every keeper
                        /volumes/<name>/        named volumes
                        /services/s-<name>/     program.json, state.json, log, root/, mounts/, data/ …

Any process can therefore read, stop and remove what another one, by now dead, has started.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from environments.labels import EnvironmentRef, labels_for, ref_from
from environments.local_engine.processes import Identity
from environments.spec import HealthCheck

logger = logging.getLogger(__name__)

#: After this, in seconds, a folder that was never finished is nobody's.
UNFINISHED_SECONDS = 3600
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Program:
    """What runs as a service: everything that its keeper and `execute` need."""

    service: str
    argv: list[str]
    cwd: str
    environment: Mapping[str, str]
    #: What is said to run: shown as the service's image.
    title: str
    stop_signal: str
    grace_seconds: float
    #: ``no``, ``always``, ``on-failure`` or ``unless-stopped``.
    restart: str = "no"
    #: The program of a preset, for example ``postgres``; empty for a command.
    preset: str = ""
    #: Absolute path in the service → path on this machine.
    paths: Mapping[str, str] = field(default_factory=dict)
    #: Network name and port of a service → port on this machine, as ``name:port`` → port.
    addresses: Mapping[str, int] = field(default_factory=dict)
    #: The service's own container ports → ports on this machine, the first one is its main one.
    own_ports: Mapping[str, int] = field(default_factory=dict)
    healthcheck: HealthCheck | None = None

    def to_json(self) -> str:
        """The text of ``program.json``."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        values = json.loads(text)
        if check := values["healthcheck"]:
            values["healthcheck"] = HealthCheck(**check | {"test": tuple(check["test"])})
        return cls(**values)


@dataclass(frozen=True, slots=True)
class State:
    """What the keeper wrote down of the service's last start; moments in nanoseconds since the epoch."""

    keeper: Identity
    main: Identity | None = None
    started_at: int | None = None
    finished_at: int | None = None
    exit_code: int | None = None
    error: str = ""
    restart_count: int = 0
    #: It ended and is about to be started again.
    is_restarting: bool = False


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What probes of one start said."""

    #: Which start, by the state's `started_at`.
    started_at: int
    status: str
    failures: int = 0
    #: What the last probes said, oldest first.
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceFolder:
    """One service's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The service's name."""
        return self.path.name.removeprefix("s-")

    @property
    def log(self) -> Path:
        """Output, as the keeper writes it."""
        return self.path / "log"

    @property
    def data(self) -> Path:
        """Data of a preset's program."""
        return self.path / "data"

    @property
    def prepared(self) -> Path:
        """The mark that a preset's data is whole; its server must not be taken for ready without it."""
        return self.path / "prepared"

    @property
    def private_root(self) -> Path:
        """What stands for the service's own file system."""
        return self.path / "root"

    def create(self, program: Program) -> None:
        """Make the folder, whole or not at all."""
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.path.parent))
        for place in ("root/tmp", "root/home", "mounts"):
            (new / place).mkdir(parents=True)
        (new / "program.json").write_text(program.to_json())
        (new / "created").write_text(str(time.time_ns()))
        new.rename(self.path)

    def program(self) -> Program | None:
        """What runs; None when the service was not created."""
        try:
            return Program.from_json((self.path / "program.json").read_text())
        except FileNotFoundError:
            return None

    def created_at(self) -> int:
        """When it was created, in nanoseconds since the epoch."""
        return int((self.path / "created").read_text())

    def state(self) -> State | None:
        """What the keeper last wrote; None when the service was never started."""
        try:
            values: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        except FileNotFoundError:
            return None
        main = values.get("main")
        return State(
            keeper=Identity(*values["keeper"]),
            main=Identity(*main) if main else None,
            started_at=values.get("started_at"),
            finished_at=values.get("finished_at"),
            exit_code=values.get("exit_code"),
            error=values.get("error", ""),
            restart_count=values.get("restart_count", 0),
            is_restarting=values.get("restarting", False),
        )

    def tell_to_stop(self) -> None:
        """From now on no end is followed by a restart."""
        (self.path / "told-to-stop").touch()

    def allow_restarts(self) -> None:
        """It is being started: what was told it before is over."""
        (self.path / "told-to-stop").unlink(missing_ok=True)

    def conclude(self, exit_code: int) -> None:
        """Write the end of a service whose keeper was killed before it could."""
        values: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        values |= {"exit_code": exit_code, "finished_at": time.time_ns(), "restarting": False}
        _replace(self.path / "state.json", json.dumps(values))

    def health(self) -> HealthRecord | None:
        """What probes said; None when none was asked."""
        try:
            values = json.loads((self.path / "health.json").read_text())
        except FileNotFoundError:
            return None
        return HealthRecord(**values | {"outputs": tuple(values["outputs"])})

    def write_health(self, record: HealthRecord) -> None:
        """Record what probes said; a service that is being removed has no place for it."""
        with suppress(FileNotFoundError):
            _replace(self.path / "health.json", json.dumps(asdict(record)))


@dataclass(frozen=True, slots=True)
class EnvironmentFolder:
    """One environment's folder."""

    path: Path

    @classmethod
    def of(cls, root: Path, name: str) -> Self:
        """The folder of the environment of that name; it need not exist."""
        if not NAME.fullmatch(name):
            message = f"not a name for an environment: {name!r}"
            raise ValueError(message)
        return cls(root / name)

    @property
    def events(self) -> Path:
        """What happened, one JSON object a line."""
        return self.path / "events.jsonl"

    def create(self, environment: EnvironmentRef) -> None:
        """Make the folder with its labels, whole or not at all; one that exists is adopted."""
        if self.labels() is not None:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(self.path.parent)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.path.parent))
        (new / "labels.json").write_text(json.dumps(labels_for(environment)))
        (new / "volumes").mkdir()
        (new / "services").mkdir()
        (new / "events.jsonl").touch(mode=0o600)
        try:
            new.rename(self.path)
        except OSError:  # another thread was first
            shutil.rmtree(new, ignore_errors=True)
            if self.labels() is None:
                raise

    def labels(self) -> EnvironmentRef | None:
        """Whose it is; None when there is no such environment."""
        try:
            return ref_from(json.loads((self.path / "labels.json").read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:  # somebody else's hand: one such folder must not keep the others from being found
            logger.warning("%s holds no labels that can be read", self.path)
            return None

    def service(self, name: str) -> ServiceFolder:
        """The folder of a service; it need not exist."""
        if not NAME.fullmatch(name.lstrip(".-")):
            message = f"not a name for a service: {name!r}"
            raise ValueError(message)
        return ServiceFolder(self.path / "services" / f"s-{name}")

    def services(self) -> list[ServiceFolder]:
        """Every service that was created, by name."""
        return [ServiceFolder(path) for path in sorted((self.path / "services").glob("s-*"))]

    def ports(self) -> dict[str, dict[str, int]]:
        """Service → container port → port on this machine; empty when there are none."""
        try:
            ports: dict[str, dict[str, int]] = json.loads((self.path / "ports.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return ports

    def write_ports(self, ports: Mapping[str, Mapping[str, int]]) -> None:
        """Record the ports that were chosen."""
        _replace(self.path / "ports.json", json.dumps(ports))

    def tell(self, service: str, kind: str, exit_code: int | None = None) -> None:
        """Append an event, stamped now; an environment that has gone has nobody to tell."""
        line = {"at": time.time_ns(), "service": service, "kind": kind, "exit_code": exit_code}
        with suppress(FileNotFoundError, NotADirectoryError):
            # Never creates: the file of an environment that is being removed must not come back.
            descriptor = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, json.dumps(line).encode() + b"\n")
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Delete the folder, its labels last: half deleted, it is still found. Raises OSError."""
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in self.path.iterdir():
                if path.name == "labels.json":
                    continue
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            (self.path / "labels.json").unlink(missing_ok=True)
            self.path.rmdir()


def _sweep(root: Path) -> None:
    """Remove what processes that were killed while making a folder have left."""
    for path in root.glob(".new-*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > UNFINISHED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _replace(path: Path, text: str) -> None:
    """Write a file so that readers see it whole: the old one or the new one, whoever else writes it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    unfinished.write_text(text)
    unfinished.replace(path)


def environment_folders(root: Path) -> Iterator[EnvironmentFolder]:
    """Every environment below the root."""
    with suppress(FileNotFoundError):
        for path in sorted(root.iterdir()):
            if NAME.fullmatch(path.name) and path.is_dir():
                yield EnvironmentFolder(path)
