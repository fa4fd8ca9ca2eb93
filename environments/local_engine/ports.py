"""Ports on this machine for the container ports of an environment's services."""

from __future__ import annotations

import fcntl
import re
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from environments.errors import EnvironmentFailedError, FailureKind
from environments.local_engine.folders import EnvironmentFolder, environment_folders
from environments.spec import EnvironmentSpec, ServiceSpec
from environments.spec.ready import HttpProbe, TcpProbe, leaves

LOOPBACK = "127.0.0.1"
#: Below the range from which the system hands ports to outgoing connections, so that none of them takes one
#: of ours while its service is stopped; the system's own range is looked up where it says.
LOWEST_PORT = 20_000
HIGHEST_PORT = 32_767
TRIES = 2_000


def choose_ports(
    root: Path, folder: EnvironmentFolder, wanted: Mapping[str, Iterable[int]]
) -> dict[str, dict[str, int]]:
    """Choose and record a free port for every service's container port; recorded ones are kept.

    Two environments never get the same port: what is recorded below the root is taken, and choosing is done
    under a lock. A foreign program may still take a port between now and the service's start; that is found
    out at the start (`is_free`) and said.
    """
    with _lock(root):
        ports = folder.ports()
        taken = {port for other in environment_folders(root) for port in _recorded(other)}
        # A container port that looks like one of ours would be rewritten twice.
        taken |= {port for numbers in wanted.values() for port in numbers}
        for service, numbers in wanted.items():
            for number in numbers:
                if str(number) not in ports.setdefault(service, {}):
                    ports[service][str(number)] = port = _free_port(taken)
                    taken.add(port)
        folder.write_ports(ports)
        return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that were closed a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def wanted_ports(spec: EnvironmentSpec, presets: Mapping[str, int]) -> dict[str, list[int]]:
    """The container ports of every service, its main one first.

    Declared ones, the preset's, its own `PORT`, those its health check asks at, and those that the rest of
    the file reaches it by: a file that works with containers need not declare any.
    """
    words = [text for service in spec.services.values() for text in texts(service)]
    wanted = {}
    for service in spec.services.values():
        ports = list(service.ports)
        if service.name in presets:
            ports.append(presets[service.name])
        if (own := service.environment.get("PORT", "")).isdecimal():
            ports.append(int(own))
        if service.healthcheck:
            ports += _mentioned(
                "localhost|127\\.0\\.0\\.1|0\\.0\\.0\\.0|\\[::1?\\]", service.healthcheck.test
            )
        ports += [probe.port for probe in leaves(service.ready) if isinstance(probe, HttpProbe | TcpProbe)]
        names = "|".join(re.escape(name) for name in network_names(service))
        ports += _mentioned(names, words)
        wanted[service.name] = list(dict.fromkeys(ports))
    return wanted


def network_names(service: ServiceSpec) -> list[str]:
    """The names by which its peers reach a service."""
    aliases = [alias for names in service.networks.values() for alias in names]
    names = [service.name, *aliases, service.container_name, service.hostname]
    return [name for name in dict.fromkeys(names) if name]


def texts(service: ServiceSpec) -> Iterator[str]:
    """Every text of a service that may name a peer."""
    yield from service.environment.values()
    yield from service.command or ()
    yield from service.entrypoint or ()
    if service.healthcheck:
        yield from service.healthcheck.test
    local = service.extension.get("local")
    if isinstance(local, Mapping):
        command = local.get("command", ())
        yield from [command] if isinstance(command, str) else map(str, command)
        environment = local.get("environment")
        if isinstance(environment, Mapping):
            yield from map(str, environment.values())


def _mentioned(names: str, words: Iterable[str]) -> list[int]:
    pattern = re.compile(rf"(?<![\w.-])(?:{names}):(\d{{1,5}})(?![\w@])")
    return [int(number) for word in words for number in pattern.findall(word) if 0 < int(number) < 1 << 16]


def _free_port(taken: set[int]) -> int:
    highest = min(HIGHEST_PORT, _first_ephemeral_port() - 1)
    lowest = LOWEST_PORT if highest > LOWEST_PORT + TRIES else 1024
    for _ in range(TRIES):
        port = lowest + secrets.randbelow(highest - lowest + 1)
        if port not in taken and is_free(port):
            return port
    message = f"No free port between {lowest} and {highest} on this machine. Remove old environments."
    raise EnvironmentFailedError(message, kind=FailureKind.PORT)


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return HIGHEST_PORT + 1


def _recorded(folder: EnvironmentFolder) -> list[int]:
    return [port for ports in folder.ports().values() for port in ports.values()]


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    with (root / ".ports.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
