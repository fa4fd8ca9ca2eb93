from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.analytics.durations import (
    DurationThresholds,
    Stretch,
    alerts,
    refined_split,
    spread,
    standing_alert,
    step,
    stretches,
    times_as_slow,
)
from runs.analytics.trends import Durations, PassRate, most_regressed, pass_rate_drop, slowest

SERIES = st.lists(st.floats(0.01, 1000), max_size=90)


def noisy(count: int, level: float, seed: int = 1) -> list[float]:
    """Durations around a level, a tenth up and down."""
    chance = random.Random(seed)
    return [level * chance.uniform(0.9, 1.1) for _ in range(count)]


def test_the_usual_and_the_slow_execution() -> None:
    found = spread([float(second) for second in range(1, 22)])

    # Of 1 … 21 the place of the 95th percentile is 19 of 0 … 20: the value 20.
    assert found is not None
    assert (found.p50, found.p95, found.count) == (11.0, 20.0, 21)
    assert spread([]) is None


def test_a_step_needs_forty_points() -> None:
    assert step(39 * [1.0]) is None
    assert step(40 * [1.0]) is not None


def test_a_clear_step_is_seen_with_its_figures() -> None:
    found = step([*noisy(30, 10.0), *noisy(10, 15.0)])

    assert found is not None
    assert found.is_slower is True
    # All ten above all thirty: U = 300, mean 150, variance 300·41/12 = 1025; z = 149.5/32.016 = 4.6696
    assert found.p_value == pytest.approx(1.51e-6, rel=0.01)
    assert 1.4 < found.ratio < 1.6


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (10.0, 11.9),  # less than a fifth
        (1.0, 1.45),  # less than half a second
        (10.0, 7.0),  # faster
    ],
)
def test_small_rises_and_falls_are_no_alert(before: float, after: float) -> None:
    assert alerts([*(60 * [before]), *(60 * [after])]) == []


def test_a_rise_is_reported_once_and_placed_where_it_began() -> None:
    found = alerts([*noisy(60, 10.0), *noisy(40, 14.0, seed=2)])

    assert [alert.index for alert in found] == [60]
    # Six of the last ten must be slow for the median to be.
    assert 64 <= found[0].noticed_at <= 69
    assert found[0].after > 1.2 * found[0].before


def test_one_slow_execution_is_no_rise() -> None:
    assert alerts([*noisy(50, 10.0), 100.0, *noisy(50, 10.0, seed=2)]) == []


def test_a_second_rise_is_reported_after_the_first_became_the_usual() -> None:
    found = alerts([*noisy(50, 10.0), *noisy(60, 15.0, seed=2), *noisy(40, 25.0, seed=3)])

    assert [alert.index for alert in found] == [50, 110]


def test_what_hovers_about_the_threshold_does_not_repeat_itself() -> None:
    # Falls back to +15 %, above the +10 % that would arm again, and rises again.
    levels = [*(40 * [10.0]), *(10 * [13.0]), *(6 * [11.5]), *(10 * [13.0])]

    assert len(alerts(levels)) == 1


def test_the_split_lies_where_the_points_are_closest_to_their_medians() -> None:
    assert refined_split([1, 1, 1, 1, 1, 5, 5, 5, 5, 5, 5], side=2) == 5
    assert refined_split([1, 9, 1, 1, 1, 1, 5, 5, 5, 1, 5, 5], side=2) == 6
    assert refined_split([1.0, 2.0], side=5) == 2


def test_a_flat_series_is_one_stretch_and_nothing_is_none() -> None:
    assert stretches([]) == []
    assert stretches([2.0]) == [Stretch(0, 1, 2.0)]
    assert stretches(100 * [3.0]) == [Stretch(0, 100, 3.0)]


def test_levels_are_cut_where_they_change() -> None:
    series = [*noisy(40, 10.0), *noisy(30, 14.0, seed=2), *noisy(50, 9.0, seed=3)]

    found = stretches(series)

    assert [(one.start, one.end) for one in found] == [(0, 40), (40, 70), (70, 120)]
    assert times_as_slow(found[0], found[1]) == pytest.approx(1.4, abs=0.08)


def test_whole_seconds_do_not_make_levels_of_nothing() -> None:
    # Clocks that round: 1 % apart at most is no change, however regular.
    assert len(stretches([*(40 * [100.0]), *(40 * [100.4])])) == 1


@settings(max_examples=25, deadline=None)
@given(SERIES)
def test_stretches_cover_the_series_and_none_is_too_short(series: list[float]) -> None:
    found = stretches(series)

    assert [one.start for one in found[1:]] == [one.end for one in found[:-1]]
    assert sum(one.end - one.start for one in found) == len(series)
    assert len(found) <= 1 or all(one.end - one.start >= 5 for one in found)


@settings(max_examples=40, deadline=None)
@given(SERIES)
def test_alerts_come_in_order_and_lie_within_the_series(series: list[float]) -> None:
    found = alerts(series, DurationThresholds(p_value=0.05))

    assert all(0 <= alert.index <= alert.noticed_at < len(series) for alert in found)
    assert all(one.noticed_at < other.noticed_at for one, other in pairwise(found))
    assert all(alert.after - alert.before >= 0.5 for alert in found)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.6, 1000), min_size=40, max_size=60), st.floats(1.0, 5.0))
def test_slower_last_points_never_hide_a_step(series: list[float], times: float) -> None:
    before = step(series)
    after = step([*series[:-10], *(value * times for value in series[-10:])])

    assert before is not None
    assert after is not None
    assert after.p_value <= before.p_value + 1e-12
    assert after.is_slower or not before.is_slower


def test_the_slowest_tests_come_first_with_their_share() -> None:
    cases = [Durations(1, [1.0, 1.0]), Durations(2, [6.0, 8.0]), Durations(3, []), Durations(4, [2.0])]

    found = slowest(cases, limit=2)

    # Medians 1, 7 and 2: ten seconds in all.
    assert [(one.case, one.spread.p50, one.share) for one in found] == [(2, 7.0, 0.7), (4, 2.0, 0.2)]


def test_the_most_regressed_add_the_most_seconds() -> None:
    cases = [
        Durations(1, [*noisy(30, 10.0), *noisy(10, 13.0)]),
        Durations(2, [*noisy(30, 1.0), *noisy(10, 9.0)]),
        Durations(3, noisy(40, 5.0)),
        Durations(4, [1.0, 90.0]),
        Durations(5, [*noisy(30, 0.1), *noisy(10, 0.2)]),
    ]

    found = most_regressed(cases)

    assert [(one.case, one.step.is_slower) for one in found] == [(2, True), (1, True), (5, False)]


def test_a_pass_rate_fell_when_chance_is_no_longer_the_likeliest_reason() -> None:
    # 3 of 4 failed, of 4 before 1: 17/70 by chance alone.
    unclear = pass_rate_drop(PassRate(1, 3), PassRate(3, 1))
    clear = pass_rate_drop(PassRate(80, 20), PassRate(99, 1))

    assert (unclear.points, unclear.is_regression) == (0.5, False)
    assert unclear.p_value == pytest.approx(17 / 70)
    assert clear.is_regression is True


@pytest.mark.parametrize(
    ("recent", "base"),
    [
        (PassRate(998, 2), PassRate(1000, 0)),  # two failures are too few to speak of
        (PassRate(9600, 400), PassRate(10_000, 0)),  # four points
        (PassRate(0, 0), PassRate(10, 0)),
        (PassRate(10, 5), PassRate(0, 5)),  # better than before
    ],
)
def test_small_drops_are_no_regression(recent: PassRate, base: PassRate) -> None:
    assert pass_rate_drop(recent, base).is_regression is False


def test_a_rise_stands_until_the_level_is_nearly_what_it_was() -> None:
    fast, slow = [4.0, 4.1, 4.2], [6.0, 6.1, 6.2]
    raised = [*fast * 10, *slow * 5]

    found = standing_alert(raised)

    assert found is not None
    assert (found.index, found.before) == (30, 4.1)
    # Of the last ten five are fast: the median lies between 4.2 and 6.0, still above 1.1 times 4.1 = 4.51.
    assert standing_alert([*raised, *5 * [4.1]]) == found
    assert standing_alert([*raised, *6 * [4.1]]) is None
    # Taken back is taken back, also when it is a little slower again.
    assert standing_alert([*raised, *10 * [4.1], *10 * [4.5]]) is None
    assert standing_alert([]) is None


def test_of_two_rises_the_one_that_was_not_taken_back_stands() -> None:
    first, second, third = 30 * [4.0], 40 * [6.0], 12 * [9.0]

    both = standing_alert([*first, *second, *third])
    assert both is not None
    assert (both.index, both.before) == (70, 6.0)

    back = standing_alert([*first, *second, *third, *12 * [6.0]])
    assert back is not None
    assert (back.index, back.before) == (30, 4.0)


def test_a_rise_whose_base_has_gone_from_the_series_is_the_pace_by_now() -> None:
    assert standing_alert([*10 * [4.0], *90 * [6.0]]) is None
