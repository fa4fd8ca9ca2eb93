"""Whether an engine has room for one environment more: asked before anything is made."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from environments.engine import Room
from environments.errors import DeadlineExceededError, EnvironmentFailedError, FailureKind
from environments.lifecycle.requests import HappeningKind
from environments.lifecycle.session import Session
from environments.probes import steadily, wait_until

#: How long an environment waits for others to end.
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Shortage:
    """What there is too little of, as a sentence with its mend."""

    kind: FailureKind
    message: str
    #: It passes as other environments end.
    is_passing: bool = False


def await_room(session: Session, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Return once there is room for the environment; tells the owner when that takes a while.

    Raises DISK at once when the engine's disk is nearly full; ENGINE_UNAVAILABLE when subnets stay taken.
    """
    networks = len(session.spec.networks)
    was_told = False

    def has_room() -> bool:
        nonlocal was_told
        session.check_held()
        found = shortage(session.engine.room(), networks=networks, reserve_bytes=settings.DISK_RESERVE_BYTES)
        if found is None:
            return True
        if not found.is_passing:
            raise EnvironmentFailedError(found.message, kind=found.kind)
        if not was_told:
            session.tell(HappeningKind.NOTICE, f"Waiting for room on the engine. {found.message}")
            was_told = True
        return False

    try:
        wait_until(
            has_room,
            deadline_seconds=patience_seconds,
            clock=session.clock,
            stop=session.stop,
            pauses=steadily(LOOK_SECONDS),
        )
    except DeadlineExceededError as error:
        message = f"There was no room on the engine for {patience_seconds:g} s: all its subnets are taken."
        raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE) from error


def shortage(room: Room, *, networks: int, reserve_bytes: int) -> Shortage | None:
    """Say what there is too little of for an environment of so many networks; None when it fits."""
    free, total = room.networks_free, room.networks_total
    if room.disk_free_bytes is not None and room.disk_free_bytes < reserve_bytes:
        message = (
            f"The engine's disk has {_gib(room.disk_free_bytes)} free, and no environment is begun below "
            f"{_gib(reserve_bytes)} (ITDASH_DISK_RESERVE_GIB). Remove images and build caches nobody needs "
            "there, or give it more space."
        )
        return Shortage(FailureKind.DISK, message)
    if free is not None and free < networks:
        message = (
            f"Subnets are short: {networks} needed, {free} of {total} free. Environments that end give "
            "theirs back; ITDASH_SUBNET_POOL can hold more."
        )
        return Shortage(
            FailureKind.ENGINE_UNAVAILABLE, message, is_passing=total is None or networks <= total
        )
    return None


def _gib(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB"
