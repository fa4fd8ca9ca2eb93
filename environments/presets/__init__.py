"""Well-known services, ready to use: one data file each, and how a service is matched to its file. Plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

import yaml

from environments.spec import EMPTY, HealthCheck, ServiceSpec

_SUFFIX: Final = ".yaml"


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known about a service before anyone describes it."""

    name: str
    #: Repositories it goes by. A name without a slash matches the last part of any repository.
    images: tuple[str, ...]
    #: Used when a service names the preset and no image.
    image: str
    port: int
    #: Used when neither the file nor ``x-itdash.ready`` says how to ask.
    healthcheck: HealthCheck
    #: Folder of its data, worth keeping in memory during a test.
    data: str
    #: Environment variables it starts with unless the file sets them; ``{NAME}`` takes another one's value.
    variables: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: What dependants are told: templates over `variables`, ``{host}`` and ``{port}``.
    connection: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    #: The program with which the local engine stands in for the image; None when it has none.
    program: str | None = None
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


def preset_named(name: str) -> Preset | None:
    """The preset of that name or alias."""
    return presets().get(name) or next(
        (preset for preset in presets().values() if name in preset.aliases), None
    )


def preset_for(service: ServiceSpec) -> Preset | None:
    """The preset that the service asks for in ``x-itdash.preset``, or else the one its image is known by.

    ``x-itdash: {preset: none}`` says that it only looks like a well-known service.
    """
    asked = service.extension.get("preset")
    if isinstance(asked, str):
        return preset_named(asked)
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


def variables_for(preset: Preset, given: Mapping[str, str]) -> dict[str, str]:
    """The service's environment variables: what the file gives, and the preset's for what it leaves out."""
    values = dict(given)
    for name, template in preset.variables.items():
        values.setdefault(name, template.format_map(values))
    return values


def connection_for(preset: Preset, variables: Mapping[str, str], *, host: str, port: int) -> dict[str, str]:
    """What a dependant needs to reach the service; `variables` are those the service runs with."""
    plain = {**variables_for(preset, variables), "host": host, "port": str(port)}
    in_url = {name: quote(value, safe="") for name, value in plain.items()} | {"host": host}
    return {
        name: template.format_map(in_url if "://" in template else plain)
        for name, template in preset.connection.items()
    }


def _goes_by(preset: Preset, repository: str) -> bool:
    last = repository.rpartition("/")[2]
    return any(
        repository == image or repository.endswith(f"/{image}") if "/" in image else last == image
        for image in preset.images
    )


def _preset(name: str, data: Mapping[str, Any]) -> Preset:
    check = data["healthcheck"]
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
        data=data["data"],
        variables=data["variables"],
        connection=data["connection"],
        program=data.get("program"),
        aliases=tuple(data.get("aliases", ())),
    )
