"""What several tries of a case come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runs.vocabulary import FAILING, Outcome

#: pytest writes a second `testcase` of the same name when tearing down fails.
TEARDOWN_MARK = "failed on teardown with"


class Try(NamedTuple):
    """One try as it was found: in one `testcase`, in a repeated one, or in an earlier report of the run."""

    outcome: Outcome
    duration_ms: int | None
    failure_id: int | None = None
    output: str = ""
    #: Its failure begins with `TEARDOWN_MARK`.
    is_teardown: bool = False
    #: Services that the report names for it.
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Folded:
    """A result made of its tries."""

    outcome: Outcome
    duration_ms: int | None
    #: Of the first try that failed.
    failure_id: int | None
    tries: tuple[Try, ...]


def fold_tries(tries: Sequence[Try]) -> Folded:
    """Make one result of a case's tries, in their order. There is at least one.

    The last try that was not skipped decides: a pass after a failed try is flaky, a failure is called what
    the first failing try was. pytest's teardown error belongs to the try before it: it turns a pass into an
    error and never makes a retry.
    """
    merged = _with_teardowns_merged(tries)
    executed = [one for one in merged if one.outcome != Outcome.SKIPPED]
    failing = [one for one in executed if one.outcome in FAILING]
    last = (executed or merged)[-1]
    return Folded(
        outcome=_outcome(last, failing),
        duration_ms=last.duration_ms,
        failure_id=failing[0].failure_id if failing else None,
        tries=tuple(merged),
    )


def _outcome(last: Try, failing: Sequence[Try]) -> Outcome:
    if not failing:
        return last.outcome
    return Outcome.FLAKY if last.outcome == Outcome.PASSED else failing[0].outcome


def _with_teardowns_merged(tries: Sequence[Try]) -> list[Try]:
    merged: list[Try] = []
    for one in tries:
        if one.is_teardown and merged and not merged[-1].is_teardown:
            merged[-1] = _torn_down(merged[-1], one)
        else:
            merged.append(one)
    return merged


def _torn_down(call: Try, teardown: Try) -> Try:
    """The call with what its teardown did. A call that failed keeps its own failure: it came first."""
    told = call if call.outcome in FAILING else teardown
    durations = [one for one in (call.duration_ms, teardown.duration_ms) if one is not None]
    return Try(
        outcome=told.outcome,
        duration_ms=sum(durations) if durations else None,
        failure_id=told.failure_id,
        output="\n".join(part for part in (call.output, teardown.output) if part),
        services=tuple(dict.fromkeys((*call.services, *teardown.services))),
    )
