"""When a test fails: only what chance hardly explains is telling."""

from __future__ import annotations

import math
import random

import pytest

from runs.analytics.conditions import compare_conditions


def pattern(bad: int, good: int) -> list[bool]:
    return [True] * bad + [False] * good


def test_a_condition_under_which_alone_it_fails_is_telling() -> None:
    # 7 failures in 8 executions that met it, none in 21 that did not: p = C(8,7) / C(29,7) = 5.1e-6.
    failed = pattern(7, 1) + pattern(0, 21)
    met = {"morning": [True] * 8 + [False] * 21}

    [found] = compare_conditions(failed, met)

    assert (found.failed, found.executed, found.share) == (7, 8, 0.875)
    assert found.times == math.inf
    assert found.is_telling


def test_how_many_times_as_likely_is_against_the_rest() -> None:
    # 6 of 10 inside, 2 of 40 outside: 0.6 / 0.05.
    failed = pattern(6, 4) + pattern(2, 38)
    met = {"shard": [True] * 10 + [False] * 40}

    [found] = compare_conditions(failed, met)

    assert found.times == pytest.approx(12)
    assert found.is_telling


def test_what_is_likely_by_chance_is_not_telling() -> None:
    # 4 of 20 inside, 4 of 30 outside.
    failed = pattern(4, 16) + pattern(4, 26)

    [found] = compare_conditions(failed, {"main": [True] * 20 + [False] * 30})

    assert not found.is_telling
    assert found.low < 4 / 20 < found.high


def test_the_more_conditions_are_tried_the_more_it_takes() -> None:
    # 4 of 8 inside, 2 of 42 outside: p = 0.0039, telling alone and not among three.
    failed = pattern(4, 4) + pattern(2, 40)
    inside = [True] * 8 + [False] * 42
    others = {name: [index % 2 == half for index in range(50)] for half, name in enumerate(("odd", "even"))}

    assert compare_conditions(failed, {"night": inside})[0].is_telling
    assert not compare_conditions(failed, {"night": inside} | others)[0].is_telling


def test_few_failures_say_nothing_and_rare_conditions_are_left_out() -> None:
    assert compare_conditions(pattern(4, 40), {"main": [True] * 22 + [False] * 22}) == []
    met = {"rare": [True] * 4 + [False] * 46, "nearly always": [True] * 46 + [False] * 4}
    assert compare_conditions(pattern(8, 42), met) == []


def test_tests_without_any_condition_are_seldom_said_to_have_one() -> None:
    chance, marked, tried = random.Random(11), 0, 400
    for _ in range(tried):
        failed = [chance.random() < 0.1 for _ in range(100)]
        quarters = [chance.randrange(4) for _ in failed]
        met = {str(quarter): [quarter == one for one in quarters] for quarter in range(4)}
        marked += any(found.is_telling for found in compare_conditions(failed, met))

    assert marked / tried <= 0.01
