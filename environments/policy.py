"""What a spec may ask of a shared engine. Default deny, judged on the fully resolved model. Plain.

Whoever writes a Compose file can otherwise become root on the engine's host: mount its socket, its disk or
its devices, join its namespaces, speak to its network. An administrator may grant a project some of it
(`grants`); a refusal names the file, the line, the key, and the grant that would allow it if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from environments import registries
from environments.errors import PolicyError, Problem
from environments.grants import (
    CAPABILITIES,
    GRANTS,
    HOST_GATEWAY,
    SYSCTLS,
    Quota,
    capability_name,
    grant_for,
    is_public,
)
from environments.spec import Build, EnvironmentSpec, MountKind, ServiceSpec

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
#: Never sent to an engine, whatever they say: `clamping` takes them out and says so.
_CLAMPED: Final = frozenset({"oom_kill_disable", "oom_score_adj"})
_NO_NEW_PRIVILEGES: Final = re.compile(r"no-new-privileges(?:[:=]true)?")
_SOCKETS: Final = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock")
_LESS: Final = "Ask for less, or have an administrator raise the project's quota."
_ELSEWHERE: Final = "Use one that is, or have an administrator add its place to the project's list."
_MEND: Final = "Take it out of the file that is tested, or override it with '!reset'."


def check(spec: EnvironmentSpec, quota: Quota | None = None) -> None:
    """Raise `PolicyError` with everything in the spec that neither everyone has nor its `grants` allow."""
    quota = quota or Quota()
    found = (*_problems(spec), *_over(spec, quota), *_from_elsewhere(spec, quota.images))
    problems = [_placed(problem, spec) for problem in found]
    if problems:
        raise PolicyError(*problems)


def _placed(problem: Problem, spec: EnvironmentSpec) -> Problem:
    words = problem.key.split(".")
    place = spec.places.get(".".join(words[:3])) or min(
        (place for key, place in spec.places.items() if key.split(".")[:2] == words[:2]),
        default=("", None),
    )
    return replace(problem, file=place[0], line=place[1])


def _problems(spec: EnvironmentSpec) -> Iterator[Problem]:
    for service in spec.services.values():
        yield from _service(service, spec)
    for network in spec.networks.values():
        for key in network.privileges:
            yield _refusal(f"networks.{network.name}.{key}", _NETWORK_REASONS.get(key, ""))
    for volume in spec.volumes.values():
        for key in volume.privileges:
            yield _refusal(f"volumes.{volume.name}.{key}", _VOLUME_REASONS.get(key, ""))


def _over(spec: EnvironmentSpec, quota: Quota) -> Iterator[Problem]:
    """What is more than one environment may have, told at the first that is too many.

    Of memory and processors only what the files ask for in words: the usual limits, and a preset's, are ours.
    """
    containers = [
        # Never a list as long as a file likes.
        name
        for name, service in spec.services.items()
        for _ in range(min(service.scale, quota.services + 1))
    ]
    for section, names, most in (
        ("services", containers, quota.services),
        ("networks", list(spec.networks), quota.networks),
        ("volumes", list(spec.volumes), quota.volumes),
    ):
        if len(names) > most:
            message = f"{len(names)} {section} are more than the {most} that one environment may have."
            yield Problem(message, key=f"{section}.{names[most]}")
    memory = cpus = 0.0
    for service in spec.services.values():
        key = f"services.{service.name}"
        asks_memory = _limit_key(spec, key, "mem_limit") in spec.places
        memory, was = memory + (service.memory_bytes or 0) * service.scale * asks_memory, memory
        if was <= quota.memory_bytes < memory:
            gibibytes = f"{quota.memory_bytes / 1024**3:g} GiB"
            message = f"{key}: with it the services ask for more than {gibibytes} of memory together"
            yield Problem(message, key=_limit_key(spec, key, "mem_limit"), mend=_LESS)
        cpus, had = cpus + (service.cpus or 0.0) * service.scale, cpus
        if had <= quota.cpus < cpus:
            message = f"{key}: with it the services ask for more than {quota.cpus:g} processors together"
            yield Problem(message, key=_limit_key(spec, key, "cpus"), mend=_LESS)


def _from_elsewhere(spec: EnvironmentSpec, places: Sequence[str]) -> Iterator[Problem]:
    """Images that are not of the places they may be of; of a build all that its Dockerfile takes from."""
    for service in spec.services.values() if places else ():
        used = [("image", service.image)] if service.build is None and service.image else []
        if service.build is not None:
            key = "build.dockerfile_inline" if service.build.dockerfile_inline else "build.dockerfile"
            text = _dockerfile(service.build, spec.directory)
            used = [(key, base) for base in registries.bases(text, service.build.args)]
            used += [("build.cache_from", image) for image in service.build.cache_from]
        for key, image in used:
            if not registries.is_allowed(image, places):
                message = f"services.{service.name}.{key}: the image {image} is not of {', '.join(places)}"
                yield Problem(message, key=f"services.{service.name}.{key}", mend=_ELSEWHERE)


def _dockerfile(build: Build, directory: Path) -> str:
    """Its text; nothing where it lies outside of the checkout, which is refused, or where it is missing."""
    path = build.context / build.dockerfile
    if build.dockerfile_inline is not None:
        return build.dockerfile_inline
    return path.read_text(errors="replace") if _is_inside(path, directory) and path.is_file() else ""


def _limit_key(spec: EnvironmentSpec, service: str, key: str) -> str:
    return f"{service}.{key}" if f"{service}.{key}" in spec.places else f"{service}.deploy"


def _service(service: ServiceSpec, spec: EnvironmentSpec) -> Iterator[Problem]:
    prefix = f"services.{service.name}"
    for key, value in service.privileges.items():
        if key in spec.grants | _CLAMPED or _is_harmless(key, value) or _is_own_namespace(key, value, spec):
            continue
        yield _refusal(f"{prefix}.{key}", _REASONS.get(key, ""), grant=key)
    yield from _network_mode(service, spec)
    for capability in service.cap_add:
        grant = grant_for(capability)
        if capability_name(capability) not in CAPABILITIES and grant not in spec.grants:
            reason = f"{capability} reaches beyond the container"
            yield _refusal(f"{prefix}.cap_add", reason, grant=grant or "")
    for server in service.dns:
        if not is_public(server):
            reason = f"{server} is asked for names on a network of the engine's host"
            yield _refusal(f"{prefix}.dns", reason)
    if HOST_GATEWAY not in spec.grants:
        yield from _hosts(f"{prefix}.extra_hosts", service.extra_hosts)
        yield from _hosts(f"{prefix}.build.extra_hosts", service.build.extra_hosts if service.build else {})
    yield from _mounts(service, spec.directory)
    yield from _build(service, spec.directory)


def _hosts(key: str, hosts: Mapping[str, str]) -> Iterator[Problem]:
    for host, address in hosts.items():
        if address == HOST_GATEWAY:
            yield _refusal(key, f"{host} would be the engine's host", grant=HOST_GATEWAY)


def _is_harmless(key: str, value: object) -> bool:
    """What every container has in any case, or what changes nothing but the container itself."""
    match key, value:
        case "security_opt", list():
            return all(_NO_NEW_PRIVILEGES.fullmatch(str(option)) for option in value)
        case "sysctls", dict():
            return value.keys() <= SYSCTLS
        case "build.network", str():
            return value in {"default", "none"}
        case "cgroup", str():
            return value == "private"
        case "isolation", str():
            return value == "default"
    return False


def _is_own_namespace(key: str, value: object, spec: EnvironmentSpec) -> bool:
    """Sharing with a service of the same environment reaches nothing outside it."""
    if key in {"pid", "ipc"} and isinstance(value, str):
        kind, _, name = value.partition(":")
        return (kind == "service" and name in spec.services) or (
            key == "ipc" and value in {"none", "private", "shareable"}
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


def _refusal(key: str, reason: str, *, grant: str = "") -> Problem:
    because = f": {reason}" if reason else ""
    way = f" An administrator can allow it with the grant `{grant}`." if grant in GRANTS else ""
    return Problem(f"{key} is not granted{because}.{way}", key=key, mend=_MEND)
