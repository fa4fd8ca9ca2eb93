"""Propose that two cases are one test under two names, and carry out what is decided: the only writer of
`Rename`. When two look like one is told by `runs/analytics/renames.py`; why by a person, by decision 225."""

from __future__ import annotations

from datetime import UTC, datetime

from runs.analytics.renames import twins_among
from runs.models import Rename, Run
from runs.queries.renames import gone_and_new, not_together, reported_together, run_before
from runs.vocabulary import RenameStatus


def propose_renames(run_id: int, *, now: datetime | None = None) -> int:
    """Propose what the run shows to be renamed; return how many pairs are new.

    Nothing happens for a run that is gone or that cannot show it (`run_before`). Again changes nothing. What
    waits for a decision is withdrawn when the run holds both: they are two tests.
    """
    run = Run.objects.select_related("project").filter(pk=run_id).first()
    before = run_before(run) if run is not None else None
    if run is None or before is None:
        return 0
    moment = now or datetime.now(tz=UTC)
    _withdraw_refuted(run, moment)
    twins = not_together(twins_among(*gone_and_new(run, before)))
    known = set(Rename.objects.filter(new__in=[one.new for one in twins]).values_list("old_id", "new_id"))
    made = [
        Rename(
            suite_id=run.suite_id,
            old_id=one.old,
            new_id=one.new,
            run=run,
            kind=one.kind,
            name_likeness=one.name_likeness,
            place_likeness=one.place_likeness,
            pace_likeness=one.pace_likeness,
            old_place=one.old_place,
            new_place=one.new_place,
            proposed_at=moment,
        )
        for one in twins
        if (one.old, one.new) not in known
    ]
    Rename.objects.bulk_create(made, batch_size=1_000, ignore_conflicts=True)
    return len(made)


def _withdraw_refuted(run: Run, moment: datetime) -> None:
    waiting = Rename.objects.filter(suite=run.suite_id, status=RenameStatus.PROPOSED)
    pairs = list(waiting.values_list("old_id", "new_id"))
    together = reported_together(pairs) if pairs else set()
    if together:
        refuted = waiting.filter(new__in=[new for _, new in together])
        ids = [pk for pk, *pair in refuted.values_list("pk", "old_id", "new_id") if tuple(pair) in together]
        waiting.filter(pk__in=ids).update(status=RenameStatus.WITHDRAWN, decided_at=moment)
