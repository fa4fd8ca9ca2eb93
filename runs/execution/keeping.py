"""Whether an environment that failed is kept, and for how long: the suite's wish within our bounds."""

from __future__ import annotations

from django.conf import settings

from environments.lifecycle import Keep
from runs.actions.runs import Ending
from runs.queries.held import share_of
from runs.suitefile import SuiteSpec
from runs.vocabulary import ErrorReason, RunStatus

#: Ends of a shard after which somebody may want to see how things stood.
_FAILED = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.ERRORED})
#: Reasons for which its environment can do nothing, or is not to be trusted with.
_NOT_ITS_DOING = frozenset(
    {ErrorReason.ENGINE_UNAVAILABLE, ErrorReason.INTERNAL, ErrorReason.DISK, ErrorReason.UNSUPPORTED}
)


def keeping(suite: SuiteSpec, project_id: int) -> Keep | None:
    """What a failed environment of the suite is kept for; None when the suite does not ask for it."""
    if not suite.keep_on_failure_seconds:
        return None
    return Keep(
        seconds=min(suite.keep_on_failure_seconds, settings.HELD_LONGEST_SECONDS),
        share=share_of(project_id),
        most_of_share=settings.HELD_PER_PROJECT,
        most=settings.HELD_AT_ONCE,
    )


def shortened_keeping(suite: SuiteSpec) -> str:
    """Say that the suite asks for longer than there is; empty when it does not."""
    longest = settings.HELD_LONGEST_SECONDS
    if suite.keep_on_failure_seconds <= longest:
        return ""
    return (
        f"`keep_on_failure` asks for {suite.keep_on_failure_seconds / 60:g} min; an environment is held for "
        f"{longest / 60:g} min at most (ITDASH_HELD_LONGEST_SECONDS)."
    )


def is_worth_a_look(ending: Ending) -> bool:
    """Whether how a shard ended is a reason to keep its environment."""
    return ending.status in _FAILED and ending.reason not in _NOT_ITS_DOING
