"""Which shards of an uploaded run are in, where a sender said how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runs.models import Run
from runs.vocabulary import RunStatus, UploadStatus, Verdict

#: Numbers of missing shards that a sentence names.
_NAMED: Final = 20
#: What a run is like that had an end and waits for shards again.
OPEN_AGAIN: Final[Mapping[str, object]] = {
    "status": RunStatus.INGESTING,
    "error_reason": "",
    "error_message": "",
    "verdict": Verdict.NONE,
    "finished_at": None,
    "duration_ms": None,
}


def expect_shards(run: Run, count: int | None) -> None:
    """Have the run wait for so many shards; of two counts the larger holds, so that none is left out."""
    if count is not None and count > (run.shards_expected or 0):
        Run.objects.filter(pk=run.pk).update(shards_expected=count)
        run.shards_expected = count


def missing_shards(run: Run) -> list[int]:
    """The numbers of shards of which nothing was read yet; keeps on the run how many are in.

    Needs the run's row locked: two workers that read the last two shards must not each miss the other's.
    """
    if run.shards_expected is None:
        return []
    read = run.uploads.exclude(status=UploadStatus.RECEIVED).values_list("shard", flat=True).distinct()
    missing = sorted(set(range(1, run.shards_expected + 1)) - set(read))
    received = run.shards_expected - len(missing)
    if received != run.shards_received:
        Run.objects.filter(pk=run.pk).update(shards_received=received)
        run.shards_received = received
    return missing


def said_missing(run: Run, missing: list[int]) -> str:
    """The missing shards as a sentence for people; empty when all are in."""
    if not missing:
        return ""
    numbers = ", ".join(map(str, missing[:_NAMED]))
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"{len(missing)} of {run.shards_expected} shards sent no report: {numbers}{more}."
