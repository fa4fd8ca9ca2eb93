"""Whether something takes longer than it did: the alert that speaks up, and the levels a chart draws.

Values are seconds in order of time, of passes only: a failure's duration says when it gave up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import exp, log, sqrt

from runs.analytics.samples import mann_whitney_greater, median, percentile, ratio, student_two_sided

#: Raised whenever the same values could give another alert.
ALGORITHM_VERSION = 1
#: Clocks and reports round: durations closer than this share are equal to the search for levels.
GRAIN = 0.01
#: Shorter than this is taken for this when a logarithm is needed, in seconds.
SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class DurationThresholds:
    """When a duration counts as risen. Defaults are the measured ones."""

    recent: int = 10
    base: int = 30
    ratio: float = 1.20
    #: Less than this, in seconds, is nobody's concern.
    seconds: float = 0.5
    p_value: float = 0.001
    #: Another alert needs that the ratio was below this in between.
    rearm_ratio: float = 1.10
    #: Fewest points on each side of the refined position.
    side: int = 5


DEFAULTS = DurationThresholds()


@dataclass(frozen=True, slots=True)
class Spread:
    """The usual and the slow execution, in seconds, and of how many."""

    p50: float
    p95: float
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """How the last executions compare with those before them."""

    before: float
    after: float
    ratio: float
    p_value: float
    is_slower: bool


@dataclass(frozen=True, slots=True)
class DurationAlert:
    """A rise: where it began (the first slow point), where it was noticed, and what it rests on."""

    index: int
    noticed_at: int
    before: float
    after: float
    ratio: float
    p_value: float
    thresholds: DurationThresholds
    algorithm_version: int = ALGORITHM_VERSION


@dataclass(frozen=True, slots=True)
class Stretch:
    """Points `start` to `end` (not included) on one level, in seconds."""

    start: int
    end: int
    median: float


def spread(seconds: Sequence[float]) -> Spread | None:
    """The median and the 95th percentile; None of nothing."""
    if not seconds:
        return None
    return Spread(p50=median(seconds), p95=percentile(seconds, 0.95), count=len(seconds))


def step(seconds: Sequence[float], thresholds: DurationThresholds = DEFAULTS) -> Step | None:
    """Compare the last points with the base before them; None when there are too few."""
    if len(seconds) < thresholds.recent + thresholds.base:
        return None
    recent = seconds[-thresholds.recent :]
    base = seconds[-thresholds.recent - thresholds.base : -thresholds.recent]
    before, after = median(base), median(recent)
    risen = after >= thresholds.ratio * before and after - before >= thresholds.seconds
    p_value = mann_whitney_greater(recent, base)
    return Step(before, after, ratio(after, before), p_value, risen and p_value < thresholds.p_value)


def alerts(seconds: Sequence[float], thresholds: DurationThresholds = DEFAULTS) -> list[DurationAlert]:
    """Every rise in the series, each reported once, as it would have been noticed point by point."""
    found: list[DurationAlert] = []
    armed = True
    width = thresholds.recent + thresholds.base
    ordered = list(seconds)
    for end in range(width, len(ordered) + 1):
        window = ordered[end - width : end]
        if not armed:
            armed = not _is_above(window, thresholds.rearm_ratio, thresholds)
        # The medians first: they are cheap, and mostly enough.
        if not armed or not _is_above(window, thresholds.ratio, thresholds):
            continue
        now = step(window, thresholds)
        if now and now.is_slower:
            found.append(_alert(now, window, end, thresholds))
            armed = False
    return found


def standing_alert(
    seconds: Sequence[float], thresholds: DurationThresholds = DEFAULTS
) -> DurationAlert | None:
    """The newest rise that was not taken back; None when the series runs on no raised level.

    A rise is taken back once the median of the last points is below `rearm_ratio` times the level before
    it. One whose base is no longer in the series is the pace by now, and no rise.
    """
    ordered = list(seconds)
    return next(
        (alert for alert in reversed(alerts(ordered, thresholds)) if _stands(alert, ordered, thresholds)),
        None,
    )


def refined_split(seconds: Sequence[float], side: int = DEFAULTS.side) -> int:
    """Where to cut the series in two so that the points lie closest to the medians of their parts.

    Closest by the sum of absolute deviations; the earlier place wins a tie. Fewer than two sides: the end.
    """
    splits = range(side, len(seconds) - side + 1)
    return min(
        splits, key=lambda at: _deviation(seconds[:at]) + _deviation(seconds[at:]), default=len(seconds)
    )


def stretches(
    seconds: Sequence[float],
    *,
    window: int = 50,
    p_value: float = 1e-5,
    least_ratio: float = 1.05,
    side: int = 5,
) -> list[Stretch]:
    """The levels on which the series ran, one after the other; one when nothing changed, none of nothing.

    E-divisive means (Matteson, James 2013, arXiv 1306.4933) on logarithms, the way Hunter applies them
    (Fleming et al. 2023, arXiv 2301.03034): candidates in overlapping windows at ten times the p-value, by a
    two-sided Student t test; then the weakest goes until each that is left holds against its neighbours and
    changes the level by `least_ratio`. Stretches have at least `side` points. Nothing in it is random.
    """
    logs = [log(max(value, SHORTEST)) for value in seconds]
    cuts = _candidates(logs, window, p_value * 10, side)
    cuts = _strong(logs, cuts, p_value, log(least_ratio))
    bounds = [0, *cuts, len(logs)] if logs else []
    return [Stretch(start, end, median(seconds[start:end])) for start, end in pairwise(bounds)]


def _alert(now: Step, window: Sequence[float], end: int, thresholds: DurationThresholds) -> DurationAlert:
    return DurationAlert(
        index=end - len(window) + refined_split(window, thresholds.side),
        noticed_at=end - 1,
        before=now.before,
        after=now.after,
        ratio=now.ratio,
        p_value=now.p_value,
        thresholds=thresholds,
    )


def _stands(alert: DurationAlert, seconds: Sequence[float], thresholds: DurationThresholds) -> bool:
    """Whether the median of the last points never came back since it was noticed."""
    floor = thresholds.rearm_ratio * alert.before
    return all(
        median(seconds[end - thresholds.recent : end]) >= floor
        for end in range(alert.noticed_at + 2, len(seconds) + 1)
    )


def _is_above(window: Sequence[float], times: float, thresholds: DurationThresholds) -> bool:
    before = median(window[: thresholds.base])
    return median(window[thresholds.base :]) >= times * before


def _deviation(values: Sequence[float]) -> float:
    middle = median(values)
    return sum(abs(value - middle) for value in values)


def _candidates(logs: Sequence[float], window: int, p_value: float, side: int) -> list[int]:
    """Places where the level may change, from windows that overlap by half."""
    found: set[int] = set()
    for start in range(0, len(logs), max(1, window // 2)):
        part = logs[start : start + window]
        found.update(start + at for at in _split(part, p_value, side))
    return _spaced(logs, sorted(found), side)


def _split(part: Sequence[float], p_value: float, side: int) -> list[int]:
    """Cut at the likeliest place, and each half again, as long as the cuts are significant."""
    at = _likeliest(part, side)
    if at is None or _t_test(part[:at], part[at:]) >= p_value:
        return []
    left, right = _split(part[:at], p_value, side), _split(part[at:], p_value, side)
    return [*left, at, *(at + later for later in right)]


def _likeliest(part: Sequence[float], side: int) -> int | None:
    """Where the energy distance between the points before and a stretch after is largest; None if too short.

    With inside(a, b) = the sum of distances among the points a..b, in constant time from prefix sums, the
    distances across a cut are inside(0, k) - inside(0, t) - inside(t, k).
    """
    n = len(part)
    if n < 2 * side:
        return None
    # to_earlier[j][i]: sum of the distances of point j from the points before i.
    to_earlier = [[0.0, *accumulate(abs(part[j] - part[i]) for i in range(j))] for j in range(n)]
    best, place = 0.0, None
    first = [0.0, *accumulate(row[-1] for row in to_earlier)]
    for t in range(side, n - side + 1):
        inner = across = 0.0
        for k in range(t + 1, n + 1):
            row = to_earlier[k - 1]
            across += row[t]
            inner += row[-1] - row[t]
            size = k - t
            if size < side:
                continue
            distance = (
                2 * across / (t * size) - 2 * first[t] / (t * (t - 1)) - 2 * inner / (size * (size - 1))
            )
            weighted = distance * t * size / k
            if weighted > best:
                best, place = weighted, t
    return place


def _spaced(logs: Sequence[float], cuts: list[int], side: int) -> list[int]:
    """Of cuts closer than a stretch may be short, which two windows saw differently, the stronger stays."""
    kept: list[int] = []
    for cut in cuts:
        if cut < side or len(logs) - cut < side:
            continue
        if not kept or cut - kept[-1] >= side:
            kept.append(cut)
        elif _contrast(logs, cut) > _contrast(logs, kept[-1]):
            kept[-1] = cut
    return kept


def _contrast(logs: Sequence[float], cut: int, reach: int = 20) -> float:
    before, after = logs[max(0, cut - reach) : cut], logs[cut : cut + reach]
    return -_t_test(before, after)


def _strong(logs: Sequence[float], cuts: list[int], p_value: float, least: float) -> list[int]:
    """Drop the weakest cut until each that is left is significant and large enough against its neighbours."""
    left = list(cuts)
    while left:
        bounds = [0, *left, len(logs)]
        sides = [(logs[a:b], logs[b:c]) for a, b, c in zip(bounds, bounds[1:], bounds[2:], strict=False)]
        chances = [_t_test(before, after) for before, after in sides]
        sizes = [abs(median(after) - median(before)) for before, after in sides]
        weakest = max(range(len(left)), key=chances.__getitem__)
        if chances[weakest] < p_value:
            weakest = min(range(len(left)), key=sizes.__getitem__)
            if sizes[weakest] >= least:
                break
        del left[weakest]
    return left


def _t_test(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided Student p of two means, with a variance not below what clocks can tell."""
    n1, n2 = len(first), len(second)
    if not n1 or not n2 or n1 + n2 <= 2:  # noqa: PLR2004 - a degree of freedom must be left
        return 1.0
    mean1, mean2 = sum(first) / n1, sum(second) / n2
    squares = sum((x - mean1) ** 2 for x in first) + sum((x - mean2) ** 2 for x in second)
    variance = max(squares / (n1 + n2 - 2), GRAIN**2)
    t = (mean1 - mean2) / sqrt(variance * (1 / n1 + 1 / n2))
    return student_two_sided(t, n1 + n2 - 2)


def times_as_slow(before: Stretch, after: Stretch) -> float:
    """How many times as slow the later stretch is."""
    return exp(log(max(after.median, SHORTEST)) - log(max(before.median, SHORTEST)))
