"""What an environment's services used of memory and processors, as its page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from environments.models import Environment, EnvironmentService, ServiceUsage

#: A row is some ten seconds of one service; the newest are read.
ROW_LIMIT = 6_000
#: Over a longer silence, in seconds, no line is drawn: nobody looked.
LONGEST_STEP = 5.0

type Point = tuple[float, int]
_Row = tuple[int, datetime, list[int], list[int], list[int | None], list[int | None], int | None]


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One service's samples. Moments are seconds after the environment's beginning, memory is in bytes."""

    service: EnvironmentService
    #: Samples in step; between two stretches nothing was seen of it.
    stretches: Sequence[Sequence[Point]]
    sample_count: int
    peak_bytes: int
    #: The limit at the end; None where nothing but the machine bounds it.
    limit_bytes: int | None
    #: Processors, on average and in the busiest second; None where no two samples follow each other.
    cpu_mean: float | None
    cpu_peak: float | None
    #: Seconds it was kept from running; None where that is not known.
    throttled_seconds: float | None

    @property
    def last_bytes(self) -> int:
        """What it held in the last sample."""
        return self.stretches[-1][-1][1]

    @property
    def last_at(self) -> float:
        """When the last sample was taken."""
        return self.stretches[-1][-1][0]

    @property
    def share(self) -> float:
        """How near it came to its limit; 0 without one."""
        return self.peak_bytes / self.limit_bytes if self.limit_bytes else 0.0


@dataclass(frozen=True, slots=True)
class UsageView:
    """The services that were measured, in the order of their start."""

    lines: list[UsageLine]

    @property
    def out_of_memory(self) -> list[UsageLine]:
        """Those that wanted more memory than they might have."""
        return [line for line in self.lines if line.service.out_of_memory]

    @property
    def subject(self) -> UsageLine | None:
        """The one to look at: what ran out of memory, else what came nearest its limit, else held most."""
        candidates = self.out_of_memory or self.lines
        return max(candidates, key=lambda line: (line.share, line.peak_bytes), default=None)


def environment_usage(environment: Environment, services: Iterable[EnvironmentService]) -> UsageView:
    """One query, however long it lived."""
    rows = list(
        ServiceUsage.objects.filter(service__environment=environment)
        .order_by("-began_at")
        .values_list(
            "service_id",
            "began_at",
            "offsets_ms",
            "memory_kib",
            "cpu_millis",
            "throttled_ms",
            "memory_limit_bytes",
        )[:ROW_LIMIT]
    )
    by_service: dict[int, list[_Row]] = {}
    for row in reversed(rows):
        by_service.setdefault(row[0], []).append(row)
    return UsageView(
        [
            _line(service, by_service[service.pk], environment.created_at)
            for service in services
            if service.pk in by_service
        ]
    )


def _line(service: EnvironmentService, rows: Sequence[_Row], start: datetime) -> UsageLine:
    points = [
        ((began_at - start).total_seconds() + offset / 1000, kib * 1024)
        for _, began_at, offsets, memory, *_ in rows
        for offset, kib in zip(offsets, memory, strict=True)
    ]
    cpu = [millis / 1000 for row in rows for millis in row[4] if millis is not None]
    throttled = [millis / 1000 for row in rows for millis in row[5] if millis is not None]
    return UsageLine(
        service=service,
        stretches=_stretches(points),
        sample_count=len(points),
        peak_bytes=max(size for _, size in points),
        limit_bytes=rows[-1][6],
        cpu_mean=sum(cpu) / len(cpu) if cpu else None,
        cpu_peak=max(cpu, default=None),
        throttled_seconds=sum(throttled) if throttled else None,
    )


def _stretches(points: Sequence[Point]) -> list[list[Point]]:
    found = [[points[0]]]
    for (before, _), point in pairwise(points):
        if point[0] - before > LONGEST_STEP:
            found.append([])
        found[-1].append(point)
    return found
