from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.sharding import deal

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, max_size=30)


def test_the_longest_goes_first_to_whoever_has_least() -> None:
    passes = {"a": [7.0], "b": [5.0], "c": [4.0], "d": [4.0], "e": [2.0]}

    # a → 1, b → 2, c → 2 (9), d → 1 (11), e → 2 (11)
    plans = deal(["e", "d", "c", "b", "a"], passes, 2)

    assert [(plan.tests, plan.seconds) for plan in plans] == [(("d", "a"), 11.0), (("e", "c", "b"), 11.0)]


def test_a_test_is_expected_to_take_the_median_of_its_last_five_passes() -> None:
    # Of 100 … 1, 2, 3, 4, 50 the last five are 1, 2, 3, 4, 50: 3.
    assert deal(["a"], {"a": [100.0, 100.0, 1.0, 2.0, 3.0, 4.0, 50.0]}, 1)[0].seconds == 3.0


def test_an_unknown_test_is_expected_to_take_the_mean_of_the_known() -> None:
    plans = deal(["a", "b", "new"], {"a": [2.0], "b": [6.0], "elsewhere": [1000.0]}, 3)

    assert sorted(plan.seconds for plan in plans) == [2.0, 4.0, 6.0]


def test_where_nothing_is_known_tests_are_dealt_by_number() -> None:
    assert [plan.tests for plan in deal(["c", "a", "b", "d"], {}, 2)] == [("c", "a"), ("b", "d")]


def test_a_test_given_twice_is_dealt_once_and_a_shard_may_be_empty() -> None:
    assert [plan.tests for plan in deal(["a", "a"], {}, 2)] == [("a",), ()]


def test_there_is_no_dealing_to_no_shards() -> None:
    with pytest.raises(ValueError, match="0 shards"):
        deal(["a"], {}, 0)


@given(NAMES, st.integers(1, 6), st.integers(0, 1000))
def test_every_test_is_dealt_to_one_shard_whatever_the_order(
    names: list[str], shards: int, seed: int
) -> None:
    chance = random.Random(seed)
    passes = {name: [chance.uniform(0.01, 100)] for name in names if chance.random() < 0.8}
    shuffled = list(names)
    chance.shuffle(shuffled)

    plans = deal(names, passes, shards)

    assert sorted(test for plan in plans for test in plan.tests) == sorted(names)
    assert [set(plan.tests) for plan in deal(shuffled, passes, shards)] == [set(plan.tests) for plan in plans]


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=40), st.integers(1, 8))
def test_the_longest_shard_is_within_grahams_bound(seconds: list[float], shards: int) -> None:
    passes = {f"t{number}": [value] for number, value in enumerate(seconds)}

    longest = max(plan.seconds for plan in deal(passes, passes, shards))

    # No dealing is shorter than the mean, than the longest test, or than two tests that must share a shard.
    ordered = sorted(seconds, reverse=True)
    shared = ordered[shards - 1] + ordered[shards] if len(ordered) > shards else 0.0
    assert longest <= sum(seconds) / shards + ordered[0]
    assert longest >= max(sum(seconds) / shards, ordered[0], shared) - 1e-6
