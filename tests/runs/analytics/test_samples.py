from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.samples import (
    fisher_greater,
    mann_whitney_greater,
    median,
    percentile,
    ratio,
    student_two_sided,
    wilson,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def test_a_percentile_lies_on_the_line_between_its_neighbours() -> None:
    # Places 0..3; 0.95 of 3 is 2.85: 85 % of the way from 30 to 40.
    assert percentile([40, 10, 30, 20], 0.95) == pytest.approx(38.5)
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5


@given(NUMBERS)
def test_the_median_is_the_50th_percentile(values: list[float]) -> None:
    assert median(values) == percentile(values, 0.5)


def test_an_empty_sample_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="empty"):
        median([])


def test_wilsons_interval_of_five_in_ten_is_the_published_one() -> None:
    # (0.5 + 3.8415/20) / 1.38415 ± 1.96·√(0.025 + 3.8415/400) / 1.38415
    low, high = wilson(5, 10)

    assert (low, high) == pytest.approx((0.2366, 0.7634), abs=5e-5)


def test_wilsons_interval_of_none_in_ten_ends_at_z_squared_over_n_plus_z_squared() -> None:
    # 3.8415 / 13.8415
    assert wilson(0, 10) == pytest.approx((0.0, 0.27754), abs=5e-5)


def test_nothing_seen_may_be_anything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2)])
def test_what_is_no_proportion_has_no_interval(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


@given(st.integers(0, 500), st.integers(0, 500))
def test_an_interval_holds_its_share_and_stays_between_nothing_and_all(hits: int, misses: int) -> None:
    low, high = wilson(hits, hits + misses)

    assert 0 <= low <= high <= 1
    if hits + misses:
        assert low <= hits / (hits + misses) <= high


@given(st.integers(1, 50), st.integers(1, 50))
def test_more_of_the_same_is_surer(hits: int, misses: int) -> None:
    few, many = wilson(hits, hits + misses), wilson(10 * hits, 10 * (hits + misses))

    assert many[1] - many[0] < few[1] - few[0]


def test_mann_whitney_of_two_samples_apart_is_worked_out_by_hand() -> None:
    # U = 15 of 15; mean 7.5, variance 5·3·9/12 = 11.25; z = (15 - 7.5 - 0.5)/3.3541 = 2.0870; 1 - Φ = 0.01844
    assert mann_whitney_greater([4, 5, 6, 7, 8], [1, 2, 3]) == pytest.approx(0.01844, abs=1e-5)


def test_mann_whitney_takes_ties_into_account() -> None:
    # Ranks 1, 3, 3, 3, 5: R1 = 3+3+5 = 11, U = 5 of 6; ties 27-3 = 24; variance 6/12·(6 - 24/20) = 2.4
    # z = (5 - 3 - 0.5)/1.54919 = 0.96825; 1 - Φ = 0.16646
    assert mann_whitney_greater([2, 2, 3], [1, 2]) == pytest.approx(0.16646, abs=1e-5)


def test_samples_that_do_not_differ_prove_nothing() -> None:
    assert mann_whitney_greater([1, 1, 1], [1, 1]) == 1.0
    assert mann_whitney_greater([], [1]) == 1.0


@given(NUMBERS, NUMBERS, st.randoms(use_true_random=False))
def test_mann_whitney_does_not_ask_for_an_order(
    first: list[float], second: list[float], chance: random.Random
) -> None:
    shuffled = list(first)
    chance.shuffle(shuffled)

    p_value = mann_whitney_greater(first, second)

    assert 0 <= p_value <= 1
    assert mann_whitney_greater(shuffled, second) == p_value


@pytest.mark.parametrize(
    ("t", "degrees", "expected"),
    # From the tables; with one degree of freedom it is 1 - 2·atan(t)/π, with two 1 - t/√(2 + t²).
    [(2.2281, 10, 0.05), (12.7062, 1, 0.05), (1.0, 1, 0.5), (2.0, 2, 1 - 2 / 6**0.5), (0.0, 5, 1.0)],
)
def test_students_tail_is_that_of_the_tables(t: float, degrees: int, expected: float) -> None:
    assert student_two_sided(t, degrees) == pytest.approx(expected, abs=1e-5)
    assert student_two_sided(-t, degrees) == pytest.approx(expected, abs=1e-5)


def test_fisher_drinks_tea() -> None:
    # Three of four right by chance or better: (16 + 1) / 70.
    assert fisher_greater(3, 1, 1, 3) == pytest.approx(17 / 70)


def test_nothing_to_something_is_infinitely_more() -> None:
    assert ratio(1, 0) == float("inf")
    assert ratio(0, 0) == 1.0
    assert ratio(3, 2) == 1.5
