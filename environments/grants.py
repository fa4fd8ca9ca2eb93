"""What an administrator may grant a project beyond what everyone has. Plain.

A grant is a word: policy lets through what it names, the engine is sent it, and the last check on what is
sent knows it. What is not listed here nobody can grant, a namespace of the host's or a folder of its disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

#: Capabilities that every service may add: the engine's own default set, less the three that are taken away.
#: A service has all of them unless it drops them, so to add them asks for nothing.
CAPABILITIES: Final = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
#: Kernel settings that belong to a container's own network namespace and harm nobody outside it.
SYSCTLS: Final = frozenset(
    {
        "net.core.somaxconn",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_tw_reuse",
    }
)
HOST_GATEWAY: Final = "host-gateway"
_CAPABILITY: Final = "cap_add."
#: Every grant there is, and what it lets a service do.
GRANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "privileged": "be root on the engine's host",
        "devices": "use devices of the engine's host",
        "device_cgroup_rules": "use whole classes of the host's devices",
        "gpus": "use the host's graphics processors",
        "runtime": "choose another container runtime of the engine's",
        "cgroup_parent": "run under a control group of the host's, with that group's limits",
        HOST_GATEWAY: "reach the engine's host under a name",
        f"{_CAPABILITY}IPC_LOCK": "lock memory",
        f"{_CAPABILITY}MKNOD": "make device files",
        f"{_CAPABILITY}NET_ADMIN": "change its own network",
        f"{_CAPABILITY}NET_RAW": "send raw packets, to its neighbours as well",
        f"{_CAPABILITY}SYS_ADMIN": "mount, and much that leads out of the container",
        f"{_CAPABILITY}SYS_NICE": "put itself before other programs",
        f"{_CAPABILITY}SYS_PTRACE": "watch and change its own programs as a debugger does",
        f"{_CAPABILITY}SYS_RESOURCE": "exceed resource limits",
        f"{_CAPABILITY}SYS_TIME": "set the host's clock",
    }
)


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that one environment may be made of and ask for. Memory in bytes, processors whole ones."""

    services: int = 20
    networks: int = 5
    volumes: int = 10
    #: Of all services together: what the files ask for in words, and what the services really hold.
    memory_bytes: int = 4 * 1024**3
    #: Of all services together, as far as the files say; the rest share what the engine has.
    cpus: float = 2.0
    #: How long an environment's tests may take.
    seconds: float = 7200.0
    #: Registries, namespaces or repositories that images may be of, presets' and those that builds stand on
    #: too; empty: any.
    images: tuple[str, ...] = ()


def capability_name(capability: str) -> str:
    """A capability as the engine lists it: upper case, without `CAP_`."""
    return capability.upper().removeprefix("CAP_")


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet; any other belongs to a network of the engine's host."""
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def grant_for(capability: str) -> str | None:
    """The grant that allows the capability; None where there is none."""
    grant = _CAPABILITY + capability_name(capability)
    return grant if grant in GRANTS else None
