"""The Engine protocol: what an environment asks of whatever runs its services.

Two implementations stand behind it, held by one contract test suite: `docker_engine` (containers) and
`local_engine` (processes on this machine). Every call is synchronous and may raise
`EnvironmentFailedError`; only the engine knows its SDK's words and errors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import IO, Protocol

from environments.clamping import Ceiling
from environments.labels import EnvironmentRef
from environments.spec import EMPTY, EnvironmentSpec, HealthCheck, ServiceSpec

__all__ = [
    "Capabilities",
    "CollectedFile",
    "Direction",
    "Engine",
    "EngineEvent",
    "EngineEventKind",
    "EnvironmentRef",
    "ExecResult",
    "Feature",
    "Health",
    "LogLine",
    "Partition",
    "PartitionMode",
    "Room",
    "ServiceState",
    "ServiceStatus",
    "Usage",
    "WayIn",
]


class ServiceStatus(StrEnum):
    """What the engine says a service is doing."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    GONE = "gone"


class Health(StrEnum):
    """What the health check says; `NONE` when there is none."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service as the engine sees it now."""

    service: str
    status: ServiceStatus
    health: Health = Health.NONE
    exit_code: int | None = None
    out_of_memory: bool = False
    restart_count: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    #: The image or program that runs, with its digest where the engine knows one.
    image: str = ""
    #: What the engine itself says went wrong, for example why the program could not be started.
    error: str = ""
    #: Its published ports (``8080/tcp``) → where they are reached on the engine's host (``127.0.0.1:32768``).
    published: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: Outputs of the engine's own last health probes, oldest first, at most five, each cut at 1 KiB.
    probe_outputs: tuple[str, ...] = ()


class EngineEventKind(StrEnum):
    """What happened to a service."""

    CREATED = "created"
    STARTED = "started"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    OUT_OF_MEMORY = "out_of_memory"
    DIED = "died"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One happening, stamped by the engine's clock."""

    at: datetime
    service: str
    kind: EngineEventKind
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One whole line of a service's output, stamped by the engine's clock, without its newline."""

    at: datetime
    service: str
    text: str
    is_stderr: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running service had used up to one moment, by the engine's clock."""

    at: datetime
    #: Processor time since it was started, all processors together, in nanoseconds.
    cpu_ns: int
    #: Memory it holds now, without file cache that the system can take back.
    memory_bytes: int
    #: What it may hold; None where nothing but the machine bounds it.
    memory_limit_bytes: int | None = None
    #: How long it had to wait for its share of the processors, in nanoseconds since it was started; None
    #: where the engine does not bound processors.
    throttled_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command inside a service came to. `output` is both streams, decoded, cut at 64 KiB."""

    exit_code: int
    output: str
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class CollectedFile:
    """A file taken out of a service: its absolute path there, size in bytes and an open stream that is
    valid until the next one is asked for."""

    path: str
    size: int
    stream: IO[bytes]


class Direction(StrEnum):
    """Which packets are kept back, seen from the service whose network the rules stand in."""

    BOTH = "both"
    #: What the peers send to it.
    IN = "in"
    #: What it sends to the peers.
    OUT = "out"


class PartitionMode(StrEnum):
    """What becomes of a packet that is kept back."""

    #: It vanishes: whoever waits for an answer waits until their own time is up.
    DROP = "drop"
    #: It is answered with a refusal: connections are refused and broken off at once.
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Partition:
    """Who is kept from a service. `id`: eight hexadecimal digits, its own within the environment."""

    id: str
    peers: tuple[str, ...]
    mode: PartitionMode = PartitionMode.DROP
    direction: Direction = Direction.BOTH


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing in which engines differ."""

    name: str
    is_there: bool
    #: What was found, or why it is not there.
    text: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this engine is and can do, probed once."""

    engine: str
    version: str
    cpus: int
    memory_bytes: int
    #: What cannot be done here, each with the reason, for `doctor` and the run page.
    limits: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: What else is known of it, there or not.
    features: tuple[Feature, ...] = ()


@dataclass(frozen=True, slots=True)
class WayIn:
    """How a person gets inside a service, on the machine where the engine is, and what it may use there."""

    #: Where it is reached, each in words: an address, its port and what for.
    addresses: tuple[str, ...] = ()
    #: What a command does, and the command, ready for a shell; none holds a secret.
    commands: tuple[tuple[str, str], ...] = ()
    #: None where nothing but the machine bounds it.
    memory_limit_bytes: int | None = None
    cpu_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What is left on an engine for more environments; None where it has no bound or none that is known."""

    #: On the disk that images, services and their logs are written to.
    disk_free_bytes: int | None = None
    #: How many networks more there are subnets for, and of how many.
    networks_free: int | None = None
    networks_total: int | None = None


class Engine(Protocol):
    """Runs services. Names are unique within an environment; every method is safe to call from any
    thread, and every create is idempotent by name, so that a retry adopts what is there."""

    @property
    def name(self) -> str:
        """``docker`` or ``local``."""

    def capabilities(self) -> Capabilities:
        """Say what this engine is; raises ENGINE_UNAVAILABLE when it is not there."""

    def ceiling(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> Ceiling:
        """Say the most that one service can be granted here, as far as the spec asks for much. May try it
        out, with objects of the environment that are gone when this returns."""

    def room(self) -> Room:
        """Say what is left for more environments, at this moment."""

    def prepare_image(self, environment: EnvironmentRef, service: ServiceSpec) -> str:
        """Pull, build or find the service's image; return what will run.

        Raises IMAGE_MISSING or BUILD_FAILED.
        """

    def create_environment(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> None:
        """Create networks and volumes, labelled, before any service."""

    def create_service(
        self, environment: EnvironmentRef, spec: EnvironmentSpec, service: ServiceSpec
    ) -> None:
        """Create the service, labelled, not started. `service` carries its final environment variables."""

    def start_service(self, environment: EnvironmentRef, service: str) -> None:
        """Start it; return once the engine has. Raises PORT, OUT_OF_MEMORY … with evidence."""

    def stop_service(self, environment: EnvironmentRef, service: str, *, grace_seconds: float = 10.0) -> None:
        """Ask it to end, then make it."""

    def kill_service(self, environment: EnvironmentRef, service: str, *, signal: str = "SIGKILL") -> None:
        """Send a signal."""

    def pause_service(self, environment: EnvironmentRef, service: str) -> None:
        """Freeze it."""

    def unpause_service(self, environment: EnvironmentRef, service: str) -> None:
        """Let it go on."""

    def disconnect_service(self, environment: EnvironmentRef, service: str) -> Mapping[str, str]:
        """Take it off every network of the environment; return key → its address there, to connect it again.

        Raises UNSUPPORTED where `capabilities().limits` names ``disconnect``.
        """

    def connect_service(
        self, environment: EnvironmentRef, service: ServiceSpec, addresses: Mapping[str, str]
    ) -> None:
        """Put it back on the networks `disconnect_service` named, at its old address where that is free."""

    def partition_service(self, environment: EnvironmentRef, service: str, partition: Partition) -> None:
        """Keep it and its peers from each other; return when that is so. Done again, it holds for the
        addresses of now. What the service was told by its engine's name server is not touched.

        Raises UNSUPPORTED where `capabilities().limits` names ``partition`` or it turns out to be impossible,
        with nothing changed; SERVICE_EXITED when it or every peer does not run.
        """

    def heal_service(self, environment: EnvironmentRef, service: str, partition: Partition) -> bool:
        """Undo it; False when it runs and there was nothing to undo: it has begun anew since."""

    def inspect_service(self, environment: EnvironmentRef, service: str) -> ServiceState:
        """Say how it is; status `GONE` when the engine does not know it (any more)."""

    def healthcheck(self, environment: EnvironmentRef, service: str) -> HealthCheck | None:
        """Return the check that a created service really has, the file's or the image's; None when none."""

    def execute(
        self,
        environment: EnvironmentRef,
        service: str,
        command: Sequence[str],
        *,
        timeout_seconds: float,
        variables: Mapping[str, str] = EMPTY,
    ) -> ExecResult:
        """Run a command inside a running service. A command that cannot be found is exit code 127.

        Raises SERVICE_EXITED when the service does not run.
        """

    def reach(self, environment: EnvironmentRef, service: str, port: int) -> tuple[str, int] | None:
        """The address and port at which this process reaches a running service's port over its network, as
        its peers do and whether it is published or not. None where it cannot, or the service does not run."""

    def logs(
        self,
        environment: EnvironmentRef,
        service: str,
        *,
        since: datetime | None = None,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[LogLine]:
        """Whole lines, oldest first, from `since` (inclusive); with `follow` until the service ends or
        `stop` is set, which is noticed within a second. Raises `ServiceNotFoundError` on the first
        `next` when there is no such service."""

    def usage(self, environment: EnvironmentRef, service: str, *, stop: threading.Event) -> Iterator[Usage]:
        """What the service uses, about once a second while it runs, over restarts, until it is removed or
        `stop` is set, which is noticed within a second. Nothing comes while it does not run."""

    def events(self, environment: EnvironmentRef, *, stop: threading.Event) -> Iterator[EngineEvent]:
        """Everything from the moment of the call (not of the first `next`) until `stop` is set."""

    def collect(
        self, environment: EnvironmentRef, service: str, patterns: Sequence[str]
    ) -> Iterator[CollectedFile]:
        """Files inside the service (running or ended) whose absolute path matches a glob.

        ``**`` spans folders.
        """

    def way_in(self, environment: EnvironmentRef, service: ServiceSpec) -> WayIn:
        """How a person gets inside a created service, running or ended. Raises `ServiceNotFoundError`."""

    def host_address(self, environment: EnvironmentRef, networks: Sequence[str] = ()) -> str:
        """The address on which services of the environment reach a server in this process, and to which
        that server can bind. `networks`: keys of the networks the asking service is on; empty for any."""

    def remove_environment(self, environment: EnvironmentRef) -> list[str]:
        """Remove every object of it, forced and in parallel; idempotent. Returns what is still there."""

    def environments(self, instance: str) -> list[EnvironmentRef]:
        """Every environment of the installation of which anything exists, from labels alone."""
