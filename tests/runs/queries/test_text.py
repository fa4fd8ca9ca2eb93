"""Strangers' text: inert, readable, and never longer than a page can carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.queries.text import LINE_LIMIT, clean, one_line, readable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b", "a\\x00b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("half an escape \x1b", "half an escape ␛"),
        ("naïve – Ω 漢字 👍", "naïve – Ω 漢字 👍"),  # noqa: RUF001 - signs that people write
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_control_and_reordering_characters_are_shown_or_dropped(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(max_size=400))
def test_nothing_that_acts_on_a_terminal_or_a_line_is_left(raw: str) -> None:
    left = set(clean(raw))

    assert not left & {chr(code) for code in range(32)} - {"\t", "\n", "\r"}
    assert not left & set(
        "\x7f\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
    )


def test_a_long_line_is_cut_and_says_how_much_is_missing() -> None:
    shown = readable("x" * 1_000_000, 64_000)

    assert shown.startswith("x" * LINE_LIMIT + "… (")
    # 64,000 characters were looked at: 2,000 are shown, 62,000 are named, 936,000 came after.
    assert "(62,000 more characters not shown)" in shown
    assert shown.endswith("… (936,000 more characters not shown)")


def test_one_line_is_the_first_that_says_something() -> None:
    assert one_line("\n  \n first \n second") == "first"
    assert one_line("x" * 500, 10) == "x" * 10 + "… (490 more characters not shown)"
    assert one_line("") == ""
