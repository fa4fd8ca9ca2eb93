"""Where this process reaches a container over its network, without a published port."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from environments.docker_engine.networks import address_towards

ROUTES = Path("/proc/net/route")


def address_of(
    api: APIClient, container: str, find_own_container: Callable[[], str | None], routes: Path = ROUTES
) -> str | None:
    """The container's address on a network that this process is on too; None where there is none.

    That is so on the engine's own machine, whose bridges the networks are, and in a container of that engine,
    which joins the network. It is not where the engine is elsewhere or in a virtual machine: the table of
    routes tells, for no bridge of it is among ours.
    """
    if address_towards(str(api.base_url)) is not None:
        return None
    try:
        addresses = _addresses(api, container)
    except NotFound:
        return None
    if not addresses:
        return None
    if (own := find_own_container()) is not None:
        _join_one(api, own, addresses)
    return next((address for address in addresses.values() if is_near(address, routes)), None)


def is_near(address: str, routes: Path = ROUTES) -> bool:
    """Whether a network that this machine or container is on holds the address."""
    if not routes.exists():
        return False
    wanted = ipaddress.IPv4Address(address)
    for line in routes.read_text().splitlines()[1:]:
        fields = line.split()
        target, gateway, mask = (int.from_bytes(bytes.fromhex(fields[at]), "little") for at in (1, 2, 7))
        if mask and not gateway and int(wanted) & mask == target:
            return True
    return False


def _addresses(api: APIClient, container: str) -> dict[str, str]:
    """Network id → the address there, while it runs; of the container whose network it shares, if it does."""
    facts: dict[str, Any] = api.inspect_container(container)
    mode = str(facts["HostConfig"]["NetworkMode"])
    if mode.startswith("container:"):
        facts = api.inspect_container(mode.removeprefix("container:"))
    attached = facts["NetworkSettings"]["Networks"] or {}
    return {one["NetworkID"]: one["IPAddress"] for one in attached.values() if one.get("IPAddress")}


def _join_one(api: APIClient, own_container: str, addresses: dict[str, str]) -> None:
    """Join a network of the container unless we are on one; `remove_network` puts us out again."""
    attached = api.inspect_container(own_container)["NetworkSettings"]["Networks"] or {}
    if not addresses.keys() & {one["NetworkID"] for one in attached.values()}:
        # Another thread may have joined it this moment.
        with suppress(APIError):
            api.connect_container_to_network(own_container, next(iter(addresses)))
