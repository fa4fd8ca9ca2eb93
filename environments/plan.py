"""Dependency graph → what may start when. A pure object that whoever starts services asks again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from environments.errors import Problem, SpecError
from environments.spec import Condition, Dependency, EnvironmentSpec


class Progress(StrEnum):
    """How far a service has come. What is not in the mapping is `WAITING`."""

    WAITING = "waiting"
    STARTING = "starting"
    STARTED = "started"
    READY = "ready"
    COMPLETED = "completed"
    FAILED = "failed"


#: What each condition is content with. A one-shot that ended well was started, and needs no health.
_MET: Mapping[Condition, frozenset[Progress]] = {
    Condition.STARTED: frozenset({Progress.STARTED, Progress.READY, Progress.COMPLETED}),
    Condition.HEALTHY: frozenset({Progress.READY}),
    Condition.COMPLETED: frozenset({Progress.COMPLETED}),
}
#: From here nothing more will come, so that a condition not met by now never is.
_FINAL = frozenset({Progress.COMPLETED, Progress.FAILED})


@dataclass(frozen=True, slots=True)
class Unmet:
    """A service that waits, and what for."""

    service: str
    dependency: Dependency
    progress: Progress

    def __str__(self) -> str:
        needed = self.dependency
        return f"{self.service} waits for {needed.service} ({needed.condition}), which is {self.progress}"


class StartPlan:
    """Says which services may start, which never will, and in which order they go.

    Raises `SpecError` when services wait for each other in a circle or for one that does not exist.
    """

    def __init__(self, spec: EnvironmentSpec) -> None:
        self._order = list(spec.services)
        self._dependencies = {
            name: tuple(
                entry for entry in service.depends_on if entry.service in spec.services or entry.required
            )
            for name, service in spec.services.items()
        }
        self._check_names()
        _check_health(spec, self._dependencies)
        self._check_circles()

    @property
    def services(self) -> list[str]:
        """Every service, in the file's order."""
        return list(self._order)

    def ready(self, states: Mapping[str, Progress]) -> list[str]:
        """The services that may start now, in the file's order: not yet begun, every condition met."""
        lost = frozenset(self.blocked(states))
        return [
            name
            for name in self._order
            if name not in lost
            and _progress(states, name) is Progress.WAITING
            and not self._holds_back(name, states, lost)
        ]

    def unmet(self, states: Mapping[str, Progress]) -> list[Unmet]:
        """Every condition that keeps a waiting service back, for messages."""
        lost = frozenset(self.blocked(states))
        return [
            Unmet(name, dependency, _progress(states, dependency.service))
            for name in self._order
            if _progress(states, name) is Progress.WAITING
            for dependency in self._holds_back(name, states, lost)
        ]

    def blocked(self, states: Mapping[str, Progress]) -> list[str]:
        """The waiting services that can never start: what they need ended otherwise, or is blocked itself."""
        lost: frozenset[str] = frozenset()
        for name in self.start_order():
            if _progress(states, name) is Progress.WAITING and any(
                self._is_over(dependency.service, states, lost)
                for dependency in self._holds_back(name, states, lost)
            ):
                lost |= {name}
        return [name for name in self._order if name in lost]

    def waited_for(self, service: str) -> frozenset[Condition]:
        """The conditions under which others wait for the service; empty when nobody does."""
        return frozenset(
            dependency.condition
            for dependencies in self._dependencies.values()
            for dependency in dependencies
            if dependency.service == service
        )

    def start_order(self) -> list[str]:
        """Every service after all it depends on, otherwise in the file's order."""
        order: list[str] = []
        placed: set[str] = set()
        waiting = list(self._order)
        while waiting:
            free = [
                name for name in waiting if all(entry.service in placed for entry in self._dependencies[name])
            ]
            order += free
            placed.update(free)
            waiting = [name for name in waiting if name not in placed]
        return order

    def stop_order(self) -> list[list[str]]:
        """Layers for an orderly end: within a layer at once, and each before those that it depends on."""
        needed_by = {name: set(self._dependants(name)) for name in self._order}
        layers: list[list[str]] = []
        gone: set[str] = set()
        while len(gone) < len(self._order):
            layer = [name for name in self._order if name not in gone and needed_by[name] <= gone]
            layers.append(layer)
            gone.update(layer)
        return layers

    def needed_for(self, services: Iterable[str]) -> frozenset[str]:
        """The services and everything they depend on, however far."""
        needed: set[str] = set()
        waiting = list(services)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting.extend(dependency.service for dependency in self._dependencies[name])
        return frozenset(needed)

    def _holds_back(
        self, name: str, states: Mapping[str, Progress], lost: frozenset[str]
    ) -> list[Dependency]:
        """What the service still waits for; no more for an optional dependency that is over."""
        return [
            dependency
            for dependency in self._dependencies[name]
            if _progress(states, dependency.service) not in _MET[dependency.condition]
            and (dependency.required or not self._is_over(dependency.service, states, lost))
        ]

    @staticmethod
    def _is_over(service: str, states: Mapping[str, Progress], lost: frozenset[str]) -> bool:
        return service in lost or _progress(states, service) in _FINAL

    def _dependants(self, service: str) -> list[str]:
        return [
            name
            for name, dependencies in self._dependencies.items()
            if any(dependency.service == service for dependency in dependencies)
        ]

    def _check_names(self) -> None:
        problems = [
            Problem(
                f"service {name!r} depends on undefined service {dependency.service!r}",
                key=f"services.{name}.depends_on.{dependency.service}",
            )
            for name, dependencies in self._dependencies.items()
            for dependency in dependencies
            if dependency.service not in self._dependencies
        ]
        if problems:
            raise SpecError(*problems)

    def _check_circles(self) -> None:
        cleared: set[str] = set()
        for start in self._order:
            circle = self._circle(start, cleared)
            if circle:
                way = " -> ".join(circle)
                key = f"services.{circle[0]}.depends_on.{circle[1]}"
                raise SpecError(Problem(f"services wait for each other in a circle: {way}", key=key))

    def _circle(self, start: str, cleared: set[str]) -> list[str]:
        """The way round, its first service also last; empty when `start` leads into none."""
        path: dict[str, None] = {}
        steps: list[tuple[str, bool]] = [(start, False)]
        while steps:
            name, is_left = steps.pop()
            if is_left:
                path.popitem()
                cleared.add(name)
            elif name in path:
                way = list(path)
                return [*way[way.index(name) :], name]
            elif name not in cleared:
                path[name] = None
                steps.append((name, True))
                steps += [(dependency.service, False) for dependency in self._dependencies[name]]
        return []


def start_seconds(spec: EnvironmentSpec, *, otherwise: float) -> float:
    """How long all services together may take to become ready: what the file says or else `otherwise`, and on
    top of it what single services ask for beyond that."""
    whole = spec.start_timeout_seconds or otherwise
    own = [service.start_timeout_seconds or 0.0 for service in spec.services.values()]
    return whole + sum(max(0.0, seconds - whole) for seconds in own)


def _progress(states: Mapping[str, Progress], service: str) -> Progress:
    return states.get(service, Progress.WAITING)


def _check_health(spec: EnvironmentSpec, dependencies: Mapping[str, tuple[Dependency, ...]]) -> None:
    """A service whose health check is switched off never becomes healthy."""
    problems = [
        Problem(
            f"service {name!r} waits until {dependency.service!r} is healthy, but its health check is off",
            key=f"services.{name}.depends_on.{dependency.service}",
            mend="Wait for 'service_started', or give it a health check.",
        )
        for name, entries in dependencies.items()
        for dependency in entries
        if dependency.condition is Condition.HEALTHY
        and spec.services[dependency.service].healthcheck_disabled
        and spec.services[dependency.service].ready is None
    ]
    if problems:
        raise SpecError(*problems)
