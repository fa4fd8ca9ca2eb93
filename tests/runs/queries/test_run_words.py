"""The words that runs are searched by."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.queries.run_words import KEYS, Length, Word, length_of, replaced, text_of, words_of


def test_a_text_is_read_as_words() -> None:
    text = 'coupon branch:main -trigger:schedule started:<3d branch:"release 2" "two words" http://x odd:1'

    # A key whose value is still to be typed asks for nothing.
    assert words_of(f"{text} status:") == words_of(text)
    assert words_of(text) == [
        Word("coupon"),
        Word("main", "branch"),
        Word("schedule", "trigger", is_not=True),
        Word("<3d", "started"),
        Word("release 2", "branch"),
        Word("two words"),
        Word("http://x"),
        Word("odd:1"),
    ]


@given(
    st.lists(
        st.builds(
            Word,
            value=st.text(
                st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=9
            )
            .map(str.strip)
            .filter(lambda value: value and '"' not in value),
            key=st.sampled_from(KEYS),
            is_not=st.booleans(),
        ),
        max_size=6,
    )
)
def test_what_is_written_is_read_as_the_same(words: list[Word]) -> None:
    assert words_of(text_of(words)) == words


@given(st.text(max_size=700))
def test_any_text_is_read(text: str) -> None:
    assert all(word.value for word in words_of(text))


def test_a_quotation_mark_in_a_name_becomes_any_character() -> None:
    assert words_of(str(Word('a "b" c', "suite"))) == [Word("a *b* c", "suite")]


@pytest.mark.parametrize(
    ("value", "unit", "length"),
    [
        ("<3d", "d", Length(is_less=True, span=timedelta(days=3))),
        (">12m", "s", Length(is_less=False, span=timedelta(minutes=12))),
        (">90", "s", Length(is_less=False, span=timedelta(seconds=90))),
        ("<1.5h", "s", Length(is_less=True, span=timedelta(minutes=90))),
        ("3d", "d", None),
        (">", "s", None),
        ("<3years", "d", None),
    ],
)
def test_a_bound_is_a_sign_a_number_and_a_unit(value: str, unit: str, length: Length | None) -> None:
    assert length_of(value, unit=unit) == length


def test_a_chip_takes_the_place_of_its_word_and_leaves_what_is_excluded() -> None:
    words = words_of("branch:main -branch:old coupon")

    assert text_of(replaced(words, "branch", "feat/x")) == "-branch:old coupon branch:feat/x"
    assert text_of(replaced(words, "branch", "")) == "-branch:old coupon"
