"""What can be said of a sample, in plain Python: percentiles, intervals, tests of significance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil, comb, erfc, exp, floor, inf, isfinite, lgamma, log, log1p, sqrt

#: The normal distribution's 97.5th percentile: the width of a 95 % interval.
Z_95 = 1.959963984540054


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sample lies, between neighbours by straight lines.

    As PostgreSQL's `percentile_cont`. An empty sample has none: ValueError.
    """
    if not values:
        raise ValueError("An empty sample has no percentile.")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = floor(place), ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: Sequence[float]) -> float:
    """The middle of the sample, as `percentile` has it; ValueError when it is empty."""
    count = len(values)
    if count == 1:
        return values[0]
    if not values:
        raise ValueError("An empty sample has no median.")
    ordered = sorted(values)
    high = ordered[count // 2]
    if count % 2:
        return float(high)
    low = ordered[count // 2 - 1]
    return low + (high - low) * 0.5


def wilson(successes: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """Bounds of a proportion, after E. B. Wilson, J. American Statistical Association 22 (1927) 209-212.

    Holds for small counts and at both ends, where the usual p ± z·s does not. With nothing seen: 0 to 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are no proportion.")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    spread = z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return min(low, share), max(high, share)


def mann_whitney_greater(first: Sequence[float], second: Sequence[float]) -> float:
    """Chance of `first` lying this much above `second` if both came from one source (one-sided p).

    H. B. Mann, D. R. Whitney, Annals of Mathematical Statistics 18 (1947) 50-60, by its normal form with the
    corrections for ties and for continuity: good from about eight values on each side. Without values or
    without differences: 1.
    """
    n1, n2 = len(first), len(second)
    if not n1 or not n2:
        return 1.0
    ranks, ties = _ranks([*first, *second])
    u = sum(ranks[:n1]) - n1 * (n1 + 1) / 2
    n = n1 + n2
    variance = n1 * n2 / 12 * ((n + 1) - ties / (n * (n - 1)))
    if variance <= 0:
        return 1.0
    return erfc((u - n1 * n2 / 2 - 0.5) / sqrt(2 * variance)) / 2


def _ranks(values: Sequence[float]) -> tuple[list[float], int]:
    """Ranks from 1, ties at their mean; and the sum of t³-t over groups of t equal values."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    ties = passed = 0
    for _, group in groupby(order, key=values.__getitem__):
        places = list(group)
        count = len(places)
        for place in places:
            ranks[place] = passed + (count + 1) / 2
        passed += count
        ties += count**3 - count
    return ranks, ties


def fisher_greater(failed: int, passed: int, base_failed: int, base_passed: int) -> float:
    """Chance of at least this many failures in the first row if both rows had one failure rate (one-sided p).

    R. A. Fisher's exact test: the upper tail of the hypergeometric distribution.
    """
    drawn = failed + passed
    marked = failed + base_failed
    whole = drawn + base_failed + base_passed
    ways = sum(
        comb(marked, k) * comb(whole - marked, drawn - k) for k in range(failed, min(marked, drawn) + 1)
    )
    return ways / comb(whole, drawn)


def student_two_sided(t: float, degrees: float) -> float:
    """Chance of a t statistic this far from 0 on either side, with these degrees of freedom."""
    if not isfinite(t):
        return 0.0
    return _beta_share(degrees / 2, 0.5, degrees / (degrees + t * t))


def _beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by Lentz's method for its continued fraction."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    tiny = 1e-300
    c, d, fraction = 1.0, 0.0, 1.0
    for step in range(300):
        m = step // 2
        if step == 0:
            numerator = 1.0
        elif step % 2 == 0:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + numerator * d, tiny)
        c = _away_from_zero(1 + numerator / c, tiny)
        fraction *= c * d
        if abs(1 - c * d) < 1e-12:  # noqa: PLR2004 - the precision of the series
            break
    return front * (fraction - 1)


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def ratio(after: float, before: float) -> float:
    """How many times as large; infinite from nothing to something, 1 from nothing to nothing."""
    if before:
        return after / before
    return inf if after else 1.0
