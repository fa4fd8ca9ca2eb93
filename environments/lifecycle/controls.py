"""What a suite's tests may do to their own environment: the lifecycle's side of the control API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from environments.control import MarkPhase, PartitionWish
from environments.engine import ExecResult, LogLine, ServiceState, ServiceStatus
from environments.errors import (
    DeadlineExceededError,
    EnvironmentsError,
    NotPossibleHereError,
    UnknownNameError,
)
from environments.faults import Division, FaultKind, Faults, around, between
from environments.lifecycle import recipes
from environments.lifecycle.requests import HappeningKind, Recipe
from environments.lifecycle.session import Session
from environments.lifecycle.starting import Starter
from environments.probes import steadily, wait_until
from environments.snapshots import Snapshots

#: How long a service that was told to end may take.
END_SECONDS = 30.0


class SuiteControls:
    """Implements `environments.control.Controls` over a session."""

    def __init__(self, session: Session, starter: Starter) -> None:
        self._session = session
        self._starter = starter
        self._snapshots = Snapshots(session.engine, session.ref)
        limits = session.engine.capabilities().limits
        self.faults = Faults(
            self,
            impossible={kind: limits[kind.value] for kind in FaultKind if kind.value in limits},
            on_failure=lambda name, why: session.tell(HappeningKind.NOTICE, why, service=name),
        )

    def services(self) -> Sequence[ServiceState]:
        """Every service as it is now."""
        session = self._session
        return [session.engine.inspect_service(session.ref, name) for name in session.spec.services]

    def stop(self, name: str) -> None:
        """Ask it to end within its grace, then make it."""
        service = self._session.service(name)
        self._tell(name, "stop")
        self._session.engine.stop_service(
            self._session.ref, name, grace_seconds=service.stop_grace_period_seconds
        )
        self._until_ended(name)

    def start(self, name: str, *, is_awaited: bool = True) -> None:
        """Start it; return when it is ready again, or at once when nobody waits for that."""
        self._session.service(name)
        self._tell(name, "start")
        self._session.engine.start_service(self._session.ref, name)
        # A published port is another one after every start.
        self._session.board.note_state(self._session.engine.inspect_service(self._session.ref, name))
        self.faults.started(name)
        if is_awaited:
            self._until_ready(name)

    def restart(self, name: str) -> None:
        """Stop and start it; return when it is ready again."""
        self.stop(name)
        self.start(name)

    def pause(self, name: str) -> None:
        """Freeze it."""
        self._session.service(name)
        self._tell(name, "pause")
        self._session.engine.pause_service(self._session.ref, name)

    def unpause(self, name: str) -> None:
        """Let it go on."""
        self._session.service(name)
        self._tell(name, "unpause")
        self._session.engine.unpause_service(self._session.ref, name)

    def kill(self, name: str) -> None:
        """End it at once."""
        self._session.service(name)
        self._tell(name, "kill")
        self._session.engine.kill_service(self._session.ref, name)
        self._until_ended(name)

    def logs(self, name: str, since: datetime | None) -> Iterable[LogLine]:
        """Its output so far."""
        self._session.service(name)
        return self._session.engine.logs(self._session.ref, name, since=since)

    def mark(self, test: str, phase: MarkPhase) -> None:
        """Note that a test starts or ends now."""
        self._session.tell(HappeningKind.MARK, f"{test}: {phase}", test=test, phase=phase.value)

    def disconnect(self, name: str) -> Mapping[str, str]:
        """Take it off its networks."""
        self._session.service(name)
        self._tell(name, "disconnect")
        return self._session.engine.disconnect_service(self._session.ref, name)

    def connect(self, name: str, places: Mapping[str, str]) -> None:
        """Put it back."""
        service = self._session.service(name)
        self._tell(name, "connect")
        self._session.engine.connect_service(self._session.ref, service, places)

    def part(self, division: Division, fault: str) -> None:
        """Keep services from each other, or nobody when that cannot be done for all of them."""
        self._session.check_held()
        done: list[str] = []
        try:
            for name in division.sides:
                done.append(name)
                self._part_at(name, division, fault)
        except BaseException:
            for name in done[:-1]:
                with suppress(EnvironmentsError):
                    self._session.engine.heal_service(
                        self._session.ref, name, division.partition(name, fault)
                    )
            raise
        self._tell_division(division, fault, "partition", "The tests cut {} off")

    def keep_parted(self, division: Division, fault: str, started: str) -> None:
        """Make the rules anew where the started service is on either side of them."""
        for name, peers in division.sides.items():
            if started == name or started in peers:
                self._part_at(name, division, fault)

    def heal(self, division: Division, fault: str) -> None:
        """Let them reach each other again; rules that were gone before are told of."""
        engine, ref = self._session.engine, self._session.ref
        gone = [
            name
            for name in division.sides
            if not engine.heal_service(ref, name, division.partition(name, fault))
        ]
        self._tell_division(division, fault, "heal", "{} is reached again: what the tests asked for is over")
        for name in gone:
            message = f"{name} began anew while it was cut off, so it was not to the end."
            self._session.tell(HappeningKind.NOTICE, message, service=name)

    def _part_at(self, name: str, division: Division, fault: str) -> None:
        self._session.engine.partition_service(self._session.ref, name, division.partition(name, fault))

    def _tell_division(self, division: Division, fault: str, action: str, message: str) -> None:
        """One event for each that the fault befalls."""
        for name in division.sufferers:
            others = division.others(name)
            self._session.tell(
                HappeningKind.CONTROL,
                f"{message.format(name)} from {', '.join(others)}."
                if action == "partition"
                else f"{message.format(name)}.",
                service=name,
                action=action,
                peers=list(others),
                fault=fault,
                mode=division.mode.value,
                direction=division.direction.value,
            )

    def execute(self, name: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """Run a command in a service whose file says that the tests may."""
        session = self._session
        if session.service(name).extension.get("exec") is not True:
            message = (
                f"Commands in '{name}' are not allowed. Say 'x-itdash: {{exec: true}}' in the service,"
                " or make a recipe of it under 'data' in the suite file."
            )
            raise NotPossibleHereError(message)
        self._note(f"The tests ran a command in {name}.", name, "exec", command=" ".join(command)[:500])
        result = session.engine.execute(session.ref, name, command, timeout_seconds=timeout_seconds)
        if result.timed_out:
            message = f"The command did not end in {timeout_seconds:g} s."
            raise DeadlineExceededError(message)
        return result

    def recipe_service(self, recipe: str) -> str:
        """The service in which a recipe runs."""
        return self._recipe(recipe).service

    def run_recipe(self, recipe: str, arguments: Mapping[str, Any]) -> object:
        """Run a recipe of the suite file once its service is ready."""
        session, asked = self._session, self._recipe(recipe)
        filled = recipes.fill(recipe, asked, arguments)
        session.service(asked.service)
        message = f"The tests ran the recipe {recipe} in {asked.service}."
        self._note(message, asked.service, "data", recipe=recipe)
        self._until_ready(asked.service)
        result = session.engine.execute(
            session.ref,
            asked.service,
            ["/bin/sh", "-c", filled.command],
            timeout_seconds=recipes.TIMEOUT_SECONDS,
            variables=filled.variables,
        )
        return recipes.output_of(recipe, result)

    def take_snapshot(self, name: str) -> str:
        """Keep the state of its databases."""
        self._session.service(name)
        began = self._session.clock.monotonic()
        snapshot = self._snapshots.take(name)
        self._note_snapshot(f"A snapshot of {name} was taken", name, "snapshot", snapshot, began)
        return snapshot

    def snapshot_service(self, snapshot: str) -> str:
        """The service of which a snapshot was taken."""
        return self._snapshots.service(snapshot)

    def restore_snapshot(self, snapshot: str) -> None:
        """Put its databases back."""
        name = self._snapshots.service(snapshot)
        began = self._session.clock.monotonic()
        self._snapshots.restore(snapshot)
        self._note_snapshot(f"A snapshot of {name} was restored", name, "restore", snapshot, began)

    def begin_fault(self, name: str, kind: str, seconds: float | None) -> str:
        """Make it fail."""
        self._session.service(name)
        if name == self._session.tests:
            message = f"'{name}' runs the tests: nobody would be left to undo it."
            raise NotPossibleHereError(message)
        return self.faults.begin(name, kind, seconds)

    def begin_partition(self, wish: PartitionWish, seconds: float | None) -> str:
        """Keep services from each other."""
        for name in wish.names():
            self._session.service(name)
        return self.faults.part(self._division(wish), seconds)

    def _division(self, wish: PartitionWish) -> Division:
        if wish.groups:
            return between(wish.groups, wish.mode)
        others = [name for name in self._session.spec.services if name != wish.service]
        return around(wish.service, wish.peers or others, wish.mode, wish.direction)

    def end_fault(self, fault: str) -> None:
        """Undo it."""
        self.faults.end(fault)

    def _recipe(self, name: str) -> Recipe:
        known = self._session.request.recipes
        if name not in known:
            there = f"Its recipes: {', '.join(sorted(known))}." if known else "It has none."
            message = f"The suite file has no recipe '{name}' under 'data'. {there}"
            raise UnknownNameError(message, known=sorted(known))
        return known[name]

    def _note_snapshot(self, what: str, name: str, action: str, snapshot: str, began: float) -> None:
        seconds = self._session.clock.monotonic() - began
        self._note(f"{what} in {seconds:.2f} s.", name, action, snapshot=snapshot, seconds=round(seconds, 3))

    def _note(self, message: str, name: str, action: str, **data: Any) -> None:  # noqa: ANN401 - an event carries what it likes
        self._session.check_held()
        self._session.tell(HappeningKind.CONTROL, message, service=name, action=action, **data)

    def _tell(self, name: str, action: str) -> None:
        self._session.check_held()
        self._session.tell(
            HappeningKind.CONTROL, f"The tests asked to {action} {name}.", service=name, action=action
        )

    def _until_ended(self, name: str) -> None:
        session = self._session
        wait_until(
            lambda: (
                session.engine.inspect_service(session.ref, name).status
                in {ServiceStatus.EXITED, ServiceStatus.CREATED, ServiceStatus.GONE}
            ),
            deadline_seconds=END_SECONDS,
            clock=session.clock,
            stop=session.leaving,
            pauses=steadily(0.05),
        )

    def _until_ready(self, name: str) -> None:
        """Wait until its health check passes; a service without one is ready when it runs."""
        self._starter.until_ready(name, deadline_seconds=self._session.start_timeout_seconds())
