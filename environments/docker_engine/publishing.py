"""Starting containers that publish ports: one at a time, and again where a port was taken meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from docker.errors import APIError

from environments.docker_engine.payload import container_name
from environments.labels import EnvironmentRef
from environments.spec import ServiceSpec

MOST_TRIES: Final = 8
#: What an engine says when somebody else took the port between its choice and its use.
TAKEN: Final = ("port is already allocated", "address already in use")


class Publishing:
    """Knows which containers publish. The engine picks a port and takes it in two steps: two starts at once
    may pick the same one, and so may a program of its host."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._names: set[str] = set()

    def note(self, environment: EnvironmentRef, service: ServiceSpec) -> None:
        """The service was created."""
        if service.published:
            self._names.add(container_name(environment, service.name))

    def forget(self, environment: EnvironmentRef) -> None:
        """The environment is gone."""
        self._names -= {name for name in list(self._names) if name.startswith(f"{environment.name}-")}

    def start(self, container: str, start: Callable[[str], None]) -> None:
        """Start it; one that publishes in its turn. Raises what the engine says when no try succeeds."""
        if container not in self._names:
            start(container)
            return
        with self._turn:
            for _ in range(MOST_TRIES - 1):
                try:
                    start(container)
                except APIError as error:
                    if not _is_taken(error):
                        raise
                else:
                    return
            start(container)


def addresses(facts: Mapping[str, Any]) -> dict[str, str]:
    """Port of a running container (``8080/tcp``) → where it is reached on the engine's host."""
    bound = facts.get("NetworkSettings", {}).get("Ports") or {}
    return {
        port: f"{places[0]['HostIp']}:{places[0]['HostPort']}"
        for port, places in sorted(bound.items())
        if places
    }


def _is_taken(error: APIError) -> bool:
    said = str(error.explanation)
    return any(text in said for text in TAKEN)
