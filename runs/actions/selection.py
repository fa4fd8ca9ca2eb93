"""Choose the tests of a run that is not to run all of them."""

from __future__ import annotations

from runs.actions.errors import NotPossibleError
from runs.models import Run
from runs.queries.selection import failing_cases, selectors_of

SELECTION_LIMIT = 1_000
#: Linux takes at most 128 KiB in one variable; the names go to the tests in one.
BYTES_LIMIT = 100_000


def failed_selection(run: Run) -> list[int]:
    """The cases that failed in the run, for another run of them alone.

    Raises:
        NotPossibleError: none failed, or more than can be handed over.
    """
    cases = failing_cases(run, limit=SELECTION_LIMIT + 1)
    if not cases:
        message = f"No test failed in run {run}; there is nothing to run again."
        raise NotPossibleError(message)
    size = sum(len(name.encode("utf-8", "replace")) + 1 for name in selectors_of(cases))
    if len(cases) > SELECTION_LIMIT or size > BYTES_LIMIT:
        message = (
            f"Run {run} has more failed tests than can be chosen one by one, {SELECTION_LIMIT} with names of "
            f"{BYTES_LIMIT // 1000} KB together. Run all of it again."
        )
        raise NotPossibleError(message)
    return cases
