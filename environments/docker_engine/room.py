"""What is left on the engine for more environments."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from docker.api.client import APIClient

from environments.docker_engine.networks import address_towards, free_subnets
from environments.engine import Room
from environments.subnets import Pool


def measured(api: APIClient, pool: Pool, root: str, find_own_container: Callable[[], str | None]) -> Room:
    """Subnets of the pool, and the disk under the engine's `root` folder where this process can see it."""
    return Room(
        disk_free_bytes=_disk_free(api, root, find_own_container),
        networks_free=free_subnets(api, pool),
        networks_total=pool.capacity,
    )


def _disk_free(api: APIClient, root: str, find_own_container: Callable[[], str | None]) -> int | None:
    if address_towards(str(api.base_url)) is not None or not root:
        return None
    # A container's own root is a folder of the engine's disk.
    folder = Path("/") if find_own_container() is not None else Path(root)
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        # The engine runs in a machine of its own behind the socket, or hides its folder from us.
        return None
