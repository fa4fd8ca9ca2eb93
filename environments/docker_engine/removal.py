"""Taking an environment off the engine: forced, in parallel, tried again, and told what is left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from environments.docker_engine import networks
from environments.docker_engine.errors import is_conflict, is_missing
from environments.errors import DeadlineExceededError
from environments.labels import INSTANCE, EnvironmentRef, ref_from
from environments.probes import steadily, wait_until

AT_ONCE = 8
#: How long a removal that the engine has begun may take to finish.
REMOVAL_SECONDS = 20.0
#: Endpoints of a dying container keep a network, and a dying container its volumes, a moment longer.
PATIENCE_SECONDS = 5.0


def remove(api: APIClient, environment: EnvironmentRef) -> list[str]:
    """Remove containers, then networks, then volumes; return what is still there."""
    _remove_containers(api, environment)
    for network in networks.list_networks(api, environment):
        _patiently(partial(networks.remove_network, api, network["Id"]))
    for volume in volumes(api, environment):
        _patiently(partial(_remove_volume, api, volume))
    return left(api, environment)


def environments(api: APIClient, instance: str) -> list[EnvironmentRef]:
    """Return every environment of the installation of which a container, a network or a volume exists."""
    filters = {"label": [f"{INSTANCE}={instance}"]}
    found = [
        *api.containers(all=True, filters=filters),
        *api.networks(filters=filters),
        *(api.volumes(filters=filters)["Volumes"] or []),
    ]
    known = (ref_from(one.get("Labels") or {}) for one in found)
    return list({ref.name: ref for ref in known if ref is not None}.values())


def left(api: APIClient, environment: EnvironmentRef) -> list[str]:
    """Return everything of the environment that exists."""
    return [
        *(f"container {one[:12]}" for one in containers(api, environment)),
        *(f"network {one['Name']}" for one in networks.list_networks(api, environment)),
        *(f"volume {one}" for one in volumes(api, environment)),
    ]


def containers(api: APIClient, environment: EnvironmentRef) -> list[str]:
    """Return the ids of the environment's containers, ended ones too."""
    return [one["Id"] for one in api.containers(all=True, filters=_filters(environment))]


def volumes(api: APIClient, environment: EnvironmentRef) -> list[str]:
    """Return the names of the environment's volumes."""
    return [one["Name"] for one in api.volumes(filters=_filters(environment))["Volumes"] or []]


def remove_container(api: APIClient, container_id: str) -> None:
    """Kill and remove a container with its anonymous volumes; wait when somebody else does so already."""
    try:
        api.remove_container(container_id, force=True, v=True)
    except APIError as error:
        if is_missing(error):
            return
        if not is_conflict(error):
            raise
        # The reaper and the owner may meet over the same environment.
        with suppress(DeadlineExceededError):
            wait_until(lambda: _is_gone(api, container_id), deadline_seconds=REMOVAL_SECONDS)


def _remove_containers(api: APIClient, environment: EnvironmentRef) -> None:
    ids = containers(api, environment)
    if not ids:
        return
    with ThreadPoolExecutor(min(len(ids), AT_ONCE), "docker-remove") as pool:
        list(pool.map(lambda one: remove_container(api, one), ids))


def _remove_volume(api: APIClient, name: str) -> None:
    with suppress(NotFound):
        api.remove_volume(name, force=True)


def _patiently(remove_one: Callable[[], None]) -> None:
    """Try until it works or patience ends; what is left is reported, not raised."""

    def attempt() -> bool:
        try:
            remove_one()
        except APIError:
            return False
        return True

    with suppress(DeadlineExceededError):
        wait_until(attempt, deadline_seconds=PATIENCE_SECONDS, pauses=steadily(0.2))


def _is_gone(api: APIClient, container_id: str) -> bool:
    try:
        api.inspect_container(container_id)
    except NotFound:
        return True
    return False


def _filters(environment: EnvironmentRef) -> dict[str, list[str]]:
    return {"label": [f"{key}={value}" for key, value in networks.own_labels(environment).items()]}
