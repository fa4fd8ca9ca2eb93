"""Several tries of a case come to one result."""

from __future__ import annotations

import pytest

from runs.ingestion.attempts import Try, fold_tries
from runs.vocabulary import Outcome

LETTERS = {"P": Outcome.PASSED, "F": Outcome.FAILED, "E": Outcome.ERRORED, "S": Outcome.SKIPPED}


def tries(letters: str) -> list[Try]:
    return [
        Try(LETTERS[letter], number * 100, failure_id=number if letter in "FE" else None)
        for number, letter in enumerate(letters, start=1)
    ]


@pytest.mark.parametrize(
    ("letters", "outcome", "duration_ms", "failure_id"),
    [
        ("P", Outcome.PASSED, 100, None),
        ("S", Outcome.SKIPPED, 100, None),
        ("F", Outcome.FAILED, 100, 1),
        ("FP", Outcome.FLAKY, 200, 1),
        ("FEP", Outcome.FLAKY, 300, 1),
        ("EF", Outcome.ERRORED, 200, 1),
        ("PF", Outcome.FAILED, 200, 2),
        ("PP", Outcome.PASSED, 200, None),
        ("SP", Outcome.PASSED, 200, None),
        ("SF", Outcome.FAILED, 200, 2),
        ("FS", Outcome.FAILED, 100, 1),
        ("SS", Outcome.SKIPPED, 200, None),
    ],
)
def test_tries_come_to_a_result(
    letters: str, outcome: Outcome, duration_ms: int, failure_id: int | None
) -> None:
    folded = fold_tries(tries(letters))

    assert (folded.outcome, folded.duration_ms, folded.failure_id) == (outcome, duration_ms, failure_id)
    assert len(folded.tries) == len(letters)


def test_a_teardown_error_turns_a_pass_into_an_error() -> None:
    folded = fold_tries(
        [Try(Outcome.PASSED, 100, output="a"), Try(Outcome.ERRORED, 20, 7, "b", is_teardown=True)]
    )

    assert (folded.outcome, folded.duration_ms, folded.failure_id) == (Outcome.ERRORED, 120, 7)
    assert [one.output for one in folded.tries] == ["a\nb"]


def test_a_teardown_error_after_a_failure_is_that_failure() -> None:
    folded = fold_tries([Try(Outcome.FAILED, 100, 3), Try(Outcome.ERRORED, None, 7, is_teardown=True)])

    assert (folded.outcome, folded.duration_ms, folded.failure_id) == (Outcome.FAILED, 100, 3)
    assert len(folded.tries) == 1


def test_each_retry_has_its_own_teardown() -> None:
    teardown = Try(Outcome.ERRORED, 1, 7, is_teardown=True)

    folded = fold_tries([Try(Outcome.FAILED, 1, 3), teardown, Try(Outcome.PASSED, 1), teardown])

    assert [one.outcome for one in folded.tries] == [Outcome.FAILED, Outcome.ERRORED]


def test_a_teardown_error_alone_is_an_error() -> None:
    assert fold_tries([Try(Outcome.ERRORED, 1, 7, is_teardown=True)]).outcome == Outcome.ERRORED
