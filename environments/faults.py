"""Faults that end by themselves: what a service is made to suffer, and how each kind is undone.

A test that dies in the middle leaves nothing broken: a fault is over when it is undone, when its seconds have
passed, or when the tests have ended, whichever comes first, and is undone exactly once.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

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


@dataclass(slots=True)
class _Fault:
    id: str
    service: str
    kind: FaultKind
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
        fault = self._opened(service, self._kind(kind, seconds))
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

    def _opened(self, service: str, kind: FaultKind) -> _Fault:
        with self._lock:
            if self._is_closed:
                message = "The tests are over; no fault can begin any more."
                raise NotPossibleHereError(message)
            for other in self._faults.values():
                if other.service == service and not other.is_over:
                    message = (
                        f"'{service}' suffers from a '{other.kind}' still: DELETE /faults/{other.id} first."
                    )
                    raise NotPossibleHereError(message, fault=other.id)
            fault = _Fault(secrets.token_hex(4), service, kind)
            self._faults[fault.id] = fault
        return fault

    def _apply(self, fault: _Fault) -> Callable[[bool], None] | None:
        hands, name = self._hands, fault.service
        match fault.kind:
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
                logger.exception("fault %s on %s could not be undone", fault.kind, fault.service)
            self._on_failure(
                fault.service, f"The '{fault.kind}' of {fault.service} could not be undone: {error}"
            )
