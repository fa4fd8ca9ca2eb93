"""How a person gets inside a container from a shell: commands of the docker command line, ready to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from docker.utils import kwargs_from_env

from environments.docker_engine import answers
from environments.docker_engine.payload import NANOSECONDS
from environments.engine import ServiceStatus, WayIn
from environments.labels import EnvironmentRef
from environments.presets import preset_for
from environments.spec import ServiceSpec

DEFAULT_SOCKETS = ("", "unix:///var/run/docker.sock", "unix:///run/docker.sock")
TAIL_LINES = 200


def way_in(
    environment: EnvironmentRef, service: ServiceSpec, facts: Mapping[str, Any] | None, base_url: str | None
) -> WayIn:
    """The way into a container; `facts` is its inspection, `base_url` where its engine is said to be."""
    if facts is None:
        raise answers.unknown(environment, service.name)
    engine_address = base_url or str(kwargs_from_env().get("base_url") or "")
    status = answers.state(service.name, facts).status
    host = facts["HostConfig"]
    return WayIn(
        addresses=tuple(_addresses(service, facts)) if status is ServiceStatus.RUNNING else (),
        commands=tuple(_commands(service, facts, status, command_line(engine_address))),
        memory_limit_bytes=host.get("Memory") or None,
        cpu_limit=(host.get("NanoCpus") or 0) / NANOSECONDS or None,
    )


def command_line(engine_address: str) -> str:
    """The docker command that speaks to this engine; the address as `DOCKER_HOST` has it, or the SDK."""
    address = engine_address.replace("http+unix://", "unix://", 1)
    if address in DEFAULT_SOCKETS:
        return "docker"
    target = urlsplit(address)
    if target.scheme in {"http", "https", "tcp"}:
        tls = "--tlsverify " if target.scheme == "https" else ""
        return f"docker {tls}-H {shlex.quote(f'tcp://{target.netloc}')}"
    return f"docker -H {shlex.quote(address)}"


def _commands(
    service: ServiceSpec, facts: Mapping[str, Any], status: ServiceStatus, docker: str
) -> Iterator[tuple[str, str]]:
    name = shlex.quote(facts["Name"].lstrip("/"))
    if status is ServiceStatus.PAUSED:
        yield "Let it go on", f"{docker} unpause {name}"
    if status is ServiceStatus.RUNNING:
        preset = preset_for(service)
        if preset is not None and preset.client:
            yield f"{preset.client.split()[-1]} in it", f"{docker} exec -it {name} {_shell(preset.client)}"
        yield "A shell in it", f"{docker} exec -it {name} sh"
    yield "What it printed", f"{docker} logs --timestamps --tail {TAIL_LINES} {name}"
    if status is ServiceStatus.RUNNING:
        yield "What it prints, as it comes", f"{docker} logs --follow --tail 0 {name}"
        yield "What it uses now", f"{docker} stats {name}"
    yield "Files that it wrote", f"{docker} diff {name}"
    place = facts["Config"].get("WorkingDir") or "/tmp"  # noqa: S108 - of the container, and there in most
    yield "Its folder, copied here", f"{docker} cp {shlex.join([f'{facts["Name"].lstrip("/")}:{place}'])} ."


def _shell(line: str) -> str:
    return f"sh -c {shlex.quote(line)}"


def _addresses(service: ServiceSpec, facts: Mapping[str, Any]) -> Iterator[str]:
    """Where its ports are reached from the engine's machine."""
    networks = (facts["NetworkSettings"].get("Networks") or {}).values()
    own = [str(network["IPAddress"]) for network in networks if network.get("IPAddress")]
    for address in own:
        for port in _ports(service, facts):
            yield f"{address}:{port}"


def _ports(service: ServiceSpec, facts: Mapping[str, Any]) -> Sequence[int]:
    exposed = {
        int(port.partition("/")[0])
        for port in facts["Config"].get("ExposedPorts") or {}
        if port.endswith("/tcp")
    }
    preset = preset_for(service)
    return sorted(exposed | ({preset.port} if preset is not None else set()))
