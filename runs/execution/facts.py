"""What a run keeps of its services' specification: by which names a failure may speak of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from environments.presets import preset_for
from environments.spec import ServiceSpec
from runs.execution.plans import ShardPlan

#: Names and ports kept of one service, of each sort.
_KEPT = 20


def service_facts(plans: Sequence[ShardPlan]) -> dict[str, dict[str, Any]]:
    """The hosts, ports and dependencies of every service, the tests' too, of all shards together."""
    facts: dict[str, dict[str, Any]] = {}
    for plan in plans:
        for name, service in plan.spec.services.items():
            _add(facts.setdefault(name, {}), service)
    return facts


def _add(known: dict[str, Any], service: ServiceSpec) -> None:
    own: dict[str, Sequence[object]] = {
        "hosts": _hosts(service),
        "ports": _ports(service),
        "depends_on": [dependency.service for dependency in service.depends_on],
    }
    for key, values in own.items():
        known[key] = list(dict.fromkeys([*known.get(key, []), *values]))[:_KEPT]


def _hosts(service: ServiceSpec) -> list[str]:
    """What others on its networks may call it, its own name aside."""
    aliases = [alias for names in service.networks.values() for alias in names]
    return [
        name for name in (service.hostname, service.container_name, *aliases) if name and name != service.name
    ]


def _ports(service: ServiceSpec) -> list[int]:
    """Where it listens: as the file says, else as is usual for what it is."""
    if service.ports:
        return list(service.ports)
    preset = preset_for(service)
    return [preset.port] if preset is not None else []
