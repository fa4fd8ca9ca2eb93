"""Which ulimits this engine may grant: found out once for each value, by starting what cannot run.

An engine without CAP_SYS_RESOURCE grants nothing above its own limits, and no call tells them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from environments.docker_engine.errors import explanation, translated
from environments.labels import EnvironmentRef, labels_for
from environments.spec import EnvironmentSpec

#: A program that no image has: the engine sets limits before it looks for one.
_NO_PROGRAM: Final = ["/itdash-looks-whether-limits-are-granted"]
#: What the runtime says of a limit, before it would say that the program is missing.
_REFUSAL: Final = "rlimit"


class Ulimits:
    """Remembers what the engine refused. `empty_image` gives an image to make a container of."""

    def __init__(self, api: APIClient, empty_image: Callable[[], str]) -> None:
        self._api = api
        self._empty_image = empty_image
        self._refused: dict[tuple[str, int], bool] = {}
        self._turn = threading.Lock()

    def granted(
        self, environment: EnvironmentRef, wanted: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Those of the wanted limits that the engine may set; what it may not is left as it is there."""
        return [
            limit for limit in wanted if not self.is_refused(environment, str(limit["Name"]), limit["Hard"])
        ]

    def refused(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> frozenset[tuple[str, int]]:
        """Name and hard value of those of the spec's limits that the engine may not set."""
        asked = {
            (name, hard) for service in spec.services.values() for name, (_, hard) in service.ulimits.items()
        }
        return frozenset(pair for pair in asked if self.is_refused(environment, *pair))

    def is_refused(self, environment: EnvironmentRef, name: str, hard: int) -> bool:
        """Whether a container with that limit would not start. Tried out in the environment's name, so that
        nothing stays should this process die meanwhile."""
        with self._turn:
            if (name, hard) not in self._refused:
                with translated(f"finding out whether {name} {hard} is granted"):
                    self._refused[name, hard] = self._try(environment, name, hard)
            return self._refused[name, hard]

    def _try(self, environment: EnvironmentRef, name: str, hard: int) -> bool:
        config = {
            "Image": self._empty_image(),
            "Cmd": _NO_PROGRAM,
            "Labels": labels_for(environment),
            "HostConfig": {"NetworkMode": "none", "Ulimits": [{"Name": name, "Soft": hard, "Hard": hard}]},
        }
        created = self._api.create_container_from_config(config)  # type: ignore[no-untyped-call] # stubs lack it
        try:
            self._api.start(created["Id"])
        except APIError as error:
            return _REFUSAL in explanation(error).lower()
        finally:
            with suppress(NotFound):
                self._api.remove_container(created["Id"], force=True, v=True)
        return False
