"""Single files for a service: configs, secrets and files of the checkout that are bound.

They are put into the container once it is created, before it is started. What cannot be written to by then, a
read-only root or a folder in memory, gets a volume at the file's folder: the engine fills that with what the
image has there, so nothing else goes missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from docker.api.client import APIClient

from environments.docker_engine import payload
from environments.docker_engine.files import archive_of, archive_of_given
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef, labels_for
from environments.spec import FileSpec, Mount, MountKind, ServiceSpec

ROOT = "/"


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of the container that files are put into."""

    folder: str
    #: Not there to be written to unless a volume of its own is mounted there.
    needs_volume: bool = False


def with_places(
    mounts: Iterable[Mapping[str, Any]], environment: EnvironmentRef, service: ServiceSpec
) -> list[dict[str, Any]]:
    """The mounts of the create call, so that every single file can be put where it belongs.

    A mount above one is open: it holds a copy of the environment's own. What is missing is an unnamed volume,
    gone with the container.
    """
    places = {_place(service, target) for target in _targets(service)}
    folders = {place.folder for place in places}
    opened = [
        {**mount, "ReadOnly": mount["ReadOnly"] and mount["Target"].rstrip("/") not in folders}
        for mount in mounts
    ]
    volumes = [
        {
            "Type": "volume",
            "Target": place.folder,
            "ReadOnly": False,
            "VolumeOptions": {"Labels": labels_for(environment)},
        }
        for place in sorted(places, key=lambda one: one.folder)
        if place.needs_volume
    ]
    return [*opened, *volumes]


def deliver(api: APIClient, environment: EnvironmentRef, service: ServiceSpec) -> None:
    """Put every single file into the created container."""
    container = payload.container_name(environment, service.name)
    for folder, mounts in _by_folder(service, _bound(service)).items():
        entries = [
            (Path(mount.source or ""), _inside(folder, mount.target), not mount.read_only) for mount in mounts
        ]
        with archive_of(entries) as packed:
            api.put_archive(container, folder, packed)
    for folder, files in _by_folder(service, service.files).items():
        with archive_of_given({_inside(folder, file.target): file for file in files}) as packed:
            api.put_archive(container, folder, packed)


def _by_folder[T: (Mount, FileSpec)](service: ServiceSpec, items: Iterable[T]) -> Mapping[str, list[T]]:
    folders: dict[str, list[T]] = {}
    for item in items:
        folders.setdefault(_place(service, item.target).folder, []).append(item)
    return folders


def _bound(service: ServiceSpec) -> list[Mount]:
    return [
        mount
        for mount in service.mounts
        if mount.kind is MountKind.BIND and mount.source and Path(mount.source).is_file()
    ]


def _targets(service: ServiceSpec) -> list[str]:
    return [*(mount.target for mount in _bound(service)), *(file.target for file in service.files)]


def _place(service: ServiceSpec, target: str) -> _Place:
    """Where the file is put: into what is mounted above it, the container's own root, or a volume."""
    above = _mounted_above(service, target)
    if above is not None and above.kind is not MountKind.TMPFS:
        return _Place(above.target.rstrip("/"))
    if above is None and not service.read_only:
        return _Place(ROOT)
    folder = str(PurePosixPath(target).parent)
    if folder == ROOT or (above is not None and folder == above.target.rstrip("/")):
        what = "is read_only" if above is None else f"has {above.target} in memory"
        message = (
            f"Service '{service.name}' {what}, so the engine cannot put the file {target} there. "
            "Give it a target in a folder of its own."
        )
        raise EnvironmentFailedError(message, kind=FailureKind.UNSUPPORTED, service=service.name)
    return _Place(folder, needs_volume=True)


def _mounted_above(service: ServiceSpec, target: str) -> Mount | None:
    """The folder mounted nearest above a path."""
    bound = _bound(service)
    found = [
        mount
        for mount in service.mounts
        if mount not in bound and target.startswith(f"{mount.target.rstrip('/')}/")
    ]
    return max(found, key=lambda mount: len(mount.target), default=None)


def _inside(folder: str, target: str) -> str:
    return target.removeprefix(folder).lstrip("/")
