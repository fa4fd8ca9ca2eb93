"""The journal of a log: a second reading finds exactly what the first left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from environments.engine import LogLine
from environments.lifecycle.journal import Journal

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def line(text: str, *, after: int = 0, is_stderr: bool = False) -> LogLine:
    return LogLine(START + timedelta(microseconds=after), "web", text, is_stderr)


def noted(*lines: LogLine, most_lines: int = 100) -> Journal:
    journal = Journal(most_lines=most_lines)
    for one in lines:
        journal.note(one)
    return journal


def test_a_line_that_was_left_out_is_found_and_the_others_are_met() -> None:
    known = noted(line("a", after=1), line("c", after=3)).known()

    met = [known.meets(line(text, after=after)) for after, text in enumerate("abc", start=1)]

    assert met == [True, False, True]


def test_equal_lines_of_one_moment_are_counted() -> None:
    known = noted(line("same"), line("same")).known()

    assert [known.meets(line("same")) for _ in range(3)] == [True, True, False]


def test_the_same_words_on_the_other_stream_or_at_another_moment_are_another_line() -> None:
    known = noted(line("a", after=1)).known()

    assert not known.meets(line("a", after=1, is_stderr=True))
    assert not known.meets(line("a", after=2))


def test_moments_may_come_out_of_order() -> None:
    journal = noted(line("out", after=7), line("err", after=5, is_stderr=True))

    assert (journal.since, journal.newest) == (
        START + timedelta(microseconds=5),
        START + timedelta(microseconds=7),
    )


def test_a_long_journal_forgets_its_older_half_and_says_from_when_it_knows() -> None:
    journal = noted(*(line("x", after=number) for number in range(11)), most_lines=10)

    assert journal.since == START + timedelta(microseconds=5)
    assert journal.known().meets(line("x", after=5))
    assert not journal.known().meets(line("x", after=4))


def test_what_is_known_from_a_moment_on_leaves_out_what_was_before() -> None:
    journal = noted(line("a", after=1), line("b", after=2))

    known = journal.known(START + timedelta(microseconds=2))

    assert (known.meets(line("a", after=1)), known.meets(line("b", after=2))) == (False, True)


def test_an_empty_journal_knows_no_moment() -> None:
    assert (Journal().since, Journal().newest) == (None, None)
