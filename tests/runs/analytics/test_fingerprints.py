"""Fingerprints: the same failure twice is one, two failures are two."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.fingerprints import LINE_LIMIT, failure_fingerprint, first_line, normalised_line


@pytest.mark.parametrize(
    ("line", "normalised"),
    [
        ("Timeout after 5000 ms at 2026-11-21T08:00:00.123Z", "timeout after <n> ms at <time>"),
        ("GET http://orders:8080/v1/orders/17 said 503", "get <url> said <n>"),
        ("no user 6f9619ff-8b86-d011-b42d-00cf4fc964ff", "no user <uuid>"),
        ("cannot open /var/lib/app/data.db", "cannot open <path>"),
        ("Connection refused: 10.0.3.17:5432", "connection refused: <ip>"),
        ("Connection refused: orders:8080", "connection refused: <host>"),
        ("object at 0x7f3a2b1c is gone", "object at <hex> is gone"),
        ("commit a81f3c2 missing", "commit <hex> missing"),
        ("assert 3   ==\t4", "assert <n> == <n>"),
    ],
)
def test_what_differs_by_chance_is_replaced(line: str, normalised: str) -> None:
    assert normalised_line(line) == normalised


def test_only_the_first_line_with_text_counts() -> None:
    first = failure_fingerprint("AssertionError", "\n\nassert 1 == 2\nwhere 1 = f()")
    second = failure_fingerprint("AssertionError", "assert 7 == 9\nsomething else")

    assert first == second


def test_the_kind_tells_failures_apart() -> None:
    assert failure_fingerprint("TimeoutError", "x") != failure_fingerprint("ValueError", "x")


def test_the_text_stands_in_for_a_missing_message() -> None:
    assert failure_fingerprint("E", "", "boom\nmore") == failure_fingerprint("E", "boom")


@given(st.text(max_size=3_000))
def test_every_line_has_a_bounded_normal_form_that_is_its_own(text: str) -> None:
    line = normalised_line(first_line(text))

    assert len(line) <= LINE_LIMIT
    assert failure_fingerprint("", text) == failure_fingerprint("", text)


def test_endless_lines_take_no_time() -> None:
    assert len(failure_fingerprint("", "/a" * 500_000)) == 16


def test_real_failures_form_groups(corpus: Path) -> None:
    """984 messages of Apache Ozone's CI: many are the same failure again."""
    path = corpus / "histories" / "ozone-ci" / "failure_messages.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    raw = {(row["type"], row["message"] or row["text_head"]) for row in rows}
    groups = {failure_fingerprint(row["type"], row["message"], row["text_head"]) for row in rows}

    assert len(rows) == 984
    assert len(groups) < len(raw) / 2
