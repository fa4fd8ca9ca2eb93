"""A service with several containers → one service for each: ``web`` becomes ``web-1``, ``web-2`` … Plain.

All of them answer to the one name, in turn, on every network that the service is on. Whoever waits for the
service waits for each of them; whoever shares something of it shares the first one's, as with Compose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from environments.errors import Problem, SpecError
from environments.spec.model import Dependency, EnvironmentSpec, ServiceSpec


def with_replicas(spec: EnvironmentSpec) -> EnvironmentSpec:
    """Return the environment with a service for every container; a service of none is left out.

    Doing it twice changes nothing. Raises `SpecError` when a container would take another service's name.
    """
    names = {name: _names(service) for name, service in spec.services.items()}
    if all(given == [name] for name, given in names.items()):
        return spec
    _refuse_taken(spec, names)
    services = {}
    for service in spec.services.values():
        for name in names[service.name]:
            services[name] = _replica(service, name, names)
    return replace(spec, services=services, places=dict(_places(spec.places, names)))


def _names(service: ServiceSpec) -> list[str]:
    if service.scale == 1:
        return [service.name]
    return [f"{service.name}-{number}" for number in range(1, service.scale + 1)]


def _refuse_taken(spec: EnvironmentSpec, names: Mapping[str, list[str]]) -> None:
    problems = []
    for service, replicas in names.items():
        for taken in [name for name in replicas if name != service and name in spec.services]:
            file, line = spec.places.get(f"services.{service}.scale", ("", None))
            message = (
                f"service {service!r} has {len(replicas)} containers, and {taken!r} is a service already"
            )
            key = f"services.{service}.scale"
            problems.append(Problem(message, file, line, key, "Call one of them something else."))
    if problems:
        raise SpecError(*problems)


def _replica(service: ServiceSpec, name: str, names: Mapping[str, list[str]]) -> ServiceSpec:
    depends_on = tuple(
        Dependency(other, entry.condition, entry.required)
        for entry in service.depends_on
        for other in names.get(entry.service, [entry.service])
    )
    shared = replace(
        service,
        name=name,
        scale=1,
        depends_on=depends_on,
        network_mode=_first(service.network_mode, names) if service.network_mode else None,
        privileges=_privileges(service.privileges, names),
    )
    if name == service.name:
        return shared
    networks = {
        network: tuple(dict.fromkeys((service.name, *aliases)))
        for network, aliases in service.networks.items()
    }
    return replace(shared, networks=networks)


def _privileges(asked: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """Names of services in them are those of their first containers."""
    result = dict(asked)
    for key in ("pid", "ipc"):
        if isinstance(asked.get(key), str):
            result[key] = _first(asked[key], names)
    if isinstance(asked.get("volumes_from"), list):
        result["volumes_from"] = [_first(f"service:{entry}", names)[8:] for entry in asked["volumes_from"]]
    return result


def _first(reference: str, names: Mapping[str, list[str]]) -> str:
    """``service:web`` and what may follow, with the name of the first container; anything else as it is."""
    kind, _, rest = reference.partition(":")
    name, colon, tail = rest.partition(":")
    if kind != "service" or not names.get(name):
        return reference
    return f"{kind}:{names[name][0]}{colon}{tail}"


def _places(
    places: Mapping[str, tuple[str, int]], names: Mapping[str, list[str]]
) -> Iterator[tuple[str, tuple[str, int]]]:
    for key, place in places.items():
        yield key, place
        section, _, rest = key.partition(".")
        name, _, tail = rest.partition(".")
        if section == "services":
            yield from ((f"services.{replica}.{tail}", place) for replica in names.get(name, ()))
