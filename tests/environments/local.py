"""The local engine with one environment, for its tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from environments.engine import ServiceState, ServiceStatus
from environments.errors import (
    DeadlineExceededError,
    EnvironmentFailedError,
)
from environments.labels import EnvironmentRef
from environments.local_engine import LocalEngine
from environments.local_engine.folders import EnvironmentFolder
from environments.local_engine.processes import FOLDER_VARIABLE
from environments.probes import probe_command, steadily, wait_until
from environments.spec import (
    EnvironmentSpec,
    ServiceSpec,
    VolumeSpec,
)

REF = EnvironmentRef(name="itd-0000002a-1", instance="tests", owner="run:42", fence=1, expires=2_000_000_000)


ROOT = Path(__file__).parents[2]


def python(name: str, code: str, **rest: object) -> ServiceSpec:
    """A service that runs a few lines of Python."""
    return ServiceSpec(name=name, command=("python3", "-c", textwrap.dedent(code)), image="python", **rest)  # type: ignore[arg-type]


@dataclass
class Local:
    """An engine with one environment."""

    root: Path
    directory: Path
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.engine = LocalEngine(self.root)

    @property
    def spec(self) -> EnvironmentSpec:
        return EnvironmentSpec(
            services=self.services,
            volumes={name: VolumeSpec(name) for name in self.volumes},
            directory=self.directory,
        )

    def up(self, *services: ServiceSpec) -> None:
        self.services |= {service.name: service for service in services}
        self.engine.create_environment(REF, self.spec)
        for service in services:
            self.engine.create_service(REF, self.spec, service)
            self.engine.start_service(REF, service.name)

    def state(self, service: str) -> ServiceState:
        return self.engine.inspect_service(REF, service)

    def log(self, service: str) -> list[str]:
        return [line.text for line in self.engine.logs(REF, service)]

    def ended(self, service: str) -> ServiceState:
        self.until(lambda: self.state(service).status is ServiceStatus.EXITED)
        return self.state(service)

    def says(self, service: str, text: str) -> None:
        self.until(lambda: any(text in line for line in self.log(service)))

    def ready(self, service: str) -> None:
        check = self.engine.healthcheck(REF, service)
        assert check is not None
        command = probe_command(check)
        try:
            self.until(lambda: self.engine.execute(REF, service, command, timeout_seconds=5).exit_code == 0)
        except (DeadlineExceededError, EnvironmentFailedError) as error:
            error.add_note("\n".join(self.log(service)))
            raise

    def until(self, check: Callable[[], object]) -> None:
        wait_until(check, deadline_seconds=20, pauses=steadily(0.02))

    def processes(self) -> list[psutil.Process]:
        return belonging_to(self.root / REF.name)


def belonging_to(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(FOLDER_VARIABLE) == str(folder) and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def keeper_of(local: Local, service: str) -> psutil.Process:
    state = EnvironmentFolder.of(local.root, REF.name).service(service).state()
    assert state is not None
    keeper = state.keeper.process()
    assert keeper is not None
    return keeper
