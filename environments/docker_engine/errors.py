"""The SDK's errors in our words: everything that leaves the engine's edge is an `EnvironmentFailedError`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from environments.errors import EnvironmentFailedError, FailureKind

#: What the engine says, what it means and what to do, first match first.
KNOWN = (
    (
        re.compile(r"port is already allocated|address already in use|failed to bind", re.IGNORECASE),
        FailureKind.PORT,
        "A port it needs is taken on the engine's machine.",
    ),
    (
        re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE),
        FailureKind.DISK,
        "The engine's disk is full. Remove unused images and volumes there, or give it more space.",
    ),
    (
        re.compile(r"cannot allocate memory|out of memory|oom", re.IGNORECASE),
        FailureKind.OUT_OF_MEMORY,
        "The engine's machine has no memory left for it.",
    ),
    (
        re.compile(
            r"no such image|manifest unknown|pull access denied|repository does not exist", re.IGNORECASE
        ),
        FailureKind.IMAGE_MISSING,
        "Build it on the engine's machine, or name an image that a registry has.",
    ),
    (
        re.compile(
            r"executable file not found|no such file or directory|permission denied|exec format error"
        ),
        FailureKind.SERVICE_EXITED,
        "Its command could not be run: check `command`, `entrypoint`, `working_dir` and the image.",
    ),
)


@contextmanager
def translated(doing: str, *, service: str = "") -> Iterator[None]:
    """Turn what the SDK raises while `doing` something into `EnvironmentFailedError` with a kind."""
    try:
        yield
    except APIError as error:
        raise _from_engine(error, doing, service) from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        message = f"The container engine did not answer in time while {doing}."
        raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE, service=service) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException, OSError) as error:
        message = f"The container engine went away while {doing}: {error}"
        raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE, service=service) from error


def _from_engine(error: APIError, doing: str, service: str) -> EnvironmentFailedError:
    said = explanation(error)
    for pattern, kind, mend in KNOWN:
        if pattern.search(said):
            return EnvironmentFailedError(f"Failed {doing}: {said} {mend}", kind=kind, service=service)
    return EnvironmentFailedError(f"Failed {doing}: {said}", kind=FailureKind.INTERNAL, service=service)


def explanation(error: APIError) -> str:
    """Return what the engine itself said, in one line that ends like a sentence."""
    said = " ".join(str(error.explanation or error).split())
    return said if said.endswith((".", "!", "?")) else f"{said}."


def is_missing(error: APIError) -> bool:
    """Say whether the object is not there (any more)."""
    return isinstance(error, NotFound) or error.status_code == requests.codes.not_found


def is_conflict(error: APIError) -> bool:
    """Say whether the object is there already, or is in a state that forbids it."""
    # Podman has no status of its own for it.
    return error.status_code == requests.codes.conflict or "is already in use" in explanation(error)
