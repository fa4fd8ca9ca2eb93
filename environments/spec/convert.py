"""The canonical model → `EnvironmentSpec`: what this version runs, what it only notes, what it refuses."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from environments.errors import Problem
from environments.spec.attached import addresses_of, ports_of, tmpfs_of
from environments.spec.building import BUILD_PRIVILEGES, build_of
from environments.spec.delivered import Deliveries
from environments.spec.egress import reaches_out
from environments.spec.export import plain
from environments.spec.files import Problems
from environments.spec.loader import Model
from environments.spec.model import (
    Condition,
    Dependency,
    EnvironmentSpec,
    HealthCheck,
    Mount,
    MountKind,
    NetworkSpec,
    ServiceSpec,
    VolumeSpec,
)
from environments.spec.ready import readiness_from, start_timeout_from
from environments.spec.source import Map, Mark, Seq, nearest
from environments.spec.values import seconds

#: Understood and ignored; the sentence is shown on the run.
_NOTED: Final = {
    "annotations": "annotations are not passed on",
    "attach": "every service's output is kept",
    **dict.fromkeys(
        ("cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_shares", "cpuset"),
        "processor time is limited by 'cpus' alone",
    ),
    "develop": "nothing is watched during a run",
    "mac_address": "addresses are itdash's",
    "logging": "logs are kept by itdash, whatever driver is named",
    "mem_reservation": "reservations are not made",
    "mem_swappiness": "swapping is left to the engine",
    "memswap_limit": "swap is never allowed beyond memory",
    "models": "models are not provided",
    "post_start": "lifecycle hooks are not run",
    "pre_stop": "lifecycle hooks are not run",
    "storage_opt": "the engine's disk is shared",
}
#: Asks of the host what a shared engine may not give; judged by `policy`.
_PRIVILEGES: Final = (
    "blkio_config",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cgroup",
    "cgroup_parent",
    "credential_spec",
    "device_cgroup_rules",
    "devices",
    "gpus",
    "ipc",
    "isolation",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "privileged",
    "provider",
    "runtime",
    "security_opt",
    "sysctls",
    "use_api_socket",
    "userns_mode",
    "uts",
    "volumes_from",
    "external_links",
)
_READ: Final = """
build cap_add cap_drop command configs container_name cpus depends_on deploy dns dns_opt dns_search domainname
entrypoint env_file environment expose extra_hosts group_add healthcheck hostname image init labels links
mem_limit network_mode networks pids_limit platform ports profiles pull_policy pull_refresh_after read_only
restart scale secrets shm_size stdin_open stop_grace_period stop_signal tmpfs tty ulimits user volumes
working_dir
"""
#: Every key of a service that is read below.
_USED: Final = frozenset(_READ.split())
_RESTARTS: Final = ("no", "always", "on-failure", "unless-stopped")
_EXTENSION: Final = "x-itdash"


def environment_from(model: Model) -> EnvironmentSpec:
    """What the model comes to. Raises `SpecError` with everything that this version cannot run."""
    conversion = _Conversion(model)
    spec = conversion.environment()
    conversion.problems.stop_if_any()
    return spec


class _Conversion:
    """Walks the model once, collecting problems and notices on the way."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.problems = Problems()
        self._notices = list(model.notices)
        self._deliveries = Deliveries(model, self)

    def environment(self) -> EnvironmentSpec:
        tree = self._model.tree
        if not tree["services"]:
            self.problem("no services are defined", "services", tree.mark)
        services = {name: self._service(name, service) for name, service in tree["services"].items()}
        used_networks = {network for service in services.values() for network in service.networks}
        used_volumes = {
            mount.source
            for service in services.values()
            for mount in service.mounts
            if mount.kind is MountKind.VOLUME and mount.source
        }
        is_open = reaches_out(tree, self)
        networks = {name: self._network(name) for name in sorted(used_networks)}
        return EnvironmentSpec(
            services=services,
            networks={
                name: replace(network, internal=network.internal or not is_open)
                for name, network in networks.items()
            },
            reaches_out=is_open,
            volumes={name: self._volume(name) for name in sorted(used_volumes)},
            directory=self._model.root,
            extension=self._extension(tree, "x-itdash"),
            start_timeout_seconds=start_timeout_from(tree.get(_EXTENSION), "x-itdash", self.problems),
            notices=tuple(self._notices),
            places=dict(self._places()),
        )

    def _places(self) -> Iterable[tuple[str, tuple[str, int]]]:
        for section in ("services", "networks", "volumes"):
            for name, holder in (self._model.tree.get(section) or {}).items():
                for key in holder or ():
                    mark = holder.place(key)
                    if mark.line is not None:
                        yield f"{section}.{name}.{key}", (mark.file, mark.line)

    def _service(self, name: str, service: Map) -> ServiceSpec:
        self._sort_out(name, service)
        limits = _at(service, "deploy", "resources", "limits")
        memory = service.get("mem_limit", limits.get("memory"))
        cpus = service.get("cpus", limits.get("cpus"))
        healthcheck, is_disabled = self._healthcheck(name, service)
        readiness = readiness_from(service.get(_EXTENSION), f"services.{name}.{_EXTENSION}", self.problems)
        restart, attempts = self._restart(name, service)
        listens, published = ports_of(name, service, self._model.tree, self)
        networks, gateways = addresses_of(name, service, self._model.tree, self)
        return ServiceSpec(
            name=name,
            image=service.get("image"),
            build=build_of(self._model, name, service, self),
            command=_words(service.get("command")),
            entrypoint=_words(service.get("entrypoint")),
            environment={
                key: value for key, value in (service.get("environment") or {}).items() if value is not None
            },
            depends_on=tuple(
                Dependency(other, Condition(entry["condition"]), entry.get("required", True))
                for other, entry in (service.get("depends_on") or {}).items()
                if other in self._model.tree["services"]
            ),
            healthcheck=healthcheck,
            healthcheck_disabled=is_disabled,
            ready=readiness.ready,
            start_timeout_seconds=readiness.start_timeout_seconds,
            mounts=(*self._mounts(name, service), *tmpfs_of(name, service, self)),
            files=self._deliveries.of(name, service),
            networks=networks,
            gateway_priorities=gateways,
            network_mode=None if networks else service.get("network_mode"),
            hostname=service.get("hostname"),
            domainname=service.get("domainname"),
            container_name=service.get("container_name"),
            working_dir=service.get("working_dir"),
            user=service.get("user"),
            labels=dict(service.get("labels") or {}),
            ports=tuple(dict.fromkeys(port.number for port in listens)),
            listens=listens,
            published=published,
            init=service.get("init", True),
            stop_signal=service.get("stop_signal"),
            stop_grace_period_seconds=float(seconds(service.get("stop_grace_period", "10s"))),
            cap_add=tuple(service.get("cap_add") or ()),
            cap_drop=tuple(service.get("cap_drop") or ()),
            group_add=tuple(service.get("group_add") or ()),
            dns=_texts(service.get("dns")),
            dns_search=_texts(service.get("dns_search")),
            dns_options=_texts(service.get("dns_opt")),
            extra_hosts=dict(entry.split("=", 1) for entry in service.get("extra_hosts") or ()),
            ulimits={key: _limit(value) for key, value in (service.get("ulimits") or {}).items()},
            shm_size_bytes=_whole(service.get("shm_size")),
            memory_bytes=_whole(memory),
            cpus=float(cpus) if cpus else None,
            pids_limit=_whole(service.get("pids_limit", limits.get("pids"))),
            read_only=service.get("read_only", False),
            tty=service.get("tty", False),
            stdin_open=service.get("stdin_open", False),
            pull_policy=service.get("pull_policy", "missing"),
            platform=service.get("platform"),
            restart=restart,
            restart_attempts=attempts,
            scale=_count(service.get("scale"), _at(service, "deploy").get("replicas")),
            profiles=tuple(service.get("profiles") or ()),
            privileges=self._privileges(service),
            extension=self._extension(service, f"services.{name}.x-itdash"),
        )

    def _sort_out(self, name: str, service: Map) -> None:
        """Say of every key that is not run whether it is ignored or not supported."""
        for key in service:
            if key in _USED or key in _PRIVILEGES or key.startswith("x-"):
                continue
            if key in _NOTED:
                self.note(f"services.{name}.{key} is ignored: {_NOTED[key]}.")
            else:
                self.unsupported(f"services.{name}.{key}", service.place(key))
        for key in service.get("deploy") or ():
            if key != "resources" and key != "replicas":  # noqa: PLR1714 - reads better
                self.note(f"services.{name}.deploy.{key} is ignored: nothing is orchestrated.")
        for key in _at(service, "deploy", "resources", "reservations"):
            self.note(f"services.{name}.deploy.resources.reservations.{key} is ignored: nothing is reserved.")

    def _restart(self, name: str, service: Map) -> tuple[str, int]:
        restart, _, attempts = str(service.get("restart", "no")).partition(":")
        restart = restart or "no"
        if restart not in _RESTARTS or (attempts and not attempts.isdecimal()):
            key = f"services.{name}.restart"
            mend = nearest(restart, _RESTARTS)
            self.problem(f"{key}: {restart!r} is no restart policy", key, service.place("restart"), mend)
        if restart != "no":
            self.note(f"services.{name}.restart: restarts are counted, and too many fail the environment.")
        return restart, int(attempts) if attempts.isdecimal() else 0

    def _privileges(self, service: Map) -> dict[str, Any]:
        asked = {key: plain(service[key]) for key in _PRIVILEGES if service.get(key)}
        build = _at(service, "build")
        return asked | {f"build.{key}": plain(build[key]) for key in BUILD_PRIVILEGES if build.get(key)}

    def _healthcheck(self, name: str, service: Map) -> tuple[HealthCheck | None, bool]:
        check = service.get("healthcheck")
        if not isinstance(check, Map):
            return None, False
        test = _words(check.get("test"))
        if check.get("disable") or (test and test[0] == "NONE"):
            return None, True
        if not test:
            self.note(f"services.{name}.healthcheck has no test; the image's own is used.")
            return None, False
        start_interval = check.get("start_interval")
        return (
            HealthCheck(
                test=test,
                interval_seconds=_time(check, "interval", 30),
                timeout_seconds=_time(check, "timeout", 30),
                retries=max(1, check.get("retries", 3)),
                start_period_seconds=float(seconds(check.get("start_period", "0s"))),
                start_interval_seconds=float(seconds(start_interval)) if start_interval else None,
            ),
            False,
        )

    def _mounts(self, name: str, service: Map) -> list[Mount]:
        mounts: list[Mount] = []
        entries = service.get("volumes") or Seq()
        for index, entry in enumerate(entries):
            key, place = f"services.{name}.volumes[{index}]", entries.place(index)
            target = entry.get("target")
            if not target:
                self.problem(f"{key} has no target", key, place, "Say where it appears in the container.")
                continue
            if entry["type"] not in {kind.value for kind in MountKind}:
                self.unsupported(f"{key} of type {entry['type']!r}", place)
                continue
            self._note_options(f"services.{name}.volumes[{index}]", entry)
            kind = MountKind(entry["type"])
            source = entry.get("source")
            if kind is MountKind.BIND and not source:
                self.problem(f"{key} has no source", key, place)
                continue
            mounts.append(
                Mount(
                    kind=kind,
                    target=target,
                    source=self._host_path(source) if kind is MountKind.BIND else source,
                    read_only=entry.get("read_only", False),
                    size_bytes=_whole(_at(entry, "tmpfs").get("size")),
                    options=tuple(f"mode={mode:o}" for mode in [_at(entry, "tmpfs").get("mode")] if mode),
                    no_copy=_at(entry, "volume").get("nocopy", False),
                )
            )
        return mounts

    def _note_options(self, key: str, entry: Map) -> None:
        """Say which options of a mount change nothing here."""
        ignored = [f"bind.{option}" for option in ("propagation", "selinux", "recursive")]
        for option in (*ignored, "volume.labels", "consistency"):
            *holder, last = option.split(".")
            if _at(entry, *holder).get(last):
                self.note(f"{key}.{option} is ignored: what is mounted is a copy of the environment's own.")
        if _at(entry, "volume").get("subpath"):
            self.unsupported(f"{key}.volume.subpath", entry.mark, "Mount the volume whole.")

    def _network(self, name: str) -> NetworkSpec:
        network = (self._model.tree.get("networks") or {}).get(name) or Map()
        asked = ("external", "driver", "driver_opts", "enable_ipv6", "ipam")
        privileges = {key: plain(network[key]) for key in asked if network.get(key)}
        if privileges.get("driver") in {"bridge", "default"}:
            del privileges["driver"]
        return NetworkSpec(
            name=name,
            internal=network.get("internal", False),
            labels=dict(network.get("labels") or {}),
            privileges=privileges,
        )

    def _volume(self, name: str) -> VolumeSpec:
        volume = (self._model.tree.get("volumes") or {}).get(name) or Map()
        privileges = {
            key: plain(volume[key]) for key in ("external", "driver", "driver_opts") if volume.get(key)
        }
        if privileges.get("driver") in {"local", "default"}:
            del privileges["driver"]
        return VolumeSpec(name=name, labels=dict(volume.get("labels") or {}), privileges=privileges)

    def _extension(self, holder: Map, key: str) -> Mapping[str, Any]:
        extension = holder.get(_EXTENSION) or Map()
        if not isinstance(extension, Map):
            self.problem(f"{key} must be a mapping", key, holder.place(_EXTENSION))
            return {}
        result: dict[str, Any] = plain(extension)
        return result

    def _path(self, path: str) -> Path:
        return Path(os.path.normpath(self._model.folder / path))

    def _host_path(self, path: str) -> str:
        """A bind's source as an absolute path; a home folder stays as written, for policy to refuse."""
        return path if path.startswith("~") or "\\" in path or path[1:2] == ":" else str(self._path(path))

    def note(self, sentence: str) -> None:
        """Remember a sentence for the run page, once."""
        if sentence not in self._notices:
            self._notices.append(sentence)

    def problem(self, message: str, key: str, place: Mark, mend: str = "") -> None:
        """Remember something wrong."""
        self.problems.append(Problem(message, place.file, place.line, key, mend))

    def unsupported(self, key: str, place: Mark, mend: str = "") -> None:
        """Remember something that Compose knows and this version does not run."""
        self.problem(f"{key} is not supported yet", key, place, mend)


def _at(node: Map, *keys: str) -> Mapping[str, Any]:
    """The mapping at the end of a path, empty where there is none."""
    for key in keys:
        inner = node.get(key)
        if not isinstance(inner, Map):
            return {}
        node = inner
    return node


def _words(value: object) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None


def _count(*told: int | None) -> int:
    """The first that is told; a service is one container unless its file says otherwise."""
    return next((count for count in told if count is not None), 1)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | str) and int(value) > 0 else None


def _limit(value: object) -> tuple[int, int]:
    return (value["soft"], value["hard"]) if isinstance(value, Map) else (int(str(value)), int(str(value)))


def _time(check: Map, key: str, default: float) -> float:
    """A time of a health check; zero stands for the engine's default, as in the engine's API."""
    return float(seconds(check.get(key, "0s"))) or float(default)
