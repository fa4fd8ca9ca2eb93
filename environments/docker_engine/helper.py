"""The helper: a container that stands in a service's network for a moment, with the one right that takes.

It runs an image of the operator's, never one of a suite's: no file of a suite names it, reaches it or shares
anything with it. It has NET_ADMIN and no other capability, nothing mounted, nothing to write to but memory,
and it is gone before the call returns.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from environments.docker_engine import copies
from environments.docker_engine.errors import explanation, translated
from environments.docker_engine.images import Images
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef, labels_for
from environments.spec import EMPTY, Build, ServiceSpec

CONTEXT: Final = Path(__file__).parent / "helper_image"
TIMEOUT_SECONDS: Final = 20
OUTPUT_LINES: Final = 500
NOT_SET: Final = (
    "no image is set to do it with: let ITDASH_FAULT_BASE_IMAGE name a Debian or Alpine image to build one"
    " from, or ITDASH_FAULT_IMAGE one that has `iptables` and `tc`"
)


@dataclass(frozen=True, slots=True)
class HelperImage:
    """Which image helpers run: `image` as it is, else one built from `base`, else none."""

    image: str = ""
    base: str = ""

    def __bool__(self) -> bool:
        return bool(self.image or self.base)


@dataclass(frozen=True, slots=True)
class Said:
    """What a helper came to."""

    exit_code: int
    output: str


class Helper:
    """Runs short scripts in the networks of services."""

    def __init__(self, api: APIClient, images: Images, wanted: HelperImage) -> None:
        self._api = api
        self._images = images
        self._wanted = wanted
        self._lock = threading.Lock()
        self._image = ""

    @property
    def is_set(self) -> bool:
        """Say whether there is an image to run at all."""
        return bool(self._wanted)

    def image(self, instance: str) -> str:
        """Return the image, found, pulled or built once. Raises UNSUPPORTED with the reason."""
        if not self._wanted:
            message = f"This cannot be done here: {NOT_SET}."
            raise EnvironmentFailedError(message, kind=FailureKind.UNSUPPORTED)
        with self._lock:
            if not self._image:
                try:
                    self._image = self._images.prepare(self._service(), instance)
                except EnvironmentFailedError as error:
                    if error.kind is FailureKind.ENGINE_UNAVAILABLE:
                        raise
                    message = f"There is no image to do it with. {error}"
                    raise EnvironmentFailedError(
                        message, kind=FailureKind.UNSUPPORTED, evidence=error.evidence
                    ) from error
            return self._image

    def is_there(self) -> bool:
        """Say whether a script could be run without pulling or building anything first."""
        return bool(self._image) or self._images.is_there(self._service())

    def run(
        self,
        environment: EnvironmentRef,
        script: str,
        *,
        network_of: str | None = None,
        variables: Mapping[str, str] = EMPTY,
    ) -> Said:
        """Run a shell script in a container's network (its id), else in one where nobody else is.

        Raises UNSUPPORTED when the engine forbids such helpers.
        """
        image = self.image(environment.instance)
        name = f"{environment.name}.helper-{secrets.token_hex(4)}"
        mode = f"container:{network_of}" if network_of else "none"
        config = _config(environment, image, script, mode, variables)
        with translated("sending a helper into a service's network"):
            try:
                copies.create(self._api, config, name)
                self._api.start(name)
            except APIError as error:
                self._remove(name)
                message = f"The engine does not let a helper into a service's network: {explanation(error)}"
                raise EnvironmentFailedError(message, kind=FailureKind.UNSUPPORTED) from error
            try:
                code = self._api.wait(name, timeout=TIMEOUT_SECONDS)["StatusCode"]
                said = self._api.logs(name, stdout=True, stderr=True, tail=OUTPUT_LINES)
            finally:
                self._remove(name)
        return Said(int(code), said.decode(errors="replace"))

    def _remove(self, name: str) -> None:
        with suppress(NotFound):
            self._api.remove_container(name, force=True, v=True)

    def _service(self) -> ServiceSpec:
        """The helper in the words in which images are asked for."""
        if self._wanted.image:
            return ServiceSpec(name="fault helper", image=self._wanted.image)
        build = Build(context=CONTEXT, args={"BASE": self._wanted.base})
        return ServiceSpec(name="fault helper", build=build)


def _config(
    environment: EnvironmentRef, image: str, script: str, mode: str, variables: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": [script],
        "User": "0:0",
        "Env": [f"{name}={value}" for name, value in variables.items()],
        # Without a service's label: it is no service, and nothing is told of it.
        "Labels": labels_for(environment),
        "HostConfig": {
            "NetworkMode": mode,
            "CapDrop": ["ALL"],
            "CapAdd": ["NET_ADMIN"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": True,
            # Where iptables keeps its lock.
            "Tmpfs": {"/run": "size=1m"},
            "Memory": 64 * 1024**2,
            "PidsLimit": 64,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        },
    }
