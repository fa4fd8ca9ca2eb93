"""Faults that end by themselves: what a service is made to suffer, and how each kind is undone.

A test that dies in the middle leaves nothing broken: a fault is over when it is undone, when its seconds have
passed, or when the tests have ended, whichever comes first, and is undone exactly once.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from environments.engine import Direction, Partition, PartitionMode
from environments.errors import EnvironmentsError, NotPossibleHereError, UnknownNameError

logger = logging.getLogger(__name__)

#: How long undoing one waits for whoever is undoing it already.
TURN_SECONDS = 300.0


class FaultKind(StrEnum):
    """What a service can be made to suffer."""

    STOP = "stop"
    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    DISCONNECT = "disconnect"
    PARTITION = "partition"


#: Over as soon as they have happened.
MOMENTARY = frozenset({FaultKind.RESTART})


class Hands(Protocol):
    """What a fault does to a service and how it takes that back. Each tells of what it did."""

    def stop(self, name: str) -> None:
        """Ask it to end, then make it."""

    def kill(self, name: str) -> None:
        """End it at once."""

    def start(self, name: str, *, is_awaited: bool = True) -> None:
        """Start it; return when it is ready again, or at once."""

    def restart(self, name: str) -> None:
        """Stop and start it; return when it is ready again."""

    def pause(self, name: str) -> None:
        """Freeze it."""

    def unpause(self, name: str) -> None:
        """Let it go on."""

    def disconnect(self, name: str) -> Mapping[str, str]:
        """Take it off its networks; return where it was."""

    def connect(self, name: str, places: Mapping[str, str]) -> None:
        """Put it back where it was."""

    def part(self, division: Division, fault: str) -> None:
        """Keep services from each other, or nobody when that cannot be done for all of them."""

    def keep_parted(self, division: Division, fault: str, started: str) -> None:
        """The same again for the addresses of now: one of them has been started."""

    def heal(self, division: Division, fault: str) -> None:
        """Let them reach each other again."""


@dataclass(frozen=True, slots=True)
class Division:
    """Who is kept from whom. The services of `sufferers` are those that the fault is said to befall."""

    sufferers: tuple[str, ...]
    #: Service whose network the rules stand in → those it is kept from.
    sides: Mapping[str, tuple[str, ...]]
    mode: PartitionMode = PartitionMode.DROP
    direction: Direction = Direction.BOTH

    def partition(self, service: str, fault: str) -> Partition:
        """What its engine is asked to do at one of the services."""
        return Partition(fault, self.sides[service], self.mode, self.direction)

    def others(self, service: str) -> tuple[str, ...]:
        """Those that a sufferer is kept from, wherever the rules stand."""
        behind = tuple(name for name, peers in self.sides.items() if service in peers)
        return tuple(dict.fromkeys((*self.sides.get(service, ()), *behind)))

    def concerns(self, service: str) -> bool:
        """Say whether a service is on either side."""
        return service in self.sides or any(service in peers for peers in self.sides.values())


def around(
    service: str,
    peers: Sequence[str],
    mode: PartitionMode = PartitionMode.DROP,
    direction: Direction = Direction.BOTH,
) -> Division:
    """One service is kept from others."""
    return Division((service,), {service: tuple(dict.fromkeys(peers))}, mode, direction)


def between(groups: Sequence[Sequence[str]], mode: PartitionMode = PartitionMode.DROP) -> Division:
    """Nobody of one group reaches anybody of another.

    One end of each pair is enough, so the largest group needs no rules of its own.
    """
    everybody = [name for group in groups for name in group]
    largest = max(groups, key=len)
    sides = {
        name: tuple(other for other in everybody if other not in group)
        for group in groups
        if group is not largest
        for name in group
    }
    return Division(tuple(everybody), sides, mode)


@dataclass(slots=True)
class _Fault:
    id: str
    services: tuple[str, ...]
    kind: FaultKind
    division: Division | None = None
    #: Taken by whoever applies or undoes it.
    turn: threading.Lock = field(default_factory=threading.Lock)
    undo: Callable[[bool], None] | None = None
    timer: threading.Timer | None = None
    is_over: bool = False


class Faults:
    """The faults of one environment. `impossible`: kinds that its engine cannot do, each with the reason."""

    def __init__(
        self,
        hands: Hands,
        *,
        impossible: Mapping[FaultKind, str],
        on_failure: Callable[[str, str], None],
    ) -> None:
        self._hands = hands
        self._impossible = impossible
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._faults: dict[str, _Fault] = {}
        self._is_closed = False

    def kinds(self) -> list[str]:
        """The kinds that work here."""
        return [kind.value for kind in FaultKind if kind not in self._impossible]

    def begin(self, service: str, kind: str, seconds: float | None = None) -> str:
        """Make a service fail; return the fault's id once it does.

        Raises `NotPossibleHereError`: for an unknown kind or one that this engine cannot do, with those that
        work; and while the service suffers from another.
        """
        known = self._kind(kind, seconds)
        if known is FaultKind.PARTITION:
            message = "A 'partition' needs 'groups', or 'from': who is kept from whom."
            raise NotPossibleHereError(message)
        return self._begun(_Fault(secrets.token_hex(4), (service,), known), seconds)

    def part(self, division: Division, seconds: float | None = None) -> str:
        """Keep services from each other; return the fault's id once that is so. Raises as `begin`."""
        kind = self._kind(FaultKind.PARTITION, seconds)
        return self._begun(_Fault(secrets.token_hex(4), division.sufferers, kind, division), seconds)

    def started(self, service: str) -> None:
        """A service has been started, maybe at another address: what it is kept from holds for that too."""
        with self._lock:
            faults = [one for one in self._faults.values() if one.division and one.division.concerns(service)]
        for fault in faults:
            with fault.turn:
                if fault.division is None or fault.is_over:
                    continue
                try:
                    self._hands.keep_parted(fault.division, fault.id, service)
                except EnvironmentsError as error:
                    why = f"The 'partition' {fault.id} does not hold since {service} was started: {error}"
                    self._on_failure(service, why)

    def _begun(self, fault: _Fault, seconds: float | None) -> str:
        """Apply it, and see to its end."""
        self._open(fault)
        with fault.turn:
            try:
                fault.undo = self._apply(fault)
            except BaseException:
                fault.is_over = True
                raise
            if fault.kind in MOMENTARY:
                fault.is_over = True
            elif seconds is not None and not self._is_closed:
                fault.timer = threading.Timer(seconds, self._end_quietly, (fault, True))
                fault.timer.name, fault.timer.daemon = f"fault-{fault.id}", True
                fault.timer.start()
        return fault.id

    def end(self, fault_id: str) -> None:
        """Undo a fault; return when the service is as it was. Raises `UnknownNameError`."""
        with self._lock:
            fault = self._faults.get(fault_id)
            known = [one.id for one in self._faults.values() if not one.is_over]
        if fault is None:
            message = f"There is no fault '{fault_id}' in this environment."
            raise UnknownNameError(message, known=known)
        self._end(fault)

    def close(self, *, undo: bool) -> None:
        """No more faults. With `undo` those that last are undone, without waiting for what starts again; what
        goes wrong with it is told, not raised."""
        with self._lock:
            self._is_closed = True
            faults = list(self._faults.values())
        for fault in faults:
            if fault.timer is not None:
                fault.timer.cancel()
            if undo and not fault.is_over:
                self._end_quietly(fault, is_awaited=False)

    def _kind(self, kind: str, seconds: float | None) -> FaultKind:
        if kind not in list(FaultKind):
            message = f"There is no fault of kind '{kind}'. What works here: {', '.join(self.kinds())}."
            raise NotPossibleHereError(message, kinds=self.kinds())
        known = FaultKind(kind)
        if known in self._impossible:
            why = f"'{kind}' does not work here: {self._impossible[known]}"
            message = f"{why} What works: {', '.join(self.kinds())}."
            raise NotPossibleHereError(message, kinds=self.kinds())
        if seconds is not None and known in MOMENTARY:
            message = f"A '{kind}' is over when it has happened; leave 'seconds' out."
            raise NotPossibleHereError(message)
        return known

    def _open(self, fault: _Fault) -> None:
        with self._lock:
            if self._is_closed:
                message = "The tests are over; no fault can begin any more."
                raise NotPossibleHereError(message)
            for other in self._faults.values():
                both = [name for name in fault.services if name in other.services]
                if both and not other.is_over:
                    message = (
                        f"'{both[0]}' suffers from a '{other.kind}' still: DELETE /faults/{other.id} first."
                    )
                    raise NotPossibleHereError(message, fault=other.id)
            self._faults[fault.id] = fault

    def _apply(self, fault: _Fault) -> Callable[[bool], None] | None:
        hands, name, division = self._hands, fault.services[0], fault.division
        match fault.kind:
            case FaultKind.PARTITION if division is not None:
                hands.part(division, fault.id)
                return lambda _: hands.heal(division, fault.id)
            case FaultKind.STOP:
                hands.stop(name)
                return lambda is_awaited: hands.start(name, is_awaited=is_awaited)
            case FaultKind.KILL:
                hands.kill(name)
                return lambda is_awaited: hands.start(name, is_awaited=is_awaited)
            case FaultKind.PAUSE:
                hands.pause(name)
                return lambda _: hands.unpause(name)
            case FaultKind.DISCONNECT:
                places = hands.disconnect(name)
                return lambda _: hands.connect(name, places)
            case FaultKind.RESTART:
                hands.restart(name)
        return None

    def _end(self, fault: _Fault, *, is_awaited: bool = True) -> None:
        if not fault.turn.acquire(timeout=TURN_SECONDS):
            message = f"Fault '{fault.id}' is being undone already and does not come to an end."
            raise NotPossibleHereError(message)
        try:
            if fault.is_over:
                return
            if fault.timer is not None:
                fault.timer.cancel()
            # Over even if undoing it goes wrong: a second try would meet what the first has left.
            fault.is_over = True
            if fault.undo is not None:
                fault.undo(is_awaited)
        finally:
            fault.turn.release()

    def _end_quietly(self, fault: _Fault, is_awaited: bool) -> None:  # noqa: FBT001 - called by a timer
        try:
            self._end(fault, is_awaited=is_awaited)
        except Exception as error:
            if not isinstance(error, EnvironmentsError):
                logger.exception("fault %s on %s could not be undone", fault.kind, fault.services)
            name = " and ".join(fault.services)
            self._on_failure(fault.services[0], f"The '{fault.kind}' of {name} could not be undone: {error}")
