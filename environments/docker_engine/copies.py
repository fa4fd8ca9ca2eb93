"""A checkout's folders for services: copied to the engine, never mounted from this machine.

So it works the same when this process and the engine do not share a file system, and a service cannot reach
out of its environment through a mount.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from docker.api.client import APIClient
from docker.errors import NotFound

from environments.docker_engine import answers, payload
from environments.docker_engine.files import archive_of
from environments.labels import EnvironmentRef, labels_for
from environments.spec import EnvironmentSpec, MountKind


def bound_folders(spec: EnvironmentSpec) -> dict[str, bool]:
    """Bind sources that are folders (or nothing yet) → whether any service writes to them."""
    folders: dict[str, bool] = {}
    for service in spec.services.values():
        for mount in service.mounts:
            if mount.kind is MountKind.BIND and mount.source and not Path(mount.source).is_file():
                folders[mount.source] = folders.get(mount.source, False) or not mount.read_only
    return folders


def copy_folders(
    api: APIClient, environment: EnvironmentRef, spec: EnvironmentSpec, empty_image: str
) -> None:
    """Copy every folder that is bound somewhere into a volume of its own, all through one helper.

    The helper is created with the volumes and never started: the engine writes files into it all the same.
    Services share what they write there, as they would share the folder itself.
    """
    folders = bound_folders(spec)
    for source in folders:
        api.create_volume(payload.bind_volume_name(environment, source), labels=labels_for(environment))
    entries = [
        (Path(source), f"copy/{at}", is_written)
        for at, (source, is_written) in enumerate(folders.items())
        if Path(source).is_dir()
    ]
    helper = f"{environment.name}.copy"
    with suppress(NotFound):
        api.remove_container(helper, force=True)
    create(api, _helper(environment, folders, empty_image), helper)
    with archive_of(entries) as packed:
        api.put_archive(helper, "/", packed)
    api.remove_container(helper, force=True)


def create(api: APIClient, config: dict[str, Any], name: str, platform: str | None = None) -> None:
    """Create a container from a request body of ours."""
    api.create_container_from_config(config, name, platform=platform)  # type: ignore[no-untyped-call] # stubs lack it


def _helper(environment: EnvironmentRef, folders: dict[str, bool], empty_image: str) -> dict[str, Any]:
    mounts = [
        {
            "Type": "volume",
            "Source": payload.bind_volume_name(environment, source),
            "Target": f"/copy/{at}",
        }
        for at, source in enumerate(folders)
    ]
    return {
        "Image": empty_image,
        "Cmd": ["never-started"],
        "Labels": labels_for(environment),
        "HostConfig": {"NetworkMode": "none", "Mounts": mounts},
    }


@contextmanager
def opened_archive(
    api: APIClient, container: str, path: str, *, timeout_seconds: float
) -> Iterator[requests.Response | None]:
    """A path of a container (its address in the engine's API) as a tar stream, None when there is none.

    A link is followed once. An answer that is not read to its end holds the container's lock in the engine:
    it is always closed.
    """
    response = _archive(api, container, path, timeout_seconds)
    if response.ok and (target := answers.link_target(response)):
        response.close()
        response = _archive(api, container, target, timeout_seconds)
    with closing(response):
        if response.status_code in {requests.codes.not_found, requests.codes.bad_request}:
            yield None
            return
        answers.raise_for(response)
        yield response


def _archive(api: APIClient, container: str, path: str, timeout_seconds: float) -> requests.Response:
    response: requests.Response = api.get(
        f"{container}/archive",
        params={"path": path},
        # Packing costs more than it saves on the way from the engine.
        headers={"Accept-Encoding": "identity"},
        stream=True,
        timeout=timeout_seconds,
    )
    return response
