"""What a container shares with its neighbours, whom it asks for names, how it is reached: more payload.

All of it stays inside the environment: names of containers are made here from names of its services, and a
published port is one of the engine host's loopback.
"""

from __future__ import annotations

from typing import Any, Final

from environments.docker_engine.payload import container_name
from environments.labels import EnvironmentRef
from environments.spec import EnvironmentSpec, ServiceSpec

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
