"""Memory over an environment's life, drawn by the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Final

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from runs.analytics.lifelines import Fault
from runs.charts import num
from runs.queries.axis import ticks
from runs.queries.environment_usage import Point, UsageLine, UsageView

WIDTH: Final = 1100
HEIGHT: Final = 240
_TOP, _RIGHT, _BOTTOM, _LEFT = 8, 12, 26, 64
MEBIBYTE: Final = 1024 * 1024
#: Points of a line at most; of several samples in one place the highest is drawn, so that no peak is lost.
_POINTS: Final = 240
_STEPS: Final = 4
#: A limit further above the highest sample than this is said in the table: a rule would press the lines flat.
_FAR: Final = 3


def mebibytes(size: float) -> str:
    """Bytes as limits are given: 256 MiB, 1.5 GiB."""
    value = size / MEBIBYTE
    if value >= 1024:  # noqa: PLR2004 - a gibibyte
        return f"{num(value / 1024)} GiB"
    return f"{value:.0f} MiB" if value >= 10 else f"{value:.1f} MiB"  # noqa: PLR2004 - two digits


def memory_chart(
    view: UsageView, *, start: datetime, span: float, end: float, faults: Sequence[Fault]
) -> SafeString:
    """The subject over the others, its limit as a rule, faults shaded; `end`: where time is now, or ended."""
    subject = view.subject
    if subject is None:
        return mark_safe("")
    limit = subject.limit_bytes
    highest = max(line.peak_bytes for line in view.lines)
    is_near = limit is not None and limit <= highest * _FAR
    step = _step(max(highest, limit or 0) if is_near else highest)
    top = step * _STEPS
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def across(seconds: float) -> float:
        return _LEFT + min(max(seconds, 0.0), span) * wide / (span or 1)

    def up(size: float) -> float:
        return _TOP + high * (1 - size / top)

    def path(points: Sequence[Point]) -> str:
        placed = "L".join(f"{num(across(at))} {num(up(size))}" for at, size in points)
        # A single sample is drawn as wide as a line is high, else it would not be seen.
        return f"M{placed}" + ("h2" if len(points) == 1 else "")

    def drawn(line: UsageLine, css: str, width: float) -> str:
        d = "".join(path(_thinned(stretch, span)) for stretch in line.stretches)
        return f'<path class="{css}" fill="none" stroke-width="{width}" stroke-linejoin="round" d="{d}"/>'

    parts = [
        f'<rect class="g-fault" opacity=".14" x="{num(across(fault.since))}" y="{_TOP}" '
        f'width="{num(max(across(end if fault.until is None else fault.until) - across(fault.since), 2))}" '
        f'height="{high}"/>'
        for fault in faults
    ]
    parts += [
        f'<path class="g-grid" d="M{_LEFT} {num(up(step * index))}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{num(up(step * index))}" dy="4" text-anchor="end">'
        f"{mebibytes(step * index) if index else '0'}</text>"
        for index in range(_STEPS + 1)
    ]
    marks = ticks(span)
    parts += [
        f'<text x="{num(across(tick))}" y="{HEIGHT - 6}" text-anchor="{_anchor(index, len(marks))}">'
        f"{start + timedelta(seconds=tick):%H:%M:%S}</text>"
        for index, tick in enumerate(marks)
    ]
    parts += [drawn(line, "c-ink2", 1) for line in view.lines if line is not subject]
    if limit is not None and is_near:
        y = num(up(limit))
        parts.append(
            f'<path class="m-tick" stroke-dasharray="2 3" d="M{_LEFT} {y}H{WIDTH - _RIGHT}"/>'
            f'<text x="{WIDTH - _RIGHT}" y="{y}" dy="-4" text-anchor="end">'
            f"{escape(f'limit {mebibytes(limit)}')}</text>"
        )
    parts.append(drawn(subject, "c-bad" if subject.service.out_of_memory else "c-line", 2))
    return mark_safe(  # noqa: S308 - built from numbers, fixed names and escaped words
        f'<svg class="graph memory" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
    )


def _anchor(index: int, total: int) -> str:
    return "start" if index == 0 else "end" if index == total - 1 else "middle"


def _step(highest: int) -> int:
    """The least of 2, 3, 4, 6, 8, 12 … MiB whose fourfold holds the value with some room."""
    steps = (factor * MEBIBYTE << power for power in count() for factor in (2, 3))
    return next(step for step in steps if step * _STEPS >= highest * 1.04)


def _thinned(stretch: Sequence[Point], span: float) -> list[Point]:
    """The highest sample of each narrow slice of time."""
    if len(stretch) <= _POINTS:
        return list(stretch)
    highest: dict[int, Point] = {}
    for point in stretch:
        place = int(point[0] * _POINTS / (span or 1))
        if place not in highest or point[1] > highest[place][1]:
            highest[place] = point
    return list(highest.values())
