"""The engines that the contract holds, and environments on them that are always removed."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from environments.docker_engine import DockerEngine
from environments.docker_engine.helper import HelperImage
from environments.engine import Engine, EngineEvent, LogLine, ServiceState, ServiceStatus
from environments.labels import EnvironmentRef
from environments.local_engine import LocalEngine
from environments.probes import steadily, wait_until
from environments.spec import EnvironmentSpec, ServiceSpec

PATIENCE_SECONDS = 20.0
HELPER = HelperImage(image="itdash-lab/net:1")


@dataclass
class Place:
    """One environment on one engine, with the calls of the contract shortened."""

    engine: Engine
    ref: EnvironmentRef
    spec: EnvironmentSpec = field(default_factory=lambda: EnvironmentSpec({}))

    def create(self, spec: EnvironmentSpec) -> None:
        self.spec = spec
        self.engine.create_environment(self.ref, spec)

    def start(self, *services: ServiceSpec) -> None:
        for service in services:
            self.engine.prepare_image(self.ref, service)
            self.engine.create_service(self.ref, self.spec, service)
            self.engine.start_service(self.ref, service.name)

    def up(self, spec: EnvironmentSpec) -> None:
        self.create(spec)
        self.start(*spec.services.values())

    def state(self, service: str) -> ServiceState:
        return self.engine.inspect_service(self.ref, service)

    def until(self, service: str, check: Callable[[ServiceState], bool]) -> ServiceState:
        def checked() -> ServiceState | None:
            state = self.state(service)
            return state if check(state) else None

        return wait_until(checked, deadline_seconds=PATIENCE_SECONDS, pauses=steadily(0.05))

    def until_ended(self, service: str) -> ServiceState:
        return self.until(service, lambda state: state.status is ServiceStatus.EXITED)

    def until_said(self, service: str, text: str) -> None:
        wait_until(
            lambda: text in self.texts(service), deadline_seconds=PATIENCE_SECONDS, pauses=steadily(0.05)
        )

    def lines(self, service: str) -> list[LogLine]:
        return list(self.engine.logs(self.ref, service))

    def texts(self, service: str) -> list[str]:
        return [line.text for line in self.lines(service)]


#: The socket of a Podman service with the lab's images: a third engine where it is set. Not in CI.
PODMAN = os.environ.get("ITDASH_TEST_PODMAN", "")
ENGINES = [pytest.param("docker", marks=pytest.mark.engine), "local", *(["podman"] if PODMAN else [])]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "local":
        yield LocalEngine(tmp_path / "environments")
        return
    docker = DockerEngine(PODMAN if request.param == "podman" else None, helper_image=HELPER)
    yield docker
    docker.close()


def ref_for(instance: str, shard: int = 1) -> EnvironmentRef:
    return EnvironmentRef(
        name=f"itd-{secrets.token_hex(4)}-{shard}",
        instance=instance,
        owner=f"contract:1/shard:{shard}",
        fence=1,
        expires=int(time.time()) + 600,
    )


@pytest.fixture
def instance() -> str:
    return f"contract-{secrets.token_hex(4)}"


@pytest.fixture
def place(engine: Engine, instance: str) -> Iterator[Place]:
    place = Place(engine, ref_for(instance))
    yield place
    assert engine.remove_environment(place.ref) == []


@pytest.fixture
def other_place(engine: Engine, instance: str) -> Iterator[Place]:
    place = Place(engine, ref_for(instance, shard=2))
    yield place
    assert engine.remove_environment(place.ref) == []


@pytest.fixture
def heard(place: Place) -> Iterator[list[EngineEvent]]:
    """Everything that happens to the place while the test runs."""
    stop = threading.Event()
    events: list[EngineEvent] = []
    listener = threading.Thread(
        target=_hear, args=(place.engine.events(place.ref, stop=stop), events), daemon=True
    )
    listener.start()
    yield events
    stop.set()
    listener.join(5)
    assert not listener.is_alive()


def _hear(stream: Iterator[EngineEvent], events: list[EngineEvent]) -> None:
    for event in stream:
        events.append(event)  # noqa: PERF402 - seen by the test as it comes, not at the end
