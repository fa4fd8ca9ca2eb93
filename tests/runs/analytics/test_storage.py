"""Where growth ends, worked out by hand."""

from __future__ import annotations

from runs.analytics.storage import Stored, end_of_growth, size_in, sizes_in


def test_what_is_kept_for_ever_grows_on() -> None:
    assert size_in(Stored("k", 100, 2, 0), 90) == 280


def test_what_has_a_term_grows_until_as_much_goes_as_comes() -> None:
    young = Stored("k", 100, 2, 120)

    assert size_in(young, 10) == 120
    assert size_in(young, 90) == 240  # 120 days of 2 bytes; without a term 280


def test_more_than_the_pace_explains_is_not_held_to_go_soon() -> None:
    assert size_in(Stored("k", 1_000, 2, 120), 90) == 1_000


def test_all_together_and_the_end_of_it() -> None:
    kinds = [Stored("a", 100, 2, 120), Stored("rest", 50, 0, 0)]

    assert sizes_in(kinds, 90) == 290
    assert end_of_growth(kinds) == 290
    assert sizes_in([], 90) == 0


def test_nothing_holds_what_grows_and_is_kept_for_ever() -> None:
    assert end_of_growth([Stored("a", 1, 1, 10), Stored("b", 1, 1, 0)]) is None
