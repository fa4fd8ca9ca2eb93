"""Where growth ends, worked out by hand."""

from __future__ import annotations

from runs.analytics.storage import Stored, days_left, end_of_growth, size_in, sizes_in


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


def test_room_lasts_until_what_comes_is_more_than_is_free() -> None:
    endless = Stored("k", 1_000, 7, 0)

    assert days_left([endless], 69) == 9  # nine times 7 is 63, ten times is 70
    assert days_left([endless], 70) == 10
    assert days_left([endless], 6) == 0
    assert days_left([endless, Stored("k", 0, 3, 5)], 100) == 12  # 15 in five days; then 85 by sevens
    assert days_left([endless], 7 * 3_650) is None


def test_what_retention_holds_in_time_never_fills_the_disk() -> None:
    held = Stored("k", 100, 10, 30)

    assert days_left([held], 200) is None  # 30 times 10, of which 100 are there
    assert days_left([held], 199) == 19
    assert days_left([], 0) is None
