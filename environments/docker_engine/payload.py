"""What is sent to the engine to create a container: plain values from a `ServiceSpec`, our rules on top.

Nothing of the host is ever mounted: a bind is a volume or files that were copied in, so no loader's mistake
can reach the engine's file system.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from environments.clamping import MOST_MEMORY_BYTES, MOST_PIDS
from environments.grants import SYSCTLS, capability_name
from environments.labels import PREFIX, EnvironmentRef, labels_for
from environments.spec import EnvironmentSpec, HealthCheck, Mount, MountKind, ServiceSpec

NANOSECONDS = 1_000_000_000
MEBIBYTE = 1024 * 1024
#: The weight of an environment: that of two containers as an engine makes them.
ENVIRONMENT_SHARES = 2048
LEAST_SHARES = 2
#: From these versions of the engine's API a start interval is understood, many networks are at creation, and
#: the one that leads out can be named.
API_WITH_START_INTERVAL = API_WITH_MANY_NETWORKS = (1, 44)
API_WITH_GATEWAY_PRIORITY = (1, 48)
#: Capabilities of the engine's default set that tests do not need and attackers like.
DROPPED_CAPABILITIES = ("AUDIT_WRITE", "MKNOD", "NET_RAW")
RESERVED_LABELS = (PREFIX, "com.docker.")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service gets when its file does not say, and the most it can ask for."""

    memory_bytes: int = 1024 * MEBIBYTE
    longest_memory_bytes: int = MOST_MEMORY_BYTES
    #: Processors, as far as the engine has them.
    cpus: float = 1.0
    pids: int = 512
    most_pids: int = MOST_PIDS
    shm_bytes: int = 64 * MEBIBYTE
    #: Open files of each process: an engine's own limit may be so high that programs clear tables for hours.
    open_files: int = 65_536
    log_bytes: int = 50 * MEBIBYTE
    log_files: int = 2


def container_name(environment: EnvironmentRef, service: str) -> str:
    """The container's name: the address by which the engine is asked about a service."""
    return f"{environment.name}-{service}"


def volume_name(environment: EnvironmentRef, key: str) -> str:
    """The engine's name of a named volume."""
    return f"{environment.name}_{key}"


def bind_volume_name(environment: EnvironmentRef, source: str) -> str:
    """The engine's name of the volume that holds a copy of a folder of the checkout."""
    return f"{environment.name}_copy-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def container_config(
    environment: EnvironmentRef,
    service: ServiceSpec,
    *,
    image: str,
    networks: Mapping[str, str],
    copied_folders: frozenset[str],
    api: tuple[int, ...],
    cpus: int,
    limits: Limits,
) -> dict[str, Any]:
    """The body of the create call. `networks` maps keys to engine ids; `copied_folders` are the bind sources
    that stand in volumes; `cpus` is what the engine has."""
    attached = [key for key in service.networks if key in networks]
    if api < API_WITH_MANY_NETWORKS:
        del attached[1:]
    config: dict[str, Any] = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in service.environment.items()],
        "Labels": _labels(service) | labels_for(environment, service.name),
        "Tty": service.tty,
        "OpenStdin": service.stdin_open,
        "ExposedPorts": _exposed_ports(service),
        "HostConfig": _host_config(environment, service, networks, copied_folders, cpus, limits),
        "NetworkingConfig": {
            "EndpointsConfig": {networks[key]: _endpoint(service, key, api) for key in attached}
        },
    }
    optional = {
        "Cmd": list(service.command) if service.command is not None else None,
        "Entrypoint": list(service.entrypoint) if service.entrypoint is not None else None,
        "WorkingDir": service.working_dir,
        "User": service.user,
        # In another's network it has that one's names.
        "Hostname": service.hostname if service.network_mode in {None, "none"} else None,
        "Domainname": service.domainname if service.network_mode in {None, "none"} else None,
        "StopSignal": service.stop_signal,
        "Healthcheck": healthcheck_config(service, api),
    }
    return config | {key: value for key, value in optional.items() if value is not None}


def _endpoint(service: ServiceSpec, network: str, api: tuple[int, ...]) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"Aliases": aliases(service, network)}
    if network in service.gateway_priorities and api >= API_WITH_GATEWAY_PRIORITY:
        endpoint["GwPriority"] = int(service.gateway_priorities[network])
    return endpoint


def aliases(service: ServiceSpec, network: str) -> list[str]:
    """The names by which others on a network reach the service."""
    names = (service.name, service.container_name, service.hostname, *service.networks.get(network, ()))
    return list(dict.fromkeys(name for name in names if name))


def healthcheck_config(service: ServiceSpec, api: tuple[int, ...]) -> dict[str, Any] | None:
    """The health check in the engine's words; None leaves the image's own in place."""
    if service.healthcheck_disabled:
        return {"Test": ["NONE"]}
    check = service.healthcheck
    if check is None:
        return None
    config: dict[str, Any] = {
        "Test": list(check.test),
        "Interval": _nanoseconds(check.interval_seconds),
        "Timeout": _nanoseconds(check.timeout_seconds),
        "Retries": check.retries,
        "StartPeriod": _nanoseconds(check.start_period_seconds),
    }
    if check.start_interval_seconds is not None and api >= API_WITH_START_INTERVAL:
        config["StartInterval"] = _nanoseconds(check.start_interval_seconds)
    return config


def healthcheck_from(config: Mapping[str, Any] | None) -> HealthCheck | None:
    """The health check that a created container has; None for none."""
    test = tuple((config or {}).get("Test") or ())
    if not test or test[0] == "NONE" or config is None:
        return None
    return HealthCheck(
        test=test,
        interval_seconds=config.get("Interval", 0) / NANOSECONDS or 30.0,
        timeout_seconds=config.get("Timeout", 0) / NANOSECONDS or 30.0,
        retries=config.get("Retries", 0) or 3,
        start_period_seconds=config.get("StartPeriod", 0) / NANOSECONDS,
    )


def _host_config(
    environment: EnvironmentRef,
    service: ServiceSpec,
    networks: Mapping[str, str],
    copied_folders: frozenset[str],
    cpus: int,
    limits: Limits,
) -> dict[str, Any]:
    memory = min(service.memory_bytes or limits.memory_bytes, limits.longest_memory_bytes)
    kept = {capability_name(name) for name in service.cap_add}
    mounts = [
        mount
        for mount in (_mount(environment, mount, copied_folders) for mount in service.mounts)
        if mount is not None
    ]
    return {
        "Init": service.init,
        "NetworkMode": _network_mode(environment, service, networks),
        "RestartPolicy": {
            "Name": service.restart,
            "MaximumRetryCount": service.restart_attempts if service.restart == "on-failure" else 0,
        },
        "Mounts": mounts,
        "Tmpfs": {
            mount.target: _tmpfs_options(mount) for mount in service.mounts if mount.kind is MountKind.TMPFS
        },
        "ReadonlyRootfs": service.read_only,
        "CapAdd": list(service.cap_add),
        "CapDrop": [*service.cap_drop, *(name for name in DROPPED_CAPABILITIES if name not in kept)],
        "SecurityOpt": ["no-new-privileges:true"],
        "ExtraHosts": [f"{name}:{address}" for name, address in service.extra_hosts.items()],
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int(min(service.cpus or limits.cpus, cpus) * NANOSECONDS),
        "PidsLimit": min(service.pids_limit or limits.pids, limits.most_pids),
        "ShmSize": min(service.shm_size_bytes or limits.shm_bytes, memory),
        "Sysctls": {
            name: str(value)
            for name, value in service.privileges.get("sysctls", {}).items()
            if name in SYSCTLS
        },
        "Ulimits": ulimits(service, limits),
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(limits.log_bytes), "max-file": str(limits.log_files)},
        },
    }


def weight(spec: EnvironmentSpec) -> dict[str, int]:
    """Where processors are short, environments share them, however many services each has."""
    return {"CpuShares": max(LEAST_SHARES, ENVIRONMENT_SHARES // max(1, len(spec.services)))}


def granted(service: ServiceSpec, grants: frozenset[str]) -> dict[str, Any]:
    """What the service asks of the host, as far as an administrator granted it: more keys of `HostConfig`."""
    asked = {key: value for key, value in service.privileges.items() if key in grants}
    config: dict[str, Any] = {}
    if asked.get("privileged"):
        config["Privileged"] = True
    if devices := asked.get("devices"):
        config["Devices"] = [
            {
                "PathOnHost": device["source"],
                "PathInContainer": device.get("target") or device["source"],
                "CgroupPermissions": device.get("permissions") or "rwm",
            }
            for device in devices
        ]
    if rules := asked.get("device_cgroup_rules"):
        config["DeviceCgroupRules"] = list(rules)
    if gpus := asked.get("gpus"):
        config["DeviceRequests"] = [_device_request(gpu) for gpu in ([{}] if gpus == "all" else gpus)]
    if runtime := asked.get("runtime"):
        config["Runtime"] = runtime
    if parent := asked.get("cgroup_parent"):
        config["CgroupParent"] = parent
    return config


def _device_request(gpu: Mapping[str, Any]) -> dict[str, Any]:
    names = list(gpu.get("device_ids") or ())
    return {
        "Driver": gpu.get("driver", ""),
        "Count": 0 if names else int(gpu.get("count", -1)),
        "DeviceIDs": names,
        "Capabilities": [sorted({"gpu", *(gpu.get("capabilities") or ())})],
        "Options": dict(gpu.get("options") or {}),
    }


def _exposed_ports(service: ServiceSpec) -> dict[str, dict[str, str]]:
    """The ports it listens on, as an image would name them; none for one in another's network."""
    if service.network_mode is not None:
        return {}
    told = (*service.listens, *service.published)
    known = {port.number for port in told}
    plain = [f"{number}/tcp" for number in service.ports if number not in known]
    return {port: {} for port in (*map(str, told), *plain)}


def _network_mode(environment: EnvironmentRef, service: ServiceSpec, networks: Mapping[str, str]) -> str:
    mode = service.network_mode
    if mode is not None and mode.startswith("service:"):
        return f"container:{container_name(environment, mode.removeprefix('service:'))}"
    if mode is not None:
        # The policy lets nothing else through; "none" is the one harmless mode.
        return "none"
    return next((networks[key] for key in service.networks if key in networks), "none")


def _mount(
    environment: EnvironmentRef, mount: Mount, copied_folders: frozenset[str]
) -> dict[str, Any] | None:
    labels = {"VolumeOptions": {"Labels": labels_for(environment)}}
    base = {"Type": "volume", "Target": mount.target, "ReadOnly": mount.read_only}
    match mount.kind:
        case MountKind.VOLUME if mount.source is None:
            return base | labels
        case MountKind.VOLUME if mount.source is not None:
            source = volume_name(environment, mount.source)
            options = {"VolumeOptions": {"NoCopy": True}} if mount.no_copy else {}
            return base | {"Source": source} | options
        case MountKind.BIND if mount.source is not None and mount.source in copied_folders:
            source = bind_volume_name(environment, mount.source)
            return base | {"Source": source, "VolumeOptions": {"NoCopy": True}}
        case _:
            return None


def _tmpfs_options(mount: Mount) -> str:
    """As the kernel reads them."""
    size = [f"size={mount.size_bytes}"] if mount.size_bytes else []
    return ",".join([*size, *mount.options])


def ulimits(service: ServiceSpec, limits: Limits) -> list[dict[str, Any]]:
    """The file's, and the usual number of open files unless it says one."""
    asked = {"nofile": (limits.open_files, limits.open_files), **service.ulimits}
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in asked.items()]


def _labels(service: ServiceSpec) -> dict[str, str]:
    return {name: value for name, value in service.labels.items() if not name.startswith(RESERVED_LABELS)}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
