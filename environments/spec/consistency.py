"""What no schema sees: names that point nowhere, circles, services that cannot start. Completes the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from environments.errors import Problem
from environments.spec.source import Map, Mark, Seq, nearest

_DEFAULT: Final = "default"
#: Keys of a service whose value ``service:NAME`` lends it another one's namespace.
_SHARED: Final = ("network_mode", "pid", "ipc")


def check_model(tree: Map, *, profiles: Sequence[str], problems: list[Problem]) -> None:
    """Complete the merged tree in place and add a problem for everything that does not fit together."""
    if not isinstance(tree.get("services"), Map) or not tree["services"]:
        problems.append(Problem("no services are defined", tree.mark.file, tree.mark.line, "services"))
        return
    services: Map = tree["services"]
    switched_off = {name for name, service in services.items() if not _is_on(service, profiles)}
    for name, service in services.items():
        _complete(name, service, tree)
    for name, service in services.items():
        if name not in switched_off:
            _check_service(name, service, tree, switched_off, problems)
    _check_circles(services, problems)
    for name in switched_off:
        del services[name]


def _is_on(service: Map, profiles: Sequence[str]) -> bool:
    asked = service.get("profiles") or ()
    return not asked or "*" in profiles or any(profile in profiles for profile in asked)


def _complete(name: str, service: Map, tree: Map) -> None:
    """Spell out what follows from other keys: the default network, dependencies that are implied."""
    if not service.get("networks") and "network_mode" not in service and "provider" not in service:
        service.put("networks", Map([(_DEFAULT, None)]), service.mark)
    if _DEFAULT in service.get("networks", ()):
        tree.setdefault("networks", Map()).setdefault(_DEFAULT, None)
    depends = service.get("depends_on") or Map(mark=service.mark)
    for other, place in _implied(service):
        if other not in depends and other != name:
            entry = Map([("condition", "service_started"), ("restart", True), ("required", True)])
            depends.put(other, entry, place)
    if depends:
        service.put("depends_on", depends, service.place("depends_on"))


def _implied(service: Map) -> list[tuple[str, Mark]]:
    implied: list[tuple[str, Mark]] = []
    for key in _SHARED:
        kind, _, other = str(service.get(key) or "").partition(":")
        if kind == "service" and other:
            implied.append((other, service.place(key)))
    for key, foreign in (("links", ""), ("volumes_from", "container:")):
        entries = service.get(key) or Seq()
        for index, entry in enumerate(entries):
            if not (foreign and entry.startswith(foreign)):
                implied.append((entry.partition(":")[0], entries.place(index)))
    return implied


def _check_service(
    name: str, service: Map, tree: Map, switched_off: set[str], problems: list[Problem]
) -> None:
    def problem(message: str, key: str, place: Mark, mend: str = "") -> None:
        problems.append(
            Problem(f"service {name!r} {message}", place.file, place.line, f"services.{name}.{key}", mend)
        )

    if not any(key in service for key in ("image", "build", "provider")):
        place = tree["services"].place(name)
        problem("has neither an image nor a build context", "image", place, "Add 'image' or 'build'.")
    _check_names(service, "networks", tree, problem)
    _check_names(service, "models", tree, problem)
    _check_sources(service, "secrets", tree, problem)
    _check_sources(service, "configs", tree, problem)
    for index, mount in enumerate(service.get("volumes") or ()):
        source, known = mount.get("source"), tree.get("volumes") or {}
        if mount.get("type") == "volume" and source and source not in known:
            message = f"refers to undefined volume {source!r}"
            problem(message, f"volumes[{index}]", service["volumes"].place(index), nearest(source, known))
    _check_dependencies(name, service, tree["services"], switched_off, problem)
    if service.get("networks") and service.get("network_mode") not in {None, ""}:
        problem("sets both 'networks' and 'network_mode'", "network_mode", service.place("network_mode"))


def _check_names(service: Map, key: str, tree: Map, problem: Any) -> None:  # noqa: ANN401 - a closure
    known: Mapping[str, Any] = tree.get(key) or {}
    for other in service.get(key) or ():
        if other not in known:
            place = service[key].place(other)
            problem(
                f"refers to undefined {key[:-1]} {other!r}", f"{key}.{other}", place, nearest(other, known)
            )


def _check_sources(service: Map, key: str, tree: Map, problem: Any) -> None:  # noqa: ANN401 - a closure
    known: Mapping[str, Any] = tree.get(key) or {}
    for index, entry in enumerate(service.get(key) or ()):
        source = entry.get("source", "")
        if source not in known:
            place = service[key].place(index)
            problem(
                f"refers to undefined {key[:-1]} {source!r}", f"{key}[{index}]", place, nearest(source, known)
            )


def _check_dependencies(name: str, service: Map, services: Map, switched_off: set[str], problem: Any) -> None:  # noqa: ANN401
    for other, entry in (service.get("depends_on") or {}).items():
        place = service["depends_on"].place(other)
        key = f"depends_on.{other}"
        if other not in services:
            if entry.get("required", True):
                known = [service for service in services if service != name]
                problem(f"depends on undefined service {other!r}", key, place, nearest(other, known))
        elif other in switched_off and entry.get("required", True):
            wanted = ", ".join(services[other]["profiles"])
            mend = f"Switch on one of its profiles ({wanted}) or say 'required: false'."
            problem(f"depends on service {other!r}, which no active profile switches on", key, place, mend)


def _check_circles(services: Map, problems: list[Problem]) -> None:
    """Add one problem for the first circle of dependencies on each path, naming the whole way round."""
    done: set[str] = set()
    for start in services:
        circle = _circle_from(start, services, done)
        if circle:
            place = services[circle[0]]["depends_on"].place(circle[1])
            way = " -> ".join(circle)
            key = f"services.{circle[0]}.depends_on.{circle[1]}"
            problems.append(
                Problem(f"services wait for each other in a circle: {way}", place.file, place.line, key)
            )
            return


def _circle_from(start: str, services: Map, done: set[str]) -> list[str]:
    path: list[str] = []
    waiting: list[tuple[str, bool]] = [(start, False)]
    while waiting:
        name, is_left = waiting.pop()
        if is_left:
            path.pop()
            done.add(name)
            continue
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done or name not in services:
            continue
        path.append(name)
        waiting.append((name, True))
        waiting.extend((other, False) for other in services[name].get("depends_on") or ())
    return []
