"""Keeping services from each other: rules of iptables in a service's own network, and proof of them.

The rules stand in a chain of the fault's own for each direction. They match addresses, so names are looked up
when they are made, and they go with the container's network: a service that starts again has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from docker.api.client import APIClient
from docker.errors import NotFound

from environments.docker_engine import networks, payload
from environments.docker_engine.errors import translated
from environments.docker_engine.helper import Helper, Said
from environments.engine import Direction, Partition, PartitionMode
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef

_SHARED: Final = "container:"
_LOOKS_AT_ONCE: Final = 4
_CANNOT: Final = 70
#: What becomes of a packet, first match first. A refusal is a packet too, and has to come through.
_TARGETS: Final = {
    PartitionMode.DROP: ("-j DROP",),
    PartitionMode.REJECT: (
        "-p tcp -m tcp --tcp-flags RST RST -j RETURN",
        "-p icmp -m icmp --icmp-type 3/3 -j RETURN",
        "-p tcp -j REJECT --reject-with tcp-reset",
        "-j REJECT --reject-with icmp-port-unreachable",
    ),
}
#: Chain's end, the kernel's chain that leads to it, and which of a packet's addresses is the peer's.
_WAYS: Final = {Direction.IN: ("-in", "INPUT", "-s"), Direction.OUT: ("-out", "OUTPUT", "-d")}

#: Engines and images differ in which of the kernel's two tables they speak to; a namespace takes both.
_TOOLS: Final = "iptables iptables-legacy iptables-nft"
_CLEAR: Final = r"""
clear() {
  for way in "INPUT $CHAIN-in" "OUTPUT $CHAIN-out"; do
    set -- "$1" $way
    while "$1" -w 5 -D "$2" -j "$3" 2>/dev/null; do found=yes; done
    "$1" -w 5 -F "$3" 2>/dev/null
    "$1" -w 5 -X "$3" 2>/dev/null
  done
}
found=no
"""
_APPLY: Final = f"""{_CLEAR}
for tool in {_TOOLS}; do
  command -v "$tool-restore" >/dev/null 2>&1 || continue
  clear "$tool"
  if printf '%s\\n' "$RULES" | "$tool-restore" --noflush -w 5; then exec "$tool" -w 5 -S; fi
done
echo "none of {_TOOLS} works here"
exit {_CANNOT}
"""
_UNDO: Final = f"""{_CLEAR}
for tool in {_TOOLS}; do
  command -v "$tool" >/dev/null 2>&1 && clear "$tool"
done
echo "found: $found"
"""


def rules(partition: Partition, addresses: Sequence[str]) -> list[str]:
    """The lines that must stand in the table afterwards, as `iptables -S` says them."""
    found = []
    for end, hook, side in _ways(partition):
        chain = f"{_chain(partition)}{end}"
        found.append(f"-A {hook} -j {chain}")
        found += [
            f"-A {chain} {side} {address}/32 {target}"
            for address in addresses
            for target in _TARGETS[partition.mode]
        ]
    return found


def table(partition: Partition, addresses: Sequence[str]) -> str:
    """The same for `iptables-restore`, taken whole or not at all; our chains come before all others."""
    lines = [line.replace("-A INPUT", "-I INPUT 1") for line in rules(partition, addresses)]
    lines = [line.replace("-A OUTPUT", "-I OUTPUT 1") for line in lines]
    chains = [f":{_chain(partition)}{end} - [0:0]" for end, _, _ in _ways(partition)]
    return "\n".join(["*filter", *chains, *lines, "COMMIT"])


def missing(partition: Partition, addresses: Sequence[str], listed: str) -> list[str]:
    """Rules that `iptables -S` does not list."""
    there = {" ".join(line.split()) for line in listed.splitlines()}
    return [line for line in rules(partition, addresses) if line not in there]


def apply(
    api: APIClient, helper: Helper, environment: EnvironmentRef, service: str, partition: Partition
) -> None:
    """Put the rules into the service's network and see that they are there; nothing stays when they are not.

    Raises UNSUPPORTED when this engine, its kernel or the helper's image cannot, SERVICE_EXITED when the
    service, or every peer, does not run.
    """
    with translated(f"looking where service '{service}' is", service=service):
        keeper, addresses = _places(api, environment, service, partition.peers)
    said = helper.run(
        environment,
        _APPLY,
        network_of=keeper,
        variables={"CHAIN": _chain(partition), "RULES": table(partition, addresses)},
    )
    lacking = missing(partition, addresses, said.output)
    if said.exit_code == 0 and not lacking:
        return
    _clear(helper, environment, keeper, partition)
    raise _not_applied(service, said, lacking)


def undo(
    api: APIClient, helper: Helper, environment: EnvironmentRef, service: str, partition: Partition
) -> bool:
    """Take the rules away; False when there were none although the service runs: it began anew meanwhile."""
    with translated(f"looking where service '{service}' is", service=service):
        facts = _running(api, environment, service)
        if facts is None:
            return True
        keeper = _keeper(api, facts)["Id"]
    said = _clear(helper, environment, keeper, partition)
    if said.exit_code != 0:
        message = f"The rules at service '{service}' could not be taken away: {said.output.strip()}"
        raise EnvironmentFailedError(message, kind=FailureKind.INTERNAL, service=service)
    return "found: yes" in said.output


def _clear(helper: Helper, environment: EnvironmentRef, keeper: str, partition: Partition) -> Said:
    return helper.run(environment, _UNDO, network_of=keeper, variables={"CHAIN": _chain(partition)})


def _places(
    api: APIClient, environment: EnvironmentRef, service: str, peers: Sequence[str]
) -> tuple[str, list[str]]:
    """The container that holds the service's network, and the peers' addresses in the environment."""
    facts = _running(api, environment, service)
    if facts is None:
        message = f"Service '{service}' does not run, so nobody can be kept from it."
        raise EnvironmentFailedError(message, kind=FailureKind.SERVICE_EXITED, service=service)
    keeper = _keeper(api, facts)
    # Podman says a network's name where Docker says its id.
    listed = networks.list_networks(api, environment)
    ours = {str(one[key]) for one in listed for key in ("Id", "Name")}
    own = _addresses(keeper, ours)
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        seen = pool.map(lambda peer: _running(api, environment, peer), peers)
    there = [address for one in seen if one is not None for address in _addresses(_keeper(api, one), ours)]
    theirs = sorted(set(there) - set(own))
    if not own or (there and not theirs):
        message = f"Service '{service}' has no network of its own to be cut off from them."
        raise EnvironmentFailedError(message, kind=FailureKind.UNSUPPORTED, service=service)
    if not theirs:
        message = f"None of {', '.join(peers)} runs, so there is nobody to keep from '{service}'."
        raise EnvironmentFailedError(message, kind=FailureKind.SERVICE_EXITED, service=service)
    return keeper["Id"], theirs


def _running(api: APIClient, environment: EnvironmentRef, service: str) -> dict[str, Any] | None:
    """What is known of a service's container; None when it does not run, or not yet."""
    try:
        facts: dict[str, Any] = api.inspect_container(payload.container_name(environment, service))
    except NotFound:
        return None
    return facts if facts["State"]["Running"] else None


def _keeper(api: APIClient, facts: dict[str, Any]) -> dict[str, Any]:
    """The container whose network a container is in: its own, or the one it shares."""
    mode = str(facts["HostConfig"]["NetworkMode"])
    if not mode.startswith(_SHARED):
        return facts
    shared: dict[str, Any] = api.inspect_container(mode.removeprefix(_SHARED))
    return shared


def _addresses(facts: Mapping[str, Any], ours: set[str]) -> list[str]:
    attached = facts["NetworkSettings"]["Networks"] or {}
    return [
        str(one["IPAddress"]) for one in attached.values() if one["NetworkID"] in ours and one["IPAddress"]
    ]


def _ways(partition: Partition) -> Iterator[tuple[str, str, str]]:
    for direction, way in _WAYS.items():
        if partition.direction in {direction, Direction.BOTH}:
            yield way


def _chain(partition: Partition) -> str:
    """At most 28 characters, of which "-out" takes four."""
    return f"ITDASH-{partition.id}"


def _not_applied(service: str, said: Said, lacking: Sequence[str]) -> EnvironmentFailedError:
    why = (
        f"the rule '{lacking[0]}' is not in place although nothing was complained of"
        if said.exit_code == 0
        else " ".join(said.output.split()) or f"exit code {said.exit_code}"
    )
    message = f"Service '{service}' could not be cut off, and nothing was changed: {why}."
    return EnvironmentFailedError(message, kind=FailureKind.UNSUPPORTED, service=service)
