"""Images: found, pulled or built, once for the same content."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from docker.api.client import APIClient
from docker.errors import APIError, BuildError, ImageNotFound

from environments.docker_engine import builders, contexts
from environments.docker_engine.builders import Builders, NeedsBuildKitError
from environments.docker_engine.dockerfiles import syntax
from environments.docker_engine.errors import explanation, translated
from environments.errors import EnvironmentFailedError, Evidence, FailureKind
from environments.labels import INSTANCE
from environments.registries import bases, mirrored
from environments.spec import Build, ServiceSpec

REPOSITORY = "itd-build"
#: Nothing in it, nothing to run: holds volumes while they are filled.
EMPTY_IMAGE = "itdash/empty:1"
LOG_TAIL_LINES = 100
RATE_LIMIT = re.compile(r"toomanyrequests|too many requests|rate limit", re.IGNORECASE)


class Images:
    """The engine's images as services ask for them. One pull or build at a time for each."""

    def __init__(self, api: APIClient, stream_api: APIClient, *, mirror: str = "") -> None:
        self._api = api
        self._mirror = mirror
        self._stream_api = stream_api
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @cached_property
    def _builders(self) -> Builders:
        with translated("asking how the engine builds"):
            return builders.of_engine(self._api)

    def prepare(self, service: ServiceSpec, instance: str) -> str:
        """Return the image that a service runs; raise IMAGE_MISSING or BUILD_FAILED with the mend."""
        if service.build is not None:
            return self._built(service, service.build, instance)
        if service.image is None:
            message = f"Service '{service.name}' has neither an image nor a build."
            raise EnvironmentFailedError(message, kind=FailureKind.IMAGE_MISSING, service=service.name)
        with self._turns[service.image]:
            return self._found(service, service.image)

    def digest(self, image: str) -> str:
        """The image's content address: of the registry where one is known, of the engine otherwise."""
        with translated(f"looking at image {image}"):
            facts = self._inspect(image)
        return str(next(iter(facts.get("RepoDigests") or []), facts["Id"]))

    def empty(self) -> str:
        """Return an image with nothing in it, made once per engine."""
        with self._turns[EMPTY_IMAGE], translated("making an empty image"):
            if not self._has(EMPTY_IMAGE):
                nothing = io.BytesIO()
                tarfile.open(fileobj=nothing, mode="w").close()
                repository, _, tag = EMPTY_IMAGE.partition(":")
                said = self._api.import_image_from_data(nothing.getvalue(), repository=repository, tag=tag)
                # Podman leaves the tag out.
                if not self._has(EMPTY_IMAGE):
                    self._api.tag(json.loads(said)["status"], repository, tag)
        return EMPTY_IMAGE

    def is_there(self, service: ServiceSpec) -> bool:
        """Say whether what a service runs is on the engine already, so that preparing it takes no time."""
        if service.build is None:
            return self._has(service.image or "")
        with tempfile.TemporaryFile() as packed:
            content = contexts.pack(service.build, packed)
        return self._has(f"{REPOSITORY}:{self._address(service.build, content)}")

    def _inspect(self, image: str) -> dict[str, Any]:
        facts: dict[str, Any] = self._api.inspect_image(image)  # type: ignore[no-untyped-call] # stubs lack it
        return facts

    def _has(self, image: str) -> bool:
        try:
            self._inspect(image)
        except ImageNotFound:
            return False
        return True

    def _found(self, service: ServiceSpec, image: str) -> str:
        with translated(f"looking for image {image}", service=service.name):
            here = self._has(image)
        if here and service.pull_policy != "always":
            return image
        if service.pull_policy == "never":
            message = (
                f"Image '{image}' of service '{service.name}' is not on the engine, "
                "and its pull_policy is never."
            )
            raise EnvironmentFailedError(message, kind=FailureKind.IMAGE_MISSING, service=service.name)
        return self._pulled(service, image)

    def _pulled(self, service: ServiceSpec, image: str) -> str:
        there = mirrored(image, self._mirror)
        name, tag = _name_and_tag(there)
        failed = ""
        try:
            # Read to the end even after an error: an answer left half read keeps its connection open.
            for said in self._stream_api.pull(
                name, tag=tag, platform=service.platform, stream=True, decode=True
            ):
                failed = failed or str(said.get("error", ""))
        except APIError as error:
            raise _not_pulled(service, there, explanation(error)) from error
        if failed:
            raise _not_pulled(service, there, failed)
        return self._named(there, image)

    def _named(self, there: str, image: str) -> str:
        """Give what a mirror had the name that the file uses; one with a digest keeps the mirror's."""
        if there == image or "@" in image:
            return there
        name, tag = _name_and_tag(image)
        with translated(f"naming image {image}"):
            self._api.tag(there, name, tag)
        return image

    def _built(self, service: ServiceSpec, build: Build, instance: str) -> str:
        with tempfile.TemporaryFile() as packed:
            try:
                content = contexts.pack(build, packed)
            except OSError as error:
                message = f"The build context of service '{service.name}' cannot be read: {error}"
                raise EnvironmentFailedError(
                    message, kind=FailureKind.BUILD_FAILED, service=service.name
                ) from error
            tag = f"{REPOSITORY}:{self._address(build, content)}"
            with self._turns[tag], _turn(tag):
                with translated(f"looking for image {tag}", service=service.name):
                    here = self._has(tag)
                if not here or build.no_cache:
                    packed.seek(0)
                    self._build(service, build, tag, packed, instance)
        return tag

    def _address(self, build: Build, content: str) -> str:
        """What the image depends on, as a hash: context, options, and the bases that stand on this engine."""
        parts = {
            "context": content,
            "dockerfile": build.dockerfile,
            "inline": build.dockerfile_inline,
            "args": dict(sorted(build.args.items())),
            "target": build.target,
            "labels": dict(sorted(build.labels.items())),
            "bases": [self._base_id(base) for base in bases(contexts.dockerfile(build), build.args)],
            "cache_from": list(build.cache_from),
            "hosts": dict(sorted(build.extra_hosts.items())),
            "network": build.network,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _base_id(self, base: str) -> str:
        try:
            return str(self._inspect(base)["Id"])
        except APIError:
            return base

    def _build(self, service: ServiceSpec, build: Build, tag: str, packed: IO[bytes], instance: str) -> None:
        labels = dict(build.labels) | {INSTANCE: instance}
        said: list[str] = []
        try:
            self._fetch_bases(service, build, is_buildkit=self._builders.uses_buildkit(build))
            for line in self._builders.build(build, tag=tag, labels=labels, packed=packed):
                said.append(line)
                del said[:-LOG_TAIL_LINES]
        except (BuildError, APIError, NeedsBuildKitError, OSError) as error:
            reason = explanation(error) if isinstance(error, APIError) else str(error)
            raise _not_built(service, reason, said) from error

    def _fetch_bases(self, service: ServiceSpec, build: Build, *, is_buildkit: bool) -> None:
        """Have the images there that the engine would fetch without a mirror, or without signing in."""
        text = contexts.dockerfile(build)
        needed = [base for base in bases(text, build.args) if is_buildkit or base != syntax(text)]
        for base in needed:
            # What cannot be had is the builder's to name: it knows whether it needs it.
            with suppress(EnvironmentFailedError), self._turns[base]:
                self._found(replace(service, image=base, build=None, pull_policy="missing"), base)


def _not_pulled(service: ServiceSpec, image: str, said: str) -> EnvironmentFailedError:
    is_limited = bool(RATE_LIMIT.search(said))
    mend = (
        "The registry gives out no more for now: sign the engine in there, or name a mirror in"
        " ITDASH_IMAGE_MIRROR. Nothing is wrong with the file."
        if is_limited
        else f"Build or load it on the engine (`docker pull {image}`), or correct the name."
    )
    message = (
        f"Image '{image}' of service '{service.name}' is not on the engine and cannot be pulled: "
        f"{said.rstrip('.')}. {mend}"
    )
    kind = FailureKind.RATE_LIMITED if is_limited else FailureKind.IMAGE_MISSING
    return EnvironmentFailedError(message, kind=kind, service=service.name)


def _not_built(service: ServiceSpec, reason: str, said: list[str]) -> EnvironmentFailedError:
    message = f"The image of service '{service.name}' could not be built: {reason.strip()}"
    evidence = Evidence(service=service.name, summary="build failed", log_tail=tuple(said))
    return EnvironmentFailedError(
        message, kind=FailureKind.BUILD_FAILED, service=service.name, evidence=(evidence,)
    )


@contextmanager
def _turn(tag: str) -> Iterator[None]:
    """One build of the same content at a time, over all processes of this machine."""
    folder = Path(tempfile.gettempdir()) / f"itdash-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # So many files and no more: two contents that share one only wait for each other.
    with (folder / f"build-{tag[-2:]}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _name_and_tag(image: str) -> tuple[str, str | None]:
    """Split a reference; a digest stays with the name, and no tag means latest, not all of them."""
    if "@" in image:
        return image, None
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
