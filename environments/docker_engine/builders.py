"""The engine's two builders: the classic one, which can be limited, and BuildKit where a Dockerfile needs it.

Both are asked through the engine's API with the packed context as the body: no command beside this process is
needed, and an engine elsewhere builds as well.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Final

import requests
from docker.api.client import APIClient
from docker.errors import BuildError

from environments.docker_engine import answers, contexts, dockerfiles, traces
from environments.docker_engine.dockerfiles import Need
from environments.docker_engine.streams import StreamCloser
from environments.spec import Build

MEBIBYTE: Final = 1024 * 1024
CPU_PERIOD: Final = 100_000
_UNKNOWN: Final = re.compile(r"unknown (?:instruction|flag)", re.IGNORECASE)
_LINE: Final = re.compile(r"parse error (?:on )?line (\d+)")


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """The most that one build may take. BuildKit takes none but the time."""

    seconds: float = 1200.0
    memory_bytes: int = 2048 * MEBIBYTE
    cpus: float = 2.0


class NeedsBuildKitError(Exception):
    """The Dockerfile has what only BuildKit does, and the engine has none."""

    def __init__(self, need: Need) -> None:
        super().__init__(
            f"Dockerfile, {need} needs BuildKit, which this engine does not have. Take it out, or use Docker "
            "Engine 18.09 or newer on Linux; 23 or newer reads here-documents by itself."
        )


def has_buildkit(info: Mapping[str, Any]) -> bool:
    """Say whether the engine has BuildKit beside its classic builder: on Linux all have."""
    return str(info.get("OSType", "linux")) == "linux"


def of_engine(api: APIClient) -> Builders:
    """The builders of an engine. It says itself when BuildKit is its usual one, from 23 on."""
    preferred = api.get(f"{api.base_url}/_ping").headers.get("Builder-Version", "")
    return Builders(api, has_buildkit=has_buildkit(api.info()), prefers_buildkit=preferred == "2")


class Builders:
    """Builds images, each within the limits. `has_buildkit`: the engine has it beside the classic builder."""

    def __init__(
        self,
        api: APIClient,
        *,
        has_buildkit: bool,
        prefers_buildkit: bool = False,
        limits: BuildLimits | None = None,
    ) -> None:
        self._api = api
        self._has_buildkit = has_buildkit
        self._prefers_buildkit = prefers_buildkit
        self._limits = limits or BuildLimits()
        self._closer = StreamCloser()

    def uses_buildkit(self, build: Build) -> bool:
        """Say which one builds. Raises `NeedsBuildKitError`, and `OSError` when there is no Dockerfile."""
        needs = dockerfiles.buildkit_needs(contexts.dockerfile(build))
        if needs and not self._has_buildkit:
            raise NeedsBuildKitError(needs[0])
        return self._has_buildkit and (bool(needs) or self._prefers_buildkit)

    def build(self, build: Build, *, tag: str, labels: Mapping[str, str], packed: IO[bytes]) -> Iterator[str]:
        """What the builder says, line by line. Raises `BuildError` and the engine's own errors."""
        is_buildkit = self.uses_buildkit(build)
        query = _query(build, tag, labels) | (
            {"version": "2"} if is_buildkit else {"version": "1", **self._bounds(build)}
        )
        headers = {"Content-Type": "application/x-tar"}
        # The SDK's own: what this process may take from registries.
        self._api._set_auth_headers(headers)  # type: ignore[attr-defined] # noqa: SLF001 - nothing public does it
        ends = time.monotonic() + self._limits.seconds
        response = self._api.post(
            f"{self._api.base_url}/v{self._api.api_version}/build",
            params=query,
            data=packed,
            headers=headers,
            stream=True,
            timeout=None,
        )
        failed, trace = "", traces.Trace()
        with self._closer.watching(response, lambda: time.monotonic() >= ends):
            answers.raise_for(response)
            for said in _messages(response):
                failed = failed or str(said.get("error", ""))
                yield from _lines(said, trace)
        if time.monotonic() >= ends:
            failed = f"it took longer than the {self._limits.seconds:g} s that a build may take"
        if failed:
            raise BuildError(_explained(failed, build), iter(()))

    def _bounds(self, build: Build) -> dict[str, str]:
        memory = str(self._limits.memory_bytes)
        bounds = {
            "memory": memory,
            "memswap": memory,
            "cpuperiod": str(CPU_PERIOD),
            "cpuquota": str(int(self._limits.cpus * CPU_PERIOD)),
        }
        shm = min(build.shm_size_bytes or 0, self._limits.memory_bytes)
        return bounds | ({"shmsize": str(shm)} if shm else {})


def _query(build: Build, tag: str, labels: Mapping[str, str]) -> dict[str, str]:
    query = {
        "t": tag,
        "dockerfile": contexts.dockerfile_name(build),
        "buildargs": json.dumps(dict(build.args)),
        "labels": json.dumps(dict(labels)),
        "target": build.target or "",
        "cachefrom": json.dumps(list(build.cache_from)),
        "extrahosts": ",".join(f"{name}:{address}" for name, address in build.extra_hosts.items()),
        "networkmode": build.network or "",
        "nocache": "1" if build.no_cache else "",
        "pull": "1" if build.pull else "",
        "rm": "1",
        "forcerm": "1",
    }
    return {key: value for key, value in query.items() if value not in {"", "[]", "{}"}}


def _messages(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Read to the end even after an error: an answer left half read keeps its connection open."""
    with suppress(requests.RequestException, OSError):
        for line in response.iter_lines():
            if line.strip():
                with suppress(ValueError):
                    yield json.loads(line)


def _lines(said: Mapping[str, Any], trace: traces.Trace) -> Iterator[str]:
    if said.get("id") == traces.KIND:
        yield from trace.lines(str(said.get("aux", "")))
    elif line := str(said.get("stream", "")).strip():
        yield line


def _explained(failed: str, build: Build) -> str:
    """What went wrong, and the mend where an engine's own words do not say it."""
    text = contexts.dockerfile(build)
    reader, needs = dockerfiles.syntax(text), dockerfiles.buildkit_needs(text)
    if reader is None and needs and _UNKNOWN.search(failed):
        return (
            f"{failed}. At {_blamed(failed, needs)}: this engine's own syntax does not know it. Begin the "
            "Dockerfile with '# syntax=docker/dockerfile:1', which the engine fetches, or use Docker Engine "
            "23 or newer."
        )
    if reader is not None and "frontend gateway" in failed:
        return (
            f"{failed}. The Dockerfile's first line has the engine fetch {reader} to read the rest. Take the "
            "line out if the rest does without, or load that image on the engine."
        )
    return failed


def _blamed(failed: str, needs: Sequence[Need]) -> Need:
    """What the builder stumbled over: the last need up to the line it names."""
    named = _LINE.search(failed)
    at = int(named[1]) if named else 0
    return next((need for need in reversed(needs) if need.line <= at), needs[0])
