"""Limits lowered to what a machine can give, each with a sentence that says so. Plain.

A file that asks for much is not refused for that: it runs with what there is, and the run's timeline says
what it did not get. What would reach beyond the container is refused, by `policy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from environments.spec import EnvironmentSpec, ServiceSpec

MEBIBYTE: Final = 1024**2
#: The most that one service gets, however large the engine is; an environment's quota stands above it.
MOST_MEMORY_BYTES: Final = 8192 * MEBIBYTE
MOST_PIDS: Final = 4096
#: Nothing of a test is worth waiting for longer when it is told to end.
LONGEST_GRACE_SECONDS: Final = 60.0
#: Keys about whom the host's kernel ends first when memory runs out. They are never sent.
_OF_THE_HOST: Final = {
    "oom_kill_disable": "a service that has used up its memory is ended",
    "oom_score_adj": "the host decides whom it ends first",
}


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that an engine can grant one service; None where nothing bounds it."""

    cpus: float | None = None
    memory_bytes: int | None = None
    #: Ulimits that the engine may not set, by name and hard value.
    refused_ulimits: frozenset[tuple[str, int]] = frozenset()


def clamped(spec: EnvironmentSpec, ceiling: Ceiling | None = None) -> tuple[EnvironmentSpec, tuple[str, ...]]:
    """Return the spec as it can be run and a sentence for everything that was lowered.

    Without a ceiling, for files that are looked at where no engine is, only what holds everywhere.
    """
    services, said = {}, []
    for name, service in spec.services.items():
        changes: dict[str, Any] = {}
        for key, value, sentence in _changes(service, ceiling or Ceiling()):
            changes[key] = value
            said.append(f"services.{name}.{sentence}")
        services[name] = replace(service, **changes)
    return replace(spec, services=services), tuple(said)


def _changes(service: ServiceSpec, ceiling: Ceiling) -> Iterator[tuple[str, object, str]]:
    """Field of the service, its new value, and the sentence after the service's name."""
    yield from _amounts(service, ceiling)
    if service.stop_grace_period_seconds > LONGEST_GRACE_SECONDS:
        was = f"{service.stop_grace_period_seconds:g} s"
        sentence = f"stop_grace_period: {was} became {LONGEST_GRACE_SECONDS:g} s, the longest grace there is."
        yield "stop_grace_period_seconds", LONGEST_GRACE_SECONDS, sentence
    refused = {name for name, (_, hard) in service.ulimits.items() if (name, hard) in ceiling.refused_ulimits}
    if refused:
        kept = {name: limit for name, limit in service.ulimits.items() if name not in refused}
        asked = ", ".join(f"{name} {_told(service.ulimits[name])}" for name in sorted(refused))
        sentence = f"ulimits: the engine may not grant {asked}; its own limit holds."
        yield "ulimits", kept, sentence
    left = {key: value for key, value in service.privileges.items() if key not in _OF_THE_HOST}
    for key in _OF_THE_HOST.keys() & service.privileges.keys():
        yield "privileges", left, f"{key} is not passed on: {_OF_THE_HOST[key]}."


def _amounts(service: ServiceSpec, ceiling: Ceiling) -> Iterator[tuple[str, object, str]]:
    most = min(MOST_MEMORY_BYTES, ceiling.memory_bytes or MOST_MEMORY_BYTES)
    memory = service.memory_bytes
    if memory is not None and memory > most:
        whose = "all that the engine has" if most < MOST_MEMORY_BYTES else "the most of one service"
        sentence = f"mem_limit: {_mebibytes(memory)} became {_mebibytes(most)}, {whose}."
        yield "memory_bytes", most, sentence
    if ceiling.cpus is not None and service.cpus is not None and service.cpus > ceiling.cpus:
        sentence = f"cpus: {service.cpus:g} became {ceiling.cpus:g}, all that the engine has."
        yield "cpus", float(ceiling.cpus), sentence
    if service.pids_limit is not None and service.pids_limit > MOST_PIDS:
        sentence = f"pids_limit: {service.pids_limit} became {MOST_PIDS}, the most of one service."
        yield "pids_limit", MOST_PIDS, sentence


def _mebibytes(size: int) -> str:
    return f"{size // MEBIBYTE} MiB"


def _told(limit: tuple[int, int]) -> str:
    soft, hard = ("unlimited" if value < 0 else str(value) for value in limit)
    return soft if soft == hard else f"{soft}:{hard}"
