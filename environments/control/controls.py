"""What the control API asks of the lifecycle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from environments.engine import Direction, ExecResult, LogLine, PartitionMode, ServiceState


class MarkPhase(StrEnum):
    """Which end of a test's window a mark is."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class PartitionWish:
    """Who is to be kept from whom: a service from `peers` (nobody named: from everybody), or groups."""

    service: str = ""
    peers: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    mode: PartitionMode = PartitionMode.DROP
    #: Seen from `service`; between groups always both.
    direction: Direction = Direction.BOTH

    def names(self) -> list[str]:
        """Every service that is named."""
        grouped = (name for group in self.groups for name in group)
        return [name for name in (self.service, *self.peers, *grouped) if name]


class Controls(Protocol):
    """What the API asks of the lifecycle. Calls come from many threads, but never two at a time for one
    service. Each raises `ServiceNotFoundError` for a name that is not in the environment, tells the owner of
    what it did, and may raise `EnvironmentFailedError`, `DeadlineExceededError` or `StoppedError`; what is
    not there, not possible or went wrong inside a service is `UnknownNameError`, `NotPossibleHereError` or
    `CommandFailedError`."""

    def services(self) -> Sequence[ServiceState]:
        """Every service as it is now."""

    def stop(self, name: str) -> None:
        """Ask it to end, then make it; return when it has ended."""

    def start(self, name: str) -> None:
        """Start it; return when it is ready again."""

    def restart(self, name: str) -> None:
        """Stop and start it; return when it is ready again."""

    def pause(self, name: str) -> None:
        """Freeze it."""

    def unpause(self, name: str) -> None:
        """Let it go on."""

    def kill(self, name: str) -> None:
        """End it at once, without a chance to tidy up; return when it has ended."""

    def logs(self, name: str, since: datetime | None) -> Iterable[LogLine]:
        """Its output so far, oldest line first."""

    def mark(self, test: str, phase: MarkPhase) -> None:
        """Note that a test starts or ends now."""

    def execute(self, name: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """Run a command inside it, where its policy allows that."""

    def recipe_service(self, recipe: str) -> str:
        """The service in which a recipe runs."""

    def run_recipe(self, recipe: str, arguments: Mapping[str, Any]) -> object:
        """Run a recipe with its arguments; return the JSON it printed, None when it printed nothing."""

    def take_snapshot(self, name: str) -> str:
        """Keep the state of a service's databases; return the snapshot's id."""

    def snapshot_service(self, snapshot: str) -> str:
        """The service of which a snapshot was taken."""

    def restore_snapshot(self, snapshot: str) -> None:
        """Put the databases back as they were; what was connected to them is disconnected."""

    def begin_fault(self, name: str, kind: str, seconds: float | None) -> str:
        """Make a service fail, until it is undone or `seconds` have passed; return the fault's id."""

    def begin_partition(self, wish: PartitionWish, seconds: float | None) -> str:
        """Keep services from each other, as long as a fault lasts; return its id."""

    def end_fault(self, fault: str) -> None:
        """Undo it; return when the service is as it was. Undone already is fine."""
