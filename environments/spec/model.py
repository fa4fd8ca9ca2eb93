"""What an environment is made of: the values that a Compose file comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from environments.spec.ready import Probe

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Condition(StrEnum):
    """What a dependant waits for."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class MountKind(StrEnum):
    """Where a mount's data lives."""

    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A service's health check. `test` starts with ``CMD`` or ``CMD-SHELL``, as in the engine's API."""

    test: tuple[str, ...]
    interval_seconds: float = 30.0
    timeout_seconds: float = 30.0
    retries: int = 3
    start_period_seconds: float = 0.0
    start_interval_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Dependency:
    """One arrow of the graph: the service waited for and what for."""

    service: str
    condition: Condition = Condition.STARTED
    required: bool = True


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount. `source` is an absolute host path inside the checkout (bind), the key of a top-level
    volume (volume) or None (anonymous volume, tmpfs)."""

    kind: MountKind
    target: str
    source: str | None = None
    read_only: bool = False
    size_bytes: int | None = None
    #: Of a tmpfs, as the kernel reads them: ``mode=1777``, ``uid=1000``, ``exec`` … without its size.
    options: tuple[str, ...] = ()
    #: A new volume is not filled with what the image has there.
    no_copy: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A port in the container."""

    number: int
    #: ``tcp``, ``udp`` or ``sctp``.
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file that a config or a secret puts into a service before it starts. `target` is absolute."""

    target: str
    #: Never shown: it may be a secret.
    content: bytes = field(repr=False)
    mode: int = 0o444
    uid: int = 0
    gid: int = 0
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is built. Paths are absolute."""

    context: Path
    dockerfile: str = "Dockerfile"
    dockerfile_inline: str | None = None
    args: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    target: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    no_cache: bool = False
    pull: bool = False
    #: Images whose layers may be used instead of building them anew.
    cache_from: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: ``none``, or None for the engine's own.
    network: str | None = None
    shm_size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service, fully resolved: interpolated, merged, normalised."""

    name: str
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    depends_on: tuple[Dependency, ...] = ()
    healthcheck: HealthCheck | None = None
    #: The file said ``healthcheck: {disable: true}`` or ``test: [NONE]``.
    healthcheck_disabled: bool = False
    #: ``x-itdash.ready``: in the health check's place where somebody waits for it; None without.
    ready: Probe | None = None
    #: How long it may take from its start to become ready, or to end well where that is awaited; None: as
    #: long as the environment has.
    start_timeout_seconds: float | None = None
    mounts: tuple[Mount, ...] = ()
    #: From `configs` and `secrets`.
    files: tuple[FileSpec, ...] = ()
    #: Network key → extra aliases on it. Never empty unless `network_mode` is set.
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    network_mode: str | None = None
    #: Network key → which of the service's networks its way out leads through: the highest wins.
    gateway_priorities: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    hostname: str | None = None
    domainname: str | None = None
    container_name: str | None = None
    working_dir: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: Container ports the service listens on, from `ports` and `expose`, in the file's order.
    ports: tuple[int, ...] = ()
    #: The same with their protocols, so that a port may stand there twice.
    listens: tuple[Port, ...] = ()
    #: Those to be reached from the engine's host, on its loopback alone: ``x-itdash: {publish: true}``.
    published: tuple[Port, ...] = ()
    init: bool = True
    stop_signal: str | None = None
    stop_grace_period_seconds: float = 10.0
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    #: Supplementary groups of its processes.
    group_add: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: Name servers, search domains and options of its resolver, below the engine's own.
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=lambda: EMPTY)
    shm_size_bytes: int | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    read_only: bool = False
    tty: bool = False
    stdin_open: bool = False
    pull_policy: str = "missing"
    platform: str | None = None
    #: The profiles that switch it on; empty for a service that always runs.
    profiles: tuple[str, ...] = ()
    #: What it asks of the host beyond an ordinary container (``privileged``, ``devices``, ``pid`` …), as
    #: written; `policy.check` refuses all of it.
    privileges: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    #: ``no``, ``always``, ``on-failure`` or ``unless-stopped``; restarts are counted and end in a failure.
    restart: str = "no"
    #: How often ``on-failure`` restarts it; 0 for as often as it fails.
    restart_attempts: int = 0
    #: How many containers it is. `with_replicas` makes a service of each.
    scale: int = 1
    #: The service's ``x-itdash`` block as read: ``preset``, ``ready``, ``start_timeout``, ``local`` …
    extension: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network of the environment."""

    name: str
    internal: bool = False
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: What it asks beyond an ordinary network (``external``, ``driver``, ``ipam`` …), as written.
    privileges: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A named volume of the environment."""

    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: What it asks beyond an ordinary volume (``external``, ``driver_opts`` …), as written.
    privileges: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """Everything an environment is made of."""

    services: Mapping[str, ServiceSpec]
    networks: Mapping[str, NetworkSpec] = field(default_factory=lambda: EMPTY)
    volumes: Mapping[str, VolumeSpec] = field(default_factory=lambda: EMPTY)
    #: The checkout: binds, builds and files that are read may not leave it.
    directory: Path = Path()
    #: The top-level ``x-itdash`` block as read.
    extension: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    #: How long all services together may take to become ready; None leaves it to the caller.
    start_timeout_seconds: float | None = None
    #: Whether services reach anything outside of the environment; when not, every network is internal.
    reaches_out: bool = True
    #: What was understood but ignored, one sentence each; shown on the run.
    notices: tuple[str, ...] = ()
    #: File and line of keys such as ``services.web.ports``, for messages about them.
    places: Mapping[str, tuple[str, int]] = field(default_factory=lambda: EMPTY)
    #: What an administrator granted the project (`environments.grants`); never read from a file.
    grants: frozenset[str] = frozenset()
