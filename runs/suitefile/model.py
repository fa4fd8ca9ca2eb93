"""What a suite file comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from environments.errors import Problem
from runs.vocabulary import Level

EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
#: Where reports are looked for when nobody says where they are.
DEFAULT_RESULTS: Final = ("/results/**/*.xml", "/reports/**/*.xml")
DEFAULT_TIMEOUT_SECONDS: Final = 30 * 60.0


class SuiteFileError(Exception):
    """A suite file that cannot be used, with every problem found in it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Hook:
    """A shell command that runs inside a service."""

    service: str
    run: str


@dataclass(frozen=True, slots=True)
class Branches:
    """Which pushes or pull requests start the suite: globs, empty for all."""

    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    #: Whether a newer push ends the unfinished runs of the ones before.
    cancel_superseded: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """A cron line with a time zone; `branch` empty means the project's default branch."""

    cron: str
    timezone: str = "UTC"
    branch: str = ""


@dataclass(frozen=True, slots=True)
class Gates:
    """What fails a run beyond its tests; None is no gate."""

    new_failures: int | None = None
    new_flaky: int | None = None
    #: A share: 0.25 means a quarter longer.
    duration_increase: float | None = None

    def facts(self) -> dict[str, float]:
        """Those that are set, ready for JSON."""
        values = {
            "new_failures": self.new_failures,
            "new_flaky": self.new_flaky,
            "duration_increase": self.duration_increase,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """One suite as its file describes it."""

    name: str
    #: Compose files, merged in this order, relative to the repository's root.
    compose: tuple[str, ...]
    #: The service whose exit ends the run.
    tests: str
    #: Globs of absolute paths inside that service's container.
    results: tuple[str, ...] = DEFAULT_RESULTS
    artifacts: tuple[str, ...] = ()
    level: Level = Level.INTEGRATION
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    shards: int = 1
    matrix: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)
    #: In order, once their service is ready.
    before: tuple[Hook, ...] = ()
    #: Recipes by name, for the control API.
    data: Mapping[str, Hook] = field(default_factory=lambda: EMPTY)
    push: Branches | None = None
    pull_request: Branches | None = None
    schedules: tuple[ScheduleSpec, ...] = ()
    gates: Gates = field(default_factory=Gates)
    #: How long a failed environment is held for a person to look at; 0 for not at all.
    keep_on_failure_seconds: float = 0.0
    #: The suite as written, ready for JSON.
    definition: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class SuiteFile:
    """A whole suite file."""

    file: str
    suites: Mapping[str, SuiteSpec]
    version: int = 1
