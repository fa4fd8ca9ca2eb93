"""Tests dealt to shards so that the longest shard is short: longest processing time first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from runs.analytics.samples import median

#: The median of so many last passes is what a test is expected to take.
LAST_PASSES = 5
#: What a test is expected to take, in seconds, when nothing is known of any.
UNKNOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The tests of one shard, in the order in which they were given, and the seconds expected of them."""

    tests: tuple[str, ...]
    seconds: float


def deal(tests: Iterable[str], passes: Mapping[str, Sequence[float]], shards: int) -> list[ShardPlan]:
    """Deal tests to `shards` shards; the same answer for the same input, whatever machine asks.

    `passes` holds each test's passing durations in seconds, in order of time; a test without any is expected
    to take the mean of the others. Longest first, each to the shard with least to do (R. L. Graham, SIAM J.
    Applied Mathematics 17 (1969) 416-429): the longest shard takes at most 4/3 - 1/(3·shards) of the least
    possible. A test given twice is dealt once. Shards may be empty. ValueError for fewer than one.
    """
    return deal_expected(_expected(dict.fromkeys(tests), passes), shards)


def deal_expected(expected: Mapping[str, float], shards: int) -> list[ShardPlan]:
    """The same of tests of which it is known how many seconds each is expected to take."""
    if shards < 1:
        raise ValueError(f"Tests cannot be dealt to {shards} shards.")
    order = {test: place for place, test in enumerate(expected)}
    least = [(0.0, shard) for shard in range(shards)]
    heapify(least)
    dealt: list[list[str]] = [[] for _ in range(shards)]
    totals = [0.0] * shards
    for test in sorted(order, key=lambda name: (-expected[name], name)):
        seconds, shard = heappop(least)
        dealt[shard].append(test)
        totals[shard] = seconds + expected[test]
        heappush(least, (totals[shard], shard))
    return [
        ShardPlan(tuple(sorted(names, key=order.__getitem__)), total)
        for names, total in zip(dealt, totals, strict=True)
    ]


def _expected(tests: Iterable[str], passes: Mapping[str, Sequence[float]]) -> dict[str, float]:
    names = list(tests)
    known = {name: median(passes[name][-LAST_PASSES:]) for name in names if passes.get(name)}
    mean = sum(known[name] for name in sorted(known)) / len(known) if known else UNKNOWN_SECONDS
    return {name: known.get(name, mean) for name in names}
