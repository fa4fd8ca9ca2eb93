"""What a container shares with its neighbours, whom it asks for names, how it is reached: more payload.

All of it stays inside the environment: names of containers are made here from names of its services, and a
published port is one of the engine host's loopback.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from environments.docker_engine.payload import container_name
from environments.labels import EnvironmentRef
from environments.spec import EnvironmentSpec, MountKind, ServiceSpec

LOOPBACK: Final = "127.0.0.1"
_OWN_IPC: Final = frozenset({"none", "private", "shareable"})


def add_to(
    config: dict[str, Any], environment: EnvironmentRef, spec: EnvironmentSpec, service: ServiceSpec
) -> None:
    """Add them to the body of the create call, only what is asked for."""
    asked = {
        "PidMode": _joined(environment, spec, service.privileges.get("pid")),
        "IpcMode": _ipc(environment, spec, service),
        "VolumesFrom": _volumes_from(environment, spec, service),
        "GroupAdd": list(service.group_add),
        "Dns": list(service.dns),
        "DnsSearch": list(service.dns_search),
        "DnsOptions": list(service.dns_options),
        "PortBindings": {str(port): [{"HostIp": LOOPBACK, "HostPort": ""}] for port in service.published},
    }
    config["HostConfig"] |= {key: value for key, value in asked.items() if value}


def with_shared_files(spec: EnvironmentSpec, service: ServiceSpec) -> ServiceSpec:
    """The service with the single files that are bound in those whose volumes it takes: they are no volumes,
    so the engine does not share them. What it mounts itself at their place is nearer."""
    taken = {mount.target for mount in service.mounts}
    shared = []
    for entry in service.privileges.get("volumes_from") or ():
        other, _, mode = str(entry).partition(":")
        for mount in spec.services[other].mounts if other in spec.services else ():
            if (
                mount.target not in taken
                and mount.kind is MountKind.BIND
                and Path(mount.source or "").is_file()
            ):
                taken.add(mount.target)
                shared.append(replace(mount, read_only=mount.read_only or mode == "ro"))
    return replace(service, mounts=(*service.mounts, *shared)) if shared else service


def _joined(environment: EnvironmentRef, spec: EnvironmentSpec, mode: object) -> str:
    """A namespace of another service; of nobody else."""
    kind, _, other = str(mode or "").partition(":")
    if kind != "service" or other not in spec.services:
        return ""
    return f"container:{container_name(environment, other)}"


def _ipc(environment: EnvironmentRef, spec: EnvironmentSpec, service: ServiceSpec) -> str:
    """Its own memory for messages, unless it joins another's; one that others join has to offer it."""
    mode = str(service.privileges.get("ipc") or "")
    if joined := _joined(environment, spec, mode):
        return joined
    if mode in _OWN_IPC:
        return mode
    wanted = f"service:{service.name}"
    is_joined = any(other.privileges.get("ipc") == wanted for other in spec.services.values())
    return "shareable" if is_joined else ""


def _volumes_from(environment: EnvironmentRef, spec: EnvironmentSpec, service: ServiceSpec) -> list[str]:
    named = []
    for entry in service.privileges.get("volumes_from") or ():
        other, _, mode = str(entry).partition(":")
        if other in spec.services and mode in {"", "ro", "rw"}:
            named.append(f"{container_name(environment, other)}{':' if mode else ''}{mode}")
    return named
