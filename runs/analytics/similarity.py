"""Put what failed together side by side."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet


def similar_together[Key](failed_in: Mapping[Key, AbstractSet[int]]) -> list[Key]:
    """An order in which tests that failed in the same runs are neighbours.

    Starts at the test with most failures and goes on to the one whose runs are most like those of the last
    (Jaccard's index); where none shares a run, to the one with most failures left. Ties keep the given order.
    """
    left = sorted(failed_in, key=lambda key: -len(failed_in[key]))
    ordered: list[Key] = []
    while left:
        nearest = left[0]
        if ordered:
            last = failed_in[ordered[-1]]
            best = max(left, key=lambda key: likeness(last, failed_in[key]))
            nearest = best if likeness(last, failed_in[best]) else left[0]
        ordered.append(nearest)
        left.remove(nearest)
    return ordered


def likeness(first: AbstractSet[int], second: AbstractSet[int]) -> float:
    """Jaccard's index: runs in both as a share of runs in either, 0 when there is none."""
    either = len(first | second)
    return len(first & second) / either if either else 0.0
