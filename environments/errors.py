"""What can go wrong with an environment, as a tree. `SpecError` speaks to the author of a file,
`EnvironmentFailedError` to whoever runs the suite and carries evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EnvironmentsError(Exception):
    """Anything this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: what, where, and the mend."""

    message: str
    file: str = ""
    line: int | None = None
    #: Dotted path of the key, for example ``services.web.ports[0]``.
    key: str = ""
    #: What to do about it, one sentence; empty when the message says it.
    mend: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        stop = "" if self.message.endswith((".", "!", "?")) else "."
        mend = f"{stop} {self.mend}" if self.mend else ""
        return f"{place}{self.message}{mend}"


class SpecError(EnvironmentsError):
    """A Compose file that cannot be used, with every problem found in it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class PolicyError(SpecError):
    """A Compose file that asks for something a shared engine does not grant."""


class FailureKind(StrEnum):
    """Why an environment failed; the values are part of what users see on a run."""

    IMAGE_MISSING = "image_missing"
    #: The registry gives out no more for now: nothing is wrong with the image or the file.
    RATE_LIMITED = "rate_limited"
    BUILD_FAILED = "build_failed"
    NEVER_HEALTHY = "never_healthy"
    SERVICE_EXITED = "service_exited"
    PORT = "port"
    DISK = "disk"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one service when the environment failed."""

    service: str
    summary: str
    exit_code: int | None = None
    out_of_memory: bool = False
    probe_outputs: tuple[str, ...] = ()
    log_tail: tuple[str, ...] = ()


class EnvironmentFailedError(EnvironmentsError):
    """The environment could not be brought up or broke: one sentence, a kind and the evidence."""

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        service: str = "",
        evidence: tuple[Evidence, ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.service = service
        self.evidence = evidence


class ServiceNotFoundError(EnvironmentsError):
    """No service of that name in the environment."""


class UnknownNameError(EnvironmentsError):
    """Nothing else of that name either: a recipe, a snapshot, a fault. `known`: those there are."""

    def __init__(self, message: str, *, known: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.known = tuple(known)


class NotPossibleHereError(EnvironmentsError):
    """What was asked of an environment cannot be: the message says why, `facts` what can, for JSON."""

    def __init__(self, message: str, **facts: Any) -> None:  # noqa: ANN401 - for JSON, whatever it is
        super().__init__(message)
        self.facts = facts


class CommandFailedError(EnvironmentsError):
    """A command inside a service did not do its work; `output` is the end of what it printed."""

    def __init__(
        self, message: str, *, exit_code: int | None = None, output: str = "", timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.output = output
        self.timed_out = timed_out


class StoppedError(EnvironmentsError):
    """The caller asked to stop (cancelled, lease lost); what was entered is left all the same."""


class DeadlineExceededError(EnvironmentsError):
    """The time allowed has passed."""


@dataclass(slots=True)
class RemovalReport:
    """What a removal took away and what is still there with the reason."""

    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
