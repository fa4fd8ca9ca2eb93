"""Axes that people can read: ends and marks at round numbers."""

from __future__ import annotations

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_STEP_COUNT = 5
#: Rounding error that must not add a step.
_SLACK = 1e-9


def axis_end(value: float) -> float:
    """The end of an axis that holds the value: a whole number of at most five round steps."""
    step = _step(value)
    count = max(1, -(-(value - _SLACK) // step))
    return step * count


def ticks(end: float) -> list[float]:
    """Where an axis that ends there is marked, both ends included; none for an axis of no length."""
    if end <= 0:
        return []
    step = _step(end)
    return [step * index for index in range(round(end / step) + 1)]


def _step(value: float) -> float:
    scale = 1.0
    while value > _STEPS[-1] * _STEP_COUNT * scale:
        scale *= 10
    return next(step * scale for step in _STEPS if value <= step * _STEP_COUNT * scale + _SLACK)
