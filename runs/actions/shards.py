"""Write how the shards of a run fare; each write needs the claim on the run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now

from runs.actions.errors import RunLostError
from runs.actions.events import NewEvent, record_event, said
from runs.actions.runs import Claim, Ending, facts_of, held_run
from runs.models import Report, Shard
from runs.vocabulary import RunStatus, UploadStatus


def begin_shard(claim: Claim, number: int, *, variables: dict[str, str]) -> None:
    """Write that a shard is being prepared; a shard of an earlier try begins anew.

    Reports of that try which nobody read are no results and give way to those of this one.

    Raises:
        RunLostError: the claim on its run no longer holds.
    """
    with transaction.atomic():
        if not held_run(claim).select_for_update(no_key=True).exists():
            message = "The run has ended or is another worker's: no shard of it begins."
            raise RunLostError(message)
        own = Report.objects.filter(run_id=claim.run_id, shard=number, upload=None)
        unread = own.filter(status=UploadStatus.RECEIVED)
        names = [name for name in unread.values_list("storage_name", flat=True) if name]
        unread.delete()
        transaction.on_commit(partial(_forget_files, names))
        Shard.objects.update_or_create(
            run_id=claim.run_id,
            number=number,
            defaults={
                "status": RunStatus.PREPARING,
                "variables": variables,
                "environment_name": "",
                "exit_code": None,
                "started_at": datetime.now(tz=UTC),
                "finished_at": None,
            },
        )


def _forget_files(names: Sequence[str]) -> None:
    for name in names:
        with suppress(OSError):  # left behind: nothing refers to it
            default_storage.delete(name)


def note_shard(claim: Claim, number: int, **facts: object) -> None:
    """Write what was found out about a shard; nothing when the claim on its run no longer holds."""
    Shard.objects.filter(run__in=held_run(claim), number=number).update(**facts)


def finish_shard(claim: Claim, number: int, ending: Ending, *, exit_code: int | None) -> bool:
    """End a shard; False when the claim on its run no longer holds."""
    with transaction.atomic():
        if not held_run(claim).select_for_update(no_key=True).exists():
            return False
        Shard.objects.filter(run_id=claim.run_id, number=number).update(
            status=ending.status, exit_code=exit_code, finished_at=Now()
        )
        message = ending.message or f"Shard {number} {said(ending.status)}."
        record_event(claim.run_id, NewEvent("shard_finished", message, shard=number, data=facts_of(ending)))
    return True
