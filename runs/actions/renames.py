"""Propose that two cases are one test under two names, and carry out what is decided: the only writer of
`Rename`. When two look like one is told by `runs/analytics/renames.py`, and why by decision 225."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import batched
from typing import Final

from django.db import transaction
from django.db.models import Q

from runs.actions.audit import note_change
from runs.actions.errors import NotPossibleError
from runs.actions.joining import hold_histories, join, part
from runs.actions.judging import judge_cases
from runs.analytics.renames import RenameKind, twins_among
from runs.models import Project, Rename, Result, Run, Suite, TestCase, Token, User
from runs.queries.renames import gone_and_new, not_together, reported_together, run_before
from runs.vocabulary import RenameStatus

#: Joined in one transaction, for which merges wait.
AT_ONCE: Final = 200
#: Of the tests of the run before, so many must be there for a move to be borne out without a person: a run of
#: which nobody said how many shards it has ends with each of them.
RULE_SHARE: Final = 0.9
_SUBJECT_LENGTH: Final = 200


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
    if run.project.confirms_moves and run.test_count >= RULE_SHARE * before.test_count:
        _confirm_by_rule(run)
    return len(made)


def _withdraw_refuted(run: Run, moment: datetime) -> None:
    waiting = Rename.objects.filter(suite=run.suite_id, status=RenameStatus.PROPOSED)
    pairs = list(waiting.values_list("old_id", "new_id"))
    together = reported_together(pairs) if pairs else set()
    if together:
        refuted = waiting.filter(new__in=[new for _, new in together])
        ids = [pk for pk, *pair in refuted.values_list("pk", "old_id", "new_id") if tuple(pair) in together]
        waiting.filter(pk__in=ids).update(status=RenameStatus.WITHDRAWN, decided_at=moment)


def _confirm_by_rule(run: Run) -> None:
    """Confirm moves that another run proposed and this one bears out."""
    waiting = Rename.objects.filter(suite=run.suite_id, status=RenameStatus.PROPOSED, kind=RenameKind.MOVED)
    known = list(waiting.exclude(run=run).values_list("pk", "old_id", "new_id"))
    here = Result.objects.filter(run_at=run.run_at, run=run.pk)
    cases = {case for _, *pair in known for case in pair}
    seen = set(here.filter(case__in=cases).values_list("case_id", flat=True)) if cases else set()
    borne_out = [pk for pk, old, new in known if new in seen and old not in seen]
    if borne_out:
        confirm_renames(suite=run.suite, rename_ids=borne_out, by=None)


def confirm_renames(
    *,
    suite: Suite,
    rename_ids: Sequence[int],
    by: User | None,
    token: Token | None = None,
    now: datetime | None = None,
) -> int:
    """Join the two cases of each proposal of the suite; return how many were joined.

    What is decided already, or of which a run holds both, is not joined; the latter is withdrawn. Some at a
    time: what was joined stays when a later part fails.
    """
    joined: list[int] = []
    for some in batched(sorted(set(rename_ids)), AT_ONCE, strict=False):
        joined += _confirm(suite, some, by=by, token=token, moment=now or datetime.now(tz=UTC))
    if joined:
        judge_cases(suite, joined)
    return len(joined)


def _confirm(
    suite: Suite, rename_ids: Sequence[int], *, by: User | None, token: Token | None, moment: datetime
) -> list[int]:
    with transaction.atomic():
        hold_histories(suite)
        chosen = _apart(_waiting(suite, rename_ids), moment)
        if not chosen:
            return []
        join(chosen, moment=moment)
        for one in chosen:
            one.status, one.decided_at, one.decided_by = RenameStatus.CONFIRMED, moment, by
        Rename.objects.bulk_update(chosen, ["status", "decided_at", "decided_by", "undo"])
        _settle_others(suite, chosen, moment)
        _note(suite, chosen, "rename.confirmed", by=by, token=token)
    return [one.old_id for one in chosen]


def _waiting(suite: Suite, rename_ids: Sequence[int]) -> list[Rename]:
    """The proposals among these, locked in order."""
    found = Rename.objects.filter(suite=suite, pk__in=rename_ids, status=RenameStatus.PROPOSED)
    return list(found.order_by("pk").select_for_update(of=["self"]).select_related("old", "new"))


def _apart(waiting: Sequence[Rename], moment: datetime) -> list[Rename]:
    """Those that can be joined at once: no run holds both, and no case is in two of them."""
    together = reported_together([(one.old_id, one.new_id) for one in waiting]) if waiting else set()
    taken: set[int] = set()
    chosen = []
    refuted = [one.pk for one in waiting if (one.old_id, one.new_id) in together]
    for one in waiting:
        if one.pk not in refuted and not {one.old_id, one.new_id} & taken:
            taken |= {one.old_id, one.new_id}
            chosen.append(one)
    Rename.objects.filter(pk__in=refuted).update(status=RenameStatus.WITHDRAWN, decided_at=moment)
    return chosen


def _settle_others(suite: Suite, joined: Sequence[Rename], moment: datetime) -> None:
    """What else waits for a decision on these cases: a further rename goes on, anything else is withdrawn."""
    others = Rename.objects.filter(suite=suite, status=RenameStatus.PROPOSED)
    survivor = {one.new_id: one.old_id for one in joined}
    rivals = others.filter(Q(new__in=list(survivor)) | Q(old__in=list(survivor.values())))
    rivals.update(status=RenameStatus.WITHDRAWN, decided_at=moment)
    for further in others.filter(old__in=list(survivor)):
        further.old_id = survivor[further.old_id]
        further.save(update_fields=["old"])


def refuse_renames(
    *,
    suite: Suite,
    rename_ids: Sequence[int],
    by: User | None,
    token: Token | None = None,
    now: datetime | None = None,
) -> int:
    """Say that the cases of these proposals are two tests each, for good; return how many were decided."""
    moment = now or datetime.now(tz=UTC)
    with transaction.atomic():
        chosen = _waiting(suite, rename_ids)
        for one in chosen:
            one.status, one.decided_at, one.decided_by = RenameStatus.REFUSED, moment, by
        Rename.objects.bulk_update(chosen, ["status", "decided_at", "decided_by"])
        if chosen:
            _note(suite, chosen, "rename.refused", by=by, token=token)
    return len(chosen)


def part_rename(
    *, rename: Rename, by: User | None, token: Token | None = None, now: datetime | None = None
) -> None:
    """Make two tests again of what was joined, each with the results it had and those it got since.

    Raises:
        NotPossibleError: they are not joined, or the test was renamed once more since; that goes first.
    """
    moment, suite = now or datetime.now(tz=UTC), rename.suite
    with transaction.atomic():
        hold_histories(suite)
        joined = Rename.objects.filter(suite=suite, status=RenameStatus.CONFIRMED)
        one = joined.select_for_update().filter(pk=rename.pk).first()
        if one is None:
            message = "These two tests are not joined."
            raise NotPossibleError(message)
        if joined.filter(old=one.old_id, decided_at__gt=one.decided_at).exists():
            message = "This test was renamed once more since. Split that one first."
            raise NotPossibleError(message)
        part(one)
        one.status, one.decided_at, one.decided_by, one.undo = RenameStatus.PARTED, moment, by, {}
        one.save(update_fields=["status", "decided_at", "decided_by", "undo"])
        _note(suite, [one], "rename.parted", by=by, token=token)
    judge_cases(suite, [one.old_id, one.new_id])


def set_rename_rule(*, project_id: int, confirms_moves: bool, by: User) -> None:
    """Say whether moves are confirmed without asking, from the next run on."""
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=project_id)
        if project.confirms_moves is not confirms_moves:
            data = {"confirms_moves": [project.confirms_moves, confirms_moves]}
            project.confirms_moves = confirms_moves
            project.save(update_fields=["confirms_moves"])
            note_change(project, by=by, action="rename.rule_changed", subject=project.name, data=data)


def _note(
    suite: Suite, renames: Sequence[Rename], action: str, *, by: User | None, token: Token | None
) -> None:
    first = renames[0]
    names = TestCase.objects.in_bulk([first.old_id, first.new_id])
    old, new = names[first.old_id], names[first.new_id]
    former, present = (new, old) if new.same_as_id else (old, new)
    more = f" and {len(renames) - 1} more" if len(renames) > 1 else ""
    data = {"suite": suite.name, "count": len(renames), "renames": [one.pk for one in renames]}
    subject = f"{_told(former)} → {_told(present)}{more}"
    note_change(suite.project, by=by, token=token, action=action, subject=subject, data=data)


def _told(case: TestCase) -> str:
    return f"{case.class_name} {case.name}".strip()[:_SUBJECT_LENGTH]
