"""One grammar for results: the mark with which a run or a result is drawn everywhere.

A pass is short, a failure tall, a flake split, an error of the environment hollow, a skip a dash.
"""

from __future__ import annotations

from enum import StrEnum

from runs.vocabulary import ACTIVE, Outcome, RunStatus


class Mark(StrEnum):
    """A mark; its value is the letter that strips are written with."""

    PASSED = "p"
    FAILED = "f"
    FLAKY = "k"
    SKIPPED = "s"
    ERRORED = "e"
    RUNNING = "r"
    CANCELLED = "c"
    MISSING = "n"


#: The word for each mark, as screen readers say it.
WORDS = {
    Mark.PASSED: "passed",
    Mark.FAILED: "failed",
    Mark.FLAKY: "flaky",
    Mark.SKIPPED: "skipped",
    Mark.ERRORED: "errored",
    Mark.RUNNING: "running",
    Mark.CANCELLED: "cancelled",
    Mark.MISSING: "not run",
}

_RUN_MARKS = {
    RunStatus.PASSED: Mark.PASSED,
    RunStatus.FAILED: Mark.FAILED,
    RunStatus.TIMED_OUT: Mark.FAILED,
    RunStatus.ERRORED: Mark.ERRORED,
    RunStatus.CANCELLED: Mark.CANCELLED,
    RunStatus.QUEUED: Mark.MISSING,
} | dict.fromkeys(ACTIVE, Mark.RUNNING)

_RESULT_MARKS = {
    Outcome.PASSED: Mark.PASSED,
    Outcome.FAILED: Mark.FAILED,
    # A test that raised outside its assertions failed as a test; hollow is kept for environments.
    Outcome.ERRORED: Mark.FAILED,
    Outcome.SKIPPED: Mark.SKIPPED,
    Outcome.FLAKY: Mark.FLAKY,
}


def run_mark(status: str, flaky_count: int = 0) -> Mark:
    """Return the mark of a run; one that passed only after retries is flaky."""
    mark = _RUN_MARKS[RunStatus(status)]
    return Mark.FLAKY if mark is Mark.PASSED and flaky_count else mark


def result_mark(outcome: str) -> Mark:
    """Return the mark of a result or an attempt."""
    return _RESULT_MARKS[Outcome(outcome)]
