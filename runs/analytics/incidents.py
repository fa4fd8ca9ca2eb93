"""What happened to the services of an environment, told from what was recorded of it.

A stop that the suite's own tests asked for is a fault; a stop that nobody asked for is a death. A one-off
job that ends well is neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from runs.analytics.blame import EventKind, ServiceEvent

#: What the tests may ask of a service, by what it does.
_DISTURBING = frozenset({"stop", "kill", "pause", "restart", "disconnect", "partition"})
_PLAIN = {
    "service_out_of_memory": EventKind.OUT_OF_MEMORY,
    "service_unhealthy": EventKind.UNHEALTHY,
    "service_healthy": EventKind.HEALTHY,
    "service_ready": EventKind.HEALTHY,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event of a run's timeline that speaks of a service."""

    kind: str
    service: str
    at: datetime
    exit_code: int | None = None
    #: What the tests asked for, of an event of kind `control`.
    action: str = ""


@dataclass(slots=True)
class _State:
    """One service on the way through its events."""

    was_started: bool = False
    was_healthy: bool = False
    #: Somebody disturbed it and has not set it right.
    is_disturbed: bool = False
    #: Somebody set it right and it has not come back yet.
    is_coming_back: bool = False


def service_events(recorded: Iterable[Recorded]) -> list[ServiceEvent]:
    """Read one environment's events, in any order, as what happened to its services."""
    states: dict[str, _State] = {}
    events: list[ServiceEvent] = []
    # Of one moment: what was asked for comes first, an end before what follows from it.
    for one in sorted(recorded, key=lambda one: (one.at, one.kind != "control", one.kind)):
        state = states.setdefault(one.service, _State())
        event = _event(one, state)
        if event is not None:
            events.append(event)
    return events


def _event(one: Recorded, state: _State) -> ServiceEvent | None:
    match one.kind:
        case "control":
            return _asked(one, state)
        case "service_exited":
            return _ended(one, state)
        case "service_started":
            return _started(one, state)
        case kind if kind in _PLAIN:
            return _plain(one, _PLAIN[kind], state)
    return None


def _asked(one: Recorded, state: _State) -> ServiceEvent | None:
    if one.action in _DISTURBING:
        state.is_disturbed = True
        note = f"the tests asked to {one.action} it"
        return ServiceEvent(one.service, EventKind.DISTURBED, one.at, is_fault=True, note=note)
    if one.action in {"unpause", "connect", "heal"} and state.is_disturbed:
        state.is_disturbed, state.is_coming_back = False, True
        return ServiceEvent(one.service, EventKind.HEALTHY, one.at, is_fault=True)
    if one.action == "start" and state.is_disturbed:
        state.is_disturbed, state.is_coming_back = False, True
    return None


def _ended(one: Recorded, state: _State) -> ServiceEvent | None:
    if one.exit_code == 0 and not state.was_healthy and not state.is_disturbed:
        return None
    note = "" if one.exit_code is None else f"exit code {one.exit_code}"
    return ServiceEvent(one.service, EventKind.DIED, one.at, is_fault=state.is_disturbed, note=note)


def _started(one: Recorded, state: _State) -> ServiceEvent | None:
    if not state.was_started:
        state.was_started = True
        return None
    is_fault = state.is_disturbed or state.is_coming_back
    return ServiceEvent(one.service, EventKind.RESTARTED, one.at, is_fault=is_fault)


def _plain(one: Recorded, kind: EventKind, state: _State) -> ServiceEvent:
    is_fault = kind is EventKind.UNHEALTHY and (state.is_disturbed or state.is_coming_back)
    if one.kind == "service_healthy":
        state.was_healthy = True
    if kind is EventKind.HEALTHY and not state.is_disturbed:
        state.is_coming_back = False
    return ServiceEvent(one.service, kind, one.at, is_fault=is_fault)
