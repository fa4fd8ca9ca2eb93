"""Well-known services, ready to use: one data file each, and how a service is matched to its file. Plain.

A service that asks for one in ``x-itdash.preset`` gets all of it (`filled`), below what its file says. One
that is only known by its image gets the health check alone: its file describes it already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

import yaml

from environments.errors import Problem, SpecError
from environments.spec import EMPTY, EnvironmentSpec, HealthCheck, Mount, MountKind, ServiceSpec
from environments.spec.source import nearest

_SUFFIX: Final = ".yaml"
#: What a service asks for that only looks like a well-known one.
NONE: Final = "none"
_UNITS: Final = {"m": 1024**2, "g": 1024**3}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service of this kind needs to run, as the engine's words; None leaves it to the engine."""

    memory_bytes: int
    processes: int | None = None
    shm_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known about a service before anyone describes it."""

    name: str
    #: Repositories it goes by. A name without a slash matches the last part of any repository. Empty where
    #: the health check holds only for the preset's own settings: such a preset has to be asked for.
    images: tuple[str, ...]
    #: Used when a service names the preset and no image.
    image: str
    port: int
    #: Used when neither the file nor ``x-itdash.ready`` says how to ask.
    healthcheck: HealthCheck
    limits: Limits
    #: Folder of its data, kept in memory; None where that does no good or no harm is done on disk.
    data: str | None = None
    #: Runs unless the file has a command; ``{host}`` is the service's name.
    command: tuple[str, ...] | None = None
    #: Environment variables it starts with unless the file sets them; ``{NAME}`` takes another one's value,
    #: ``{host}`` is the service's name.
    variables: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: What dependants are told: templates over `variables`, ``{host}`` and ``{port}``.
    connection: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: The program with which the local engine stands in for the image; None when it has none.
    program: str | None = None
    #: A line for a shell in the service that speaks to it by hand; its last word names the program.
    client: str | None = None
    #: Other names under which ``x-itdash.preset`` may ask for it.
    aliases: tuple[str, ...] = ()


@cache
def presets() -> Mapping[str, Preset]:
    """Every preset by its name."""
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(_SUFFIX))
    found = (
        _preset(file.name.removesuffix(_SUFFIX), yaml.safe_load(file.read_text(encoding="utf-8")))
        for file in files
    )
    return {preset.name: preset for preset in sorted(found, key=lambda preset: preset.name)}


def preset_for(service: ServiceSpec) -> Preset | None:
    """The preset that the service asks for in ``x-itdash.preset``, or else the one its image is known by.

    ``x-itdash: {preset: none}`` says that it only looks like a well-known service.
    """
    asked = service.extension.get("preset")
    if isinstance(asked, str):
        return presets().get(asked)
    if service.image is None:
        return None
    repository = repository_of(service.image)
    return next((preset for preset in presets().values() if _goes_by(preset, repository)), None)


def repository_of(image: str) -> str:
    """The image's name without registry, tag and digest: ``ghcr.io/acme/postgres:17`` → ``acme/postgres``."""
    name = image.partition("@")[0]
    head, slash, tail = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        name = tail
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}".removeprefix("library/")


def filled(spec: EnvironmentSpec) -> EnvironmentSpec:
    """The environment with every preset that is asked for laid under what its service's file says.

    Doing it twice changes nothing. Raises `SpecError` for a preset that does not exist.
    """
    _refuse_unknown(spec)
    asked = {name: preset for name, service in spec.services.items() if (preset := _asked_for(service))}
    if not asked:
        return spec
    services = {
        name: _filled(service, asked[name]) if name in asked else service
        for name, service in spec.services.items()
    }
    told = {name: connection_for(asked[name], services[name].environment, host=name) for name in asked}
    for name, service in services.items():
        services[name] = _told(service, told)
    return replace(spec, services=services)


def variables_for(preset: Preset, given: Mapping[str, str], *, host: str = "") -> dict[str, str]:
    """The service's environment variables: what the file gives, and the preset's for what it leaves out."""
    values = dict(given)
    for name, template in preset.variables.items():
        values.setdefault(name, template.format_map({**values, "host": host}))
    return values


def connection_for(
    preset: Preset, variables: Mapping[str, str], *, host: str, port: int | None = None
) -> dict[str, str]:
    """What a dependant needs to reach the service; `variables` are those the service runs with.

    What cannot be known is left out: a password that the file keeps in a file of its own, for example.
    """
    plain = {**variables, "host": host, "port": str(port or preset.port)}
    in_url = {name: quote(value, safe="") for name, value in plain.items()} | {"host": host}
    known = {}
    for name, template in preset.connection.items():
        try:
            known[name] = template.format_map(in_url if "://" in template else plain)
        except KeyError:
            continue
    return known


def _refuse_unknown(spec: EnvironmentSpec) -> None:
    problems = []
    for service in spec.services.values():
        asked = service.extension.get("preset")
        if asked is None or asked == NONE or (isinstance(asked, str) and asked in presets()):
            continue
        file, line = spec.places.get(f"services.{service.name}.x-itdash", ("", None))
        mend = nearest(str(asked), presets()) or f"Known: {', '.join(presets())}, {NONE}."
        message = f"service {service.name!r} asks for an unknown preset {str(asked)[:100]!r}"
        problems.append(Problem(message, file, line, f"services.{service.name}.x-itdash.preset", mend))
    if problems:
        raise SpecError(*problems)


def _asked_for(service: ServiceSpec) -> Preset | None:
    asked = service.extension.get("preset")
    return presets().get(asked) if isinstance(asked, str) else None


def _filled(service: ServiceSpec, preset: Preset) -> ServiceSpec:
    command = service.command
    if command is None and service.entrypoint is None and service.build is None and preset.command:
        command = tuple(word.replace("{host}", service.name) for word in preset.command)
    limits = preset.limits
    return replace(
        service,
        image=service.image or (None if service.build else preset.image),
        command=command,
        environment=_environment(service, preset),
        mounts=(*service.mounts, *_data_in_memory(service, preset)),
        memory_bytes=service.memory_bytes or limits.memory_bytes,
        pids_limit=service.pids_limit or limits.processes,
        shm_size_bytes=service.shm_size_bytes or limits.shm_bytes,
    )


def _environment(service: ServiceSpec, preset: Preset) -> dict[str, str]:
    """The file's and the preset's; images refuse to be given both ``NAME`` and ``NAME_FILE``."""
    values = variables_for(preset, service.environment, host=service.name)
    given = service.environment
    return {name: value for name, value in values.items() if name in given or f"{name}_FILE" not in given}


def _data_in_memory(service: ServiceSpec, preset: Preset) -> tuple[Mount, ...]:
    """The data folder in memory, unless the file has it elsewhere.

    At most half of the service's memory, which it is part of: "no space left" says more than a sudden end.
    """
    if preset.data is None or any(_covers(mount.target, preset.data) for mount in service.mounts):
        return ()
    size = (service.memory_bytes or preset.limits.memory_bytes) // 2
    return (Mount(MountKind.TMPFS, preset.data, size_bytes=size),)


def _covers(target: str, folder: str) -> bool:
    """Whether what the file mounts there is the folder's, or holds it."""
    return f"{folder}/".startswith(f"{target.rstrip('/')}/")


def _told(service: ServiceSpec, told: Mapping[str, Mapping[str, str]]) -> ServiceSpec:
    """The service with the connections of those it depends on.

    Each under a name of its own, and under the usual names where no other one would take the same.
    """
    peers = {entry.service: told[entry.service] for entry in service.depends_on if entry.service in told}
    if not peers:
        return service
    names = [name for connection in peers.values() for name in connection]
    environment: dict[str, str] = dict(service.environment)
    for peer, connection in peers.items():
        if connection:
            own_name = f"{re.sub(r'\W', '_', peer).upper()}_URL"
            environment.setdefault(own_name, next(iter(connection.values())))
    for connection in peers.values():
        for name, value in connection.items():
            if names.count(name) == 1:
                environment.setdefault(name, value)
    return replace(service, environment=environment)


def _goes_by(preset: Preset, repository: str) -> bool:
    last = repository.rpartition("/")[2]
    return any(
        repository == image or repository.endswith(f"/{image}") if "/" in image else last == image
        for image in preset.images
    )


def _preset(name: str, data: Mapping[str, Any]) -> Preset:
    check = data["healthcheck"]
    command = data.get("command")
    return Preset(
        name=name,
        images=tuple(data["images"]),
        image=data["image"],
        port=data["port"],
        healthcheck=HealthCheck(
            test=tuple(check["test"]),
            interval_seconds=float(check["interval"]),
            timeout_seconds=float(check["timeout"]),
            retries=check["retries"],
            start_period_seconds=float(check["start_period"]),
        ),
        limits=_limits(data["limits"]),
        data=data["data"],
        command=tuple(command) if command else None,
        variables=data["variables"],
        connection=data["connection"],
        program=data.get("program"),
        client=data.get("client"),
    )


def _limits(data: Mapping[str, Any]) -> Limits:
    shm = data.get("shm")
    return Limits(_bytes(data["memory"]), data.get("processes"), _bytes(shm) if shm else None)


def _bytes(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]
