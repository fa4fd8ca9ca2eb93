"""Networks with subnets of our own, and where this process stands to them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docker.api.client import APIClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from environments.docker_engine.errors import is_conflict, translated
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef, labels_for
from environments.spec import NetworkSpec
from environments.subnets import Pool, Subnet

#: Which network of the environment an object is; the engine's names are only for people.
NETWORK = "itdash.network"
#: What engines say of a subnet that somebody else was quicker to take.
OVERLAP = re.compile(r"overlaps|already in use|Pool", re.IGNORECASE)
#: The engine lays files of its own over these in every container, from a folder named after it.
OWN_FILE = re.compile(r"containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) ")
#: The host name that an engine gives a container unless told otherwise.
SHORT_ID = re.compile(r"[0-9a-f]{12}")


def create_network(api: APIClient, environment: EnvironmentRef, network: NetworkSpec, pool: Pool) -> str:
    """Create a network of the environment, or find it; return the engine's id.

    The engine refuses overlapping subnets, whoever asks: workers, machines and installations cannot collide.
    """
    known = network_ids(api, environment)
    if network.name in known:
        return known[network.name]
    routes = _routes()
    # Each round either ends or leaves one more subnet out, so there are no more rounds than subnets.
    refused: list[Subnet] = []
    while True:
        used = subnets_in_use(api)
        subnet = pool.choose(f"{environment.name}/{network.name}", [*used, *routes, *refused])
        if subnet is None:
            message = f"No free subnet was found for network '{network.name}'. {pool.shortage(used, routes)}"
            raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE)
        try:
            return _create(api, environment, network, subnet)
        except APIError as error:
            if not OVERLAP.search(str(error.explanation)):
                raise
            refused.append(subnet)


def _create(api: APIClient, environment: EnvironmentRef, network: NetworkSpec, subnet: Subnet) -> str:
    labels = dict(network.labels) | labels_for(environment) | {NETWORK: network.name}
    created: dict[str, str] = api.create_network(
        name=f"{environment.name}_{network.name}",
        driver="bridge",
        internal=network.internal,
        labels=labels,
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=str(subnet.network_address + 1))]),
    )
    return created["Id"]


def free_subnets(api: APIClient, pool: Pool) -> int:
    """How many networks more there is room for."""
    return pool.free_count([*subnets_in_use(api), *_routes()])


def subnets_in_use(api: APIClient) -> list[Subnet]:
    """Subnets of every network on the engine, ours or not."""
    found = []
    for network in api.networks():
        for config in (network.get("IPAM") or {}).get("Config") or []:
            with suppress(ValueError, KeyError):
                found.append(ipaddress.IPv4Network(config["Subnet"]))
    return found


def _routes(table: Path = Path("/proc/net/route")) -> list[Subnet]:
    """Subnets this machine routes somewhere, the default route left out."""
    if not table.exists():
        return []
    routes = []
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        target, mask = (int.from_bytes(bytes.fromhex(fields[at]), "little") for at in (1, 7))
        if mask:
            routes.append(ipaddress.IPv4Network((target, mask.bit_count()), strict=False))
    return routes


def network_ids(api: APIClient, environment: EnvironmentRef) -> dict[str, str]:
    """Return key → engine id of the environment's networks, as they stand."""
    return {
        network["Labels"][NETWORK]: network["Id"]
        for network in list_networks(api, environment)
        if NETWORK in (network.get("Labels") or {})
    }


def list_networks(api: APIClient, environment: EnvironmentRef) -> list[dict[str, Any]]:
    """All networks that carry the environment's labels."""
    wanted = [f"{key}={value}" for key, value in own_labels(environment).items()]
    found: list[dict[str, Any]] = api.networks(filters={"label": wanted})
    return found


def own_labels(environment: EnvironmentRef) -> dict[str, str]:
    """The labels by which an environment's objects are found, whatever the rest of them says."""
    labels = labels_for(environment)
    return {key: labels[key] for key in ("itdash.instance", "itdash.environment")}


def disconnect(api: APIClient, environment: EnvironmentRef, container: str) -> dict[str, str]:
    """Take a container off the environment's networks; return key → the address it had there."""
    ours = [one for one in list_networks(api, environment) if NETWORK in (one.get("Labels") or {})]
    # Podman says a network's name where Docker says its id.
    keys = {str(one[name]): one["Labels"][NETWORK] for one in ours for name in ("Id", "Name")}
    attached = api.inspect_container(container)["NetworkSettings"]["Networks"] or {}
    left = {}
    for endpoint in attached.values():
        if (key := keys.get(endpoint["NetworkID"])) is not None:
            api.disconnect_container_from_network(container, endpoint["NetworkID"], force=True)
            left[key] = str(endpoint.get("IPAddress") or "")
    return left


def connect(
    api: APIClient, container: str, network_id: str, *, aliases: Sequence[str], address: str = ""
) -> None:
    """Put a container on a network, at the address it is known by where that is free."""
    for wanted in dict.fromkeys((address, "")):
        try:
            api.connect_container_to_network(
                container, network_id, aliases=list(aliases), ipv4_address=wanted or None
            )
        except APIError as error:
            said = str(error.explanation)
            if "already exists in network" in said:
                return
            if not (wanted and "Address already in use" in said):
                raise
        else:
            return


def remove_network(api: APIClient, network_id: str) -> None:
    """Put everyone out of the network, by name (which works when the id does not), and remove it."""
    try:
        inside = api.inspect_network(network_id).get("Containers") or {}
        for container_id, endpoint in inside.items():
            with suppress(APIError):
                api.disconnect_container_from_network(
                    endpoint.get("Name") or container_id, network_id, force=True
                )
        api.remove_network(network_id)
    except NotFound:
        return


def address_here(
    api: APIClient,
    environment: EnvironmentRef,
    keys: Sequence[str],
    find_own_container: Callable[[], str | None],
) -> str:
    """The address at which services on one of the networks reach this process.

    The network's gateway where this process runs on the engine's machine; our own container's address, once
    it has joined the network, where it runs in one; the address that a remote engine sees otherwise.
    """
    remote = address_towards(str(api.base_url))
    if remote is not None:
        return remote
    with translated("looking for the environment's networks"):
        found = list_networks(api, environment)
    network_id = preferred(found, keys) or preferred(found, ())
    if network_id is None:
        message = f"Environment {environment.name} has no network through which to reach itdash."
        raise EnvironmentFailedError(message, kind=FailureKind.INTERNAL)
    if (own := find_own_container()) is not None:
        return _address_as_member(api, own, network_id)
    with translated("looking for the network's gateway"):
        network = api.inspect_network(network_id)
    gateways = [config.get("Gateway") for config in network["IPAM"]["Config"]]
    return next(str(gateway) for gateway in gateways if gateway)


def _address_as_member(api: APIClient, own_container: str, network_id: str) -> str:
    """Join the network with our own container; `remove_network` puts us out again."""
    with translated("joining the environment's network"):
        try:
            api.connect_container_to_network(own_container, network_id)
        except APIError as error:
            if not is_conflict(error) and "already exists" not in str(error.explanation):
                raise
        attached = api.inspect_container(own_container)["NetworkSettings"]["Networks"]
    return next(str(one["IPAddress"]) for one in attached.values() if one["NetworkID"] == network_id)


def own_container(api: APIClient, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the id of the container of this engine that this process runs in; None on the engine's host.

    On the host the mounts name every running container; only in a container is one laid over `/etc`.
    """
    text = mounts.read_text() if mounts.exists() else ""
    hostname = socket.gethostname()
    candidates = [*OWN_FILE.findall(text), *([hostname] if SHORT_ID.fullmatch(hostname) else [])]
    for candidate in dict.fromkeys(candidates):
        with suppress(APIError):
            return str(api.inspect_container(candidate)["Id"])
    return None


def knock(base_url: str) -> None:
    """Raise `OSError` when nobody listens on a Unix socket: the SDK would leave its own socket open."""
    target = urlsplit(base_url)
    if "unix" in target.scheme:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
            knocking.connect(f"/{(target.netloc + target.path).lstrip('/')}")


def address_towards(base_url: str) -> str | None:
    """The address of this machine that a remote engine sees; None when the engine is on this machine."""
    target = urlsplit(base_url)
    if "unix" in target.scheme or "docker" in target.scheme or target.hostname in {"localhost", "127.0.0.1"}:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((target.hostname, target.port or 2375))
        return str(probe.getsockname()[0])


def preferred(found: Sequence[dict[str, Any]], keys: Sequence[str]) -> str | None:
    """The id of the network to be reached on: one of the keys, rather one that leads out."""
    mine = [one for one in found if not keys or (one.get("Labels") or {}).get(NETWORK) in keys]
    mine.sort(key=lambda one: bool(one.get("Internal")))
    return mine[0]["Id"] if mine else None
