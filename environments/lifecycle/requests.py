"""What a caller asks of the lifecycle and what it is told back. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from environments.spec import EMPTY, EnvironmentSpec

#: Key of `EnvironmentRequest.variables` whose variables every service gets.
EVERY_SERVICE = "*"


class HappeningKind(StrEnum):
    """What can happen to an environment; `data` of each is named in brackets."""

    #: The row is written, nothing exists yet. [environment_id, name, engine, fence]
    CREATING = "environment_creating"
    #: An image is there. [image, seconds]
    IMAGE_READY = "image_ready"
    SERVICE_CREATED = "service_created"
    SERVICE_STARTED = "service_started"
    #: The condition that others wait for holds. [seconds since it was started]
    SERVICE_READY = "service_ready"
    SERVICE_HEALTHY = "service_healthy"
    SERVICE_UNHEALTHY = "service_unhealthy"
    #: [exit_code]
    SERVICE_EXITED = "service_exited"
    SERVICE_OUT_OF_MEMORY = "service_out_of_memory"
    SERVICE_PAUSED = "service_paused"
    SERVICE_UNPAUSED = "service_unpaused"
    #: Everything that the tests depend on is ready. [seconds since CREATING]
    READY = "environment_ready"
    #: [exit_code, seconds]
    COMMAND_RUN = "command_run"
    TESTS_STARTED = "tests_started"
    #: [exit_code, out_of_memory, seconds]
    TESTS_FINISHED = "tests_finished"
    #: The suite asked for it through the control API. [action; recipe, snapshot, command, seconds]
    CONTROL = "control"
    #: A test starts or ends now. [test, phase]
    MARK = "mark"
    #: Something is not as it should be, but the run goes on.
    NOTICE = "notice"
    REMOVING = "environment_removing"
    #: [seconds]
    REMOVED = "environment_removed"
    #: It failed and stays for a person to look at. [until, services]
    HELD = "environment_held"
    #: Some of it could not be removed; the reaper tries again. [left]
    LEFT_BEHIND = "environment_left_behind"


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, for the owner's timeline. `at` is the engine's clock where it knows."""

    at: datetime
    kind: HappeningKind
    #: Empty when it concerns the environment as a whole.
    service: str
    #: One sentence for a person.
    message: str
    data: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A shell command inside a service that the tests may call for; ``{name}`` is a place for an argument."""

    service: str
    run: str


@dataclass(frozen=True, slots=True)
class Keep:
    """How long an environment that failed is to be held for a person, and how many may be at once."""

    seconds: float
    #: Opaque: whose share of the held environments it takes, for example ``project:3``.
    share: str
    #: Held at once of this share, and of the whole installation.
    most_of_share: int
    most: int


@dataclass(frozen=True, slots=True)
class EnvironmentRequest:
    """One environment to bring up for one shard of its owner."""

    #: Opaque, for example ``run:17``; every try of the same owner and shard fences the ones before.
    owner: str
    shard: int
    spec: EnvironmentSpec
    #: The tests' service: created and started by `LiveEnvironment.start_tests`, not by provisioning.
    tests: str
    #: The end in any case; anyone may remove the environment after it.
    expires_at: datetime
    #: None: it is removed when it is left, however it went.
    keep: Keep | None = None
    #: Extra environment variables by service; `EVERY_SERVICE` for all of them.
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: EMPTY)
    #: What the tests may call by name through the control API.
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: EMPTY)
    #: What the services may hold together; over it the greediest is ended. None: each has its own limit only.
    most_memory_bytes: int | None = None
    #: How long the services may take to become ready, images not counted.
    start_timeout_seconds: float = 120.0
    #: How long pulling and building images may take.
    image_timeout_seconds: float = 1200.0
