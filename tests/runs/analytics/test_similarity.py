"""What failed together stands side by side."""

from __future__ import annotations

from runs.analytics.similarity import likeness, similar_together


def test_tests_that_failed_in_the_same_runs_are_neighbours() -> None:
    failed_in = {"a": {1, 2, 3}, "x": {7, 8}, "b": {1, 2, 3}, "y": {7, 8, 9, 10}, "c": {2, 3}}

    # y has most failures; x shares half of them; then a and b, the same, and c two thirds of them.
    assert similar_together(failed_in) == ["y", "x", "a", "b", "c"]


def test_nothing_has_an_order_of_nothing() -> None:
    assert similar_together({}) == []


def test_likeness_is_the_share_of_runs_in_both() -> None:
    assert likeness({1, 2, 3}, {2, 3, 4}) == 0.5
    assert likeness({1}, {2}) == 0
    assert likeness(set(), set()) == 0
