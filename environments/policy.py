"""What a spec may ask of a shared engine. Default deny, judged on the fully resolved model. Plain.

Whoever writes a Compose file can otherwise become root on the engine's host: mount its socket, its disk or
its devices, join its namespaces, speak to its network. Nothing here can be granted yet; a refusal names the
key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from environments.errors import PolicyError, Problem
from environments.spec import EnvironmentSpec, MountKind, ServiceSpec

#: Capabilities that a service may add: all of them are part of what a container may have by default.
CAPABILITIES: Final = frozenset({"CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"})

#: What one environment may be made of: several times what the largest real files need.
MAX_SERVICES: Final = 40
MAX_NETWORKS: Final = 10
MAX_VOLUMES: Final = 20

_REASONS: Final = {
    "blkio_config": "it competes for the host's disks",
    "build.entitlements": "it gives the build rights on the host",
    "build.network": "it joins the build to a network of the host",
    "build.privileged": "it gives the build every right on the host",
    "build.ssh": "it hands the worker's SSH agent to the build",
    "cgroup": "it joins the host's control groups",
    "cgroup_parent": "it escapes the limits set for the environment",
    "cpu_rt_period": "it takes processor time from everyone else",
    "cpu_rt_runtime": "it takes processor time from everyone else",
    "credential_spec": "it uses the host's credentials",
    "device_cgroup_rules": "it opens the host's devices",
    "devices": "it opens the host's devices",
    "external_links": "it reaches containers of someone else",
    "gpus": "it opens the host's devices",
    "ipc": "it shares memory outside its own container",
    "isolation": "it changes how the engine separates containers",
    "oom_kill_disable": "it can hang the host when memory runs out",
    "oom_score_adj": "it makes the host end other programs first",
    "pid": "it sees processes outside its own container",
    "privileged": "it is root on the engine's host",
    "provider": "it runs a program on the worker",
    "runtime": "it chooses how the engine runs containers",
    "security_opt": "it loosens the container's confinement",
    "sysctls": "it changes kernel settings",
    "use_api_socket": "it hands over the engine, which is root on its host",
    "userns_mode": "it shares the host's users",
    "uts": "it shares the host's name",
    "volumes_from": "it reaches another container's disks",
}
_NETWORK_REASONS: Final = {
    "driver": "it chooses how the engine connects containers",
    "driver_opts": "it changes how the engine connects containers",
    "enable_ipv6": "addresses are given out by itdash",
    "external": "it is shared with whoever else is on it",
    "ipam": "addresses are given out by itdash, so that environments never collide",
}
_VOLUME_REASONS: Final = {
    "driver": "it chooses where the engine keeps data",
    "driver_opts": "it can mount any folder of the engine's host",
    "external": "its data outlives the run and is shared",
}
_SOCKETS: Final = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock")
_MEND: Final = "Take it out of the file that is tested, or override it with '!reset'."


def check(spec: EnvironmentSpec) -> None:
    """Raise `PolicyError` with everything in the spec that a shared engine does not grant."""
    problems = [_placed(problem, spec) for problem in _problems(spec)]
    if problems:
        raise PolicyError(*problems)


def _placed(problem: Problem, spec: EnvironmentSpec) -> Problem:
    key = ".".join(problem.key.split(".")[:3])
    file, line = spec.places.get(key, ("", None))
    return replace(problem, file=file, line=line)


def _problems(spec: EnvironmentSpec) -> Iterator[Problem]:
    for key, count, most in (
        ("services", len(spec.services), MAX_SERVICES),
        ("networks", len(spec.networks), MAX_NETWORKS),
        ("volumes", len(spec.volumes), MAX_VOLUMES),
    ):
        if count > most:
            yield Problem(f"{count} {key} are more than the {most} that one environment may have.", key=key)
    for service in spec.services.values():
        yield from _service(service, spec)
    for network in spec.networks.values():
        for key in network.privileges:
            yield _refusal(f"networks.{network.name}.{key}", _NETWORK_REASONS.get(key, ""))
    for volume in spec.volumes.values():
        for key in volume.privileges:
            yield _refusal(f"volumes.{volume.name}.{key}", _VOLUME_REASONS.get(key, ""))


def _service(service: ServiceSpec, spec: EnvironmentSpec) -> Iterator[Problem]:
    prefix = f"services.{service.name}"
    for key, value in service.privileges.items():
        if not _is_own_namespace(key, value, spec):
            yield _refusal(f"{prefix}.{key}", _REASONS.get(key, ""))
    yield from _network_mode(service, spec)
    for capability in service.cap_add:
        if capability.upper().removeprefix("CAP_") not in CAPABILITIES:
            allowed = ", ".join(sorted(CAPABILITIES))
            yield _refusal(
                f"{prefix}.cap_add", f"{capability} reaches beyond the container; allowed are {allowed}"
            )
    for host, address in service.extra_hosts.items():
        if address == "host-gateway":
            yield _refusal(f"{prefix}.extra_hosts", f"{host} would be the engine's host")
    yield from _mounts(service, spec.directory)
    yield from _build(service, spec.directory)


def _is_own_namespace(key: str, value: object, spec: EnvironmentSpec) -> bool:
    """Sharing with a service of the same environment reaches nothing outside it."""
    if key in {"pid", "ipc"} and isinstance(value, str):
        return value.removeprefix("service:") in spec.services or (
            key == "ipc" and value in {"private", "shareable"}
        )
    if key == "volumes_from" and isinstance(value, list):
        return all(isinstance(entry, str) and entry.partition(":")[0] in spec.services for entry in value)
    return False


def _network_mode(service: ServiceSpec, spec: EnvironmentSpec) -> Iterator[Problem]:
    mode = service.network_mode
    if mode is None or mode in {"none", "bridge"}:
        return
    if not (mode.startswith("service:") and mode.removeprefix("service:") in spec.services):
        yield _refusal(
            f"services.{service.name}.network_mode", f"{mode!r} joins a network outside the environment"
        )


def _mounts(service: ServiceSpec, directory: Path) -> Iterator[Problem]:
    for mount in service.mounts:
        if mount.kind is not MountKind.BIND or mount.source is None:
            continue
        key = f"services.{service.name}.volumes"
        if mount.source.rpartition("/")[2] in _SOCKETS:
            yield _refusal(key, f"{mount.source} hands over the engine, which is root on its host")
        elif not _is_inside(Path(mount.source), directory):
            yield _refusal(key, f"{mount.source} lies outside the checkout")


def _build(service: ServiceSpec, directory: Path) -> Iterator[Problem]:
    build = service.build
    if build is None:
        return
    if not _is_inside(build.context, directory):
        yield _refusal(f"services.{service.name}.build.context", f"{build.context} lies outside the checkout")
    elif not _is_inside(build.context / build.dockerfile, directory):
        yield _refusal(
            f"services.{service.name}.build.dockerfile", f"{build.dockerfile} lies outside the checkout"
        )


def _is_inside(path: Path, directory: Path) -> bool:
    """Whether the path, all links and ``..`` followed, ends inside the folder."""
    try:
        return path.is_absolute() and path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def _refusal(key: str, reason: str) -> Problem:
    because = f": {reason}" if reason else ""
    return Problem(f"{key} is not granted{because}.", key=key, mend=_MEND)
