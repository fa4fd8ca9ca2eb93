"""Which engine runs services: by name, or the best that answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from django.conf import settings

from environments.docker_engine import DockerEngine
from environments.docker_engine.helper import HelperImage
from environments.engine import Capabilities, Engine
from environments.errors import EnvironmentFailedError, FailureKind
from environments.local_engine import LocalEngine

NAMES = ("docker", "local")


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether an engine can be used here: what it is, or why not."""

    name: str
    capabilities: Capabilities | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine taken and one sentence why."""

    engine: Engine
    reason: str


def engine_named(name: str) -> Engine:
    """Return the engine called ``docker`` or ``local``; connects on first use, not here."""
    if name not in NAMES:
        message = f"There is no engine called '{name}'. Known: {', '.join(NAMES)}."
        raise EnvironmentFailedError(message, kind=FailureKind.UNSUPPORTED)
    # A connection must not be shared with a forked child, so each process has engines of its own.
    return _engine(name, os.getpid(), str(settings.DATA_DIR))


def answers() -> list[Answer]:
    """Ask every engine whether it can be used here, for `doctor` and the reaper."""
    return [_ask(name) for name in NAMES]


def available_engines() -> list[Engine]:
    """Every engine that answers now."""
    return [engine_named(answer.name) for answer in answers() if answer.capabilities is not None]


def resolve(wish: str = "auto") -> Choice:
    """Take the engine that is wished for; with ``auto`` a container engine, or the local one without.

    Raises `EnvironmentFailedError` (ENGINE_UNAVAILABLE) when the one that is named does not answer.
    """
    if wish != "auto":
        engine = engine_named(wish)
        known = engine.capabilities()
        return Choice(engine, f"{known.engine} {known.version} is set in ITDASH_ENGINE.")
    docker = _ask("docker")
    if docker.capabilities is not None:
        return Choice(engine_named("docker"), f"A container engine answers: {docker.capabilities.version}.")
    return Choice(engine_named("local"), f"{docker.reason} Services run as processes on this machine.")


def _ask(name: str) -> Answer:
    try:
        return Answer(name, engine_named(name).capabilities())
    except EnvironmentFailedError as error:
        return Answer(name, None, str(error))


@cache
def _engine(name: str, process: int, data_dir: str) -> Engine:
    del process, data_dir  # part of the cache's key
    if name == "docker":
        helper = HelperImage(settings.FAULT_IMAGE, settings.FAULT_BASE_IMAGE)
        return DockerEngine(
            subnet_pool=settings.SUBNET_POOL, image_mirror=settings.IMAGE_MIRROR, helper_image=helper
        )
    return LocalEngine(settings.DATA_DIR / "environments")
