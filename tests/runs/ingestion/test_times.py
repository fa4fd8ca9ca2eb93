"""Durations in every form that was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.ingestion.times import plain_seconds, spelled_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5", 1.5),
        (" 0.7 ", 0.7),
        ("0.", 0.0),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("-0", 0.0),
        ("1,234.56", 1234.56),
        ("12,345", 12345.0),
        ("1,234,567.8", 1234567.8),
        ("0,532", 0.532),
        ("3,5", 3.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("٣", None),
        ("12 ms", None),
        ("00:01:02", None),
        ("", None),
        ("1,2,3", None),
    ],
)
def test_plain_numbers(text: str, seconds: float | None) -> None:
    assert plain_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.5s", 0.5),
        ("12 ms", 0.012),
        ("00:01:02.5", 62.5),
        ("1:02", 62.0),
        ("PT3.2S", 3.2),
        ("PT1H2M3S", 3723.0),
        ("1m30s", 90.0),
        ("2 min", 120.0),
        ("1.2.3s", None),
        ("soon", None),
        ("PT", None),
        ("", None),
    ],
)
def test_spelled_durations(text: str, seconds: float | None) -> None:
    assert spelled_seconds(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=40))
def test_any_text_is_a_duration_or_none(text: str) -> None:
    for seconds in (plain_seconds(text), spelled_seconds(text)):
        assert seconds is None or seconds >= 0
