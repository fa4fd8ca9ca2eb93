"""The last look at what is about to be sent to the engine: nothing in it reaches beyond the environment.

It knows nothing of Compose and does not ask what `policy` said. Every key that may be sent is named here with
what it may say, and any other is refused: no mistake of the loader or the payload gets through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from environments.docker_engine import payload
from environments.errors import EnvironmentFailedError, FailureKind
from environments.grants import (
    CAPABILITIES,
    GRANTS,
    HOST_GATEWAY,
    SYSCTLS,
    capability_name,
    grant_for,
    is_public,
)
from environments.labels import SERVICE, EnvironmentRef, labels_for
from environments.spec import ServiceSpec

_CONFIG: Final = frozenset(
    {
        "Cmd",
        "Domainname",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "HostConfig",
        "Hostname",
        "Image",
        "Labels",
        "NetworkingConfig",
        "OpenStdin",
        "StopSignal",
        "Tty",
        "User",
        "WorkingDir",
    }
)
#: What holds for the container alone, whatever it says.
_FREE: Final = frozenset(
    {
        "CapDrop",
        "DnsOptions",
        "DnsSearch",
        "GroupAdd",
        "Init",
        "ReadonlyRootfs",
    }
)
_OWN_IPC: Final = frozenset({"none", "private", "shareable"})
_TMPFS_OPTIONS: Final = frozenset(
    ["size", "mode", "uid", "gid", "nr_inodes", "exec", "noexec", "ro", "rw", "nosuid", "nodev", "noatime"]
)
_HEALTH: Final = frozenset(
    {"Test", "Interval", "Timeout", "Retries", "StartPeriod", "StartInterval"},
)
#: Of an endpoint, neither addresses nor links nor what a driver would make of it.
_ENDPOINT: Final = frozenset({"Aliases", "GwPriority"})
_LOG_OPTIONS: Final = frozenset({"max-size", "max-file"})
_RESTARTS: Final = frozenset({"", "no", "always", "on-failure", "unless-stopped"})
_LIMITS: Final = payload.Limits()
#: The engine's key, and the grant that it takes.
_GRANTED: Final = {
    "Privileged": "privileged",
    "Devices": "devices",
    "DeviceCgroupRules": "device_cgroup_rules",
    "DeviceRequests": "gpus",
    "Runtime": "runtime",
    "CgroupParent": "cgroup_parent",
}
#: What a process of the container may be limited in.
_ULIMITS: Final = frozenset(
    {
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
        *("rtprio", "rttime", "sigpending", "stack"),
    }
)
type _Rule = Callable[[Any], bool]


def refuse_danger(
    config: Mapping[str, Any],
    environment: EnvironmentRef,
    service: ServiceSpec,
    *,
    networks: Mapping[str, str],
    grants: Collection[str] = (),
    limits: payload.Limits = _LIMITS,
) -> None:
    """Raise `EnvironmentFailedError` unless all of the create call's body is known to be harmless or granted.

    `networks` maps the environment's networks to the engine's ids; `limits` are the most that it may ask for.
    """
    rules = _rules(environment, set(networks.values()), frozenset(grants), limits)
    found = [
        *_around(config, environment, set(networks.values())),
        *_of_host(config["HostConfig"], rules, _asked(environment), frozenset(grants)),
    ]
    if found:
        message = f"Service '{service.name}' was not created: {'; '.join(found)}."
        raise EnvironmentFailedError(message, kind=FailureKind.INTERNAL, service=service.name)


def _around(config: Mapping[str, Any], environment: EnvironmentRef, networks: set[str]) -> Iterator[str]:
    for key in config.keys() - _CONFIG:
        yield f"the engine would be sent {key}, which nothing here needs"
    if (config.get("Healthcheck") or {}).keys() - _HEALTH:
        yield "its health check has keys that nothing here needs"
    labels = config["Labels"]
    own = labels_for(environment, labels.get(SERVICE))
    for name, value in labels.items():
        if name.startswith(payload.RESERVED_LABELS) and own.get(name) != value:
            yield f"the label {name} is not the file's to set"
    if own.items() - labels.items():
        yield "its labels do not say whose it is, so nothing would ever remove it"
    yield from _of_networks(config["NetworkingConfig"], networks)


def _of_networks(config: Mapping[str, Any], networks: set[str]) -> Iterator[str]:
    if config.keys() != {"EndpointsConfig"}:
        yield "NetworkingConfig holds more than endpoints"
    for network, endpoint in config["EndpointsConfig"].items():
        if network not in networks:
            yield f"the network {network} is not of this environment"
        if endpoint.keys() - _ENDPOINT:
            yield f"its endpoint of {network} says {', '.join(sorted(endpoint.keys() - _ENDPOINT))}"


def _of_host(
    host: Mapping[str, Any], rules: Mapping[str, _Rule], asked: Mapping[str, _Rule], grants: frozenset[str]
) -> Iterator[str]:
    yield from (f"HostConfig.{key} is missing" for key in rules if key not in host)
    for key, value in host.items():
        if key in rules or key in asked:
            rule = rules.get(key) or asked[key]
            if not rule(value):
                yield f"HostConfig.{key} may not be {value!r}"
        elif key in _GRANTED:
            if value and _GRANTED[key] not in grants:
                yield f"HostConfig.{key} takes the grant '{_GRANTED[key]}'"
        elif key not in _FREE:
            # Also an empty one: an empty list of masked paths would unmask them all.
            yield f"HostConfig.{key} is not known to be harmless"
    if host.get("MemorySwap") != host.get("Memory"):
        yield "HostConfig.MemorySwap may not differ from Memory: there is no swap"


def _rules(
    environment: EnvironmentRef, networks: set[str], grants: frozenset[str], limits: payload.Limits
) -> dict[str, _Rule]:
    """What each key that matters may say. All of them have to be there."""

    def is_own_network(mode: str) -> bool:
        return mode == "none" or mode in networks or mode.startswith(f"container:{environment.name}-")

    def may_add(capability: str) -> bool:
        name = capability_name(capability)
        return name in CAPABILITIES or (grant_for(name) in grants and grant_for(name) in GRANTS)

    return {
        "NetworkMode": is_own_network,
        "Mounts": lambda mounts: all(_is_own_mount(mount, environment) for mount in mounts),
        "CapAdd": lambda names: all(may_add(name) for name in names),
        "SecurityOpt": lambda options: options == ["no-new-privileges:true"],
        "ExtraHosts": lambda hosts: (
            HOST_GATEWAY in grants or not any(host.rpartition(":")[2] == HOST_GATEWAY for host in hosts)
        ),
        "Sysctls": lambda settings: settings.keys() <= SYSCTLS,
        "LogConfig": lambda log: (
            log.keys() == {"Type", "Config"}
            and log["Type"] == "json-file"
            and log["Config"].keys() == _LOG_OPTIONS
        ),
        "RestartPolicy": lambda policy: (
            policy.keys() <= {"Name", "MaximumRetryCount"} and policy["Name"] in _RESTARTS
        ),
        # Nothing where the engine's kernel cannot bound it.
        "NanoCpus": lambda share: share >= 0,
        "ShmSize": lambda size: 0 < size <= limits.longest_memory_bytes,
        "Memory": lambda size: 0 < size <= limits.longest_memory_bytes,
        "MemorySwap": lambda size: 0 < size <= limits.longest_memory_bytes,
        "Ulimits": lambda ulimits: all(
            ulimit.keys() == {"Name", "Soft", "Hard"} and ulimit["Name"] in _ULIMITS for ulimit in ulimits
        ),
        "PidsLimit": lambda count: 0 < count <= limits.most_pids,
    }


def _asked(environment: EnvironmentRef) -> dict[str, _Rule]:
    """What each key may say that is only there when a file asks for it."""
    own = f"{environment.name}-"
    return {
        "CpuShares": lambda share: 0 < share <= payload.ENVIRONMENT_SHARES,
        "PidMode": lambda mode: mode.startswith(f"container:{own}"),
        "IpcMode": lambda mode: mode in _OWN_IPC or mode.startswith(f"container:{own}"),
        "VolumesFrom": lambda names: all(name.startswith(own) for name in names),
        "PortBindings": lambda ports: all(
            place.get("HostIp") == "127.0.0.1" and place.get("HostPort") in {"", "0"}
            for places in ports.values()
            for place in places
        ),
        "Dns": lambda servers: all(is_public(server) for server in servers),
        "Tmpfs": lambda folders: all(
            option.partition("=")[0] in _TMPFS_OPTIONS
            for options in folders.values()
            for option in options.split(",")
            if option
        ),
    }


def _is_own_mount(mount: Mapping[str, Any], environment: EnvironmentRef) -> bool:
    """A volume of the environment, or one without a name; no driver, so no folder of the host."""
    source = mount.get("Source")
    options = mount.get("VolumeOptions", {})
    return (
        mount["Type"] == "volume"
        and mount.keys() <= {"Type", "Target", "ReadOnly", "Source", "VolumeOptions"}
        and options.keys() <= {"Labels", "NoCopy"}
        and (source is None or source.startswith(f"{environment.name}_"))
    )
