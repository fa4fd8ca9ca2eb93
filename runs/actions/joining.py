"""Join the histories of two cases that are one test, and part them again.

The case with the history survives: its id, which links and tickets name, its results, states and quarantines.
It takes over the other's results, counts and durations, and its name and identity. The other row takes the
former name and identity and points at the survivor (`TestCase.same_as`): what is still reported under it goes
there (`runs.actions.result_rows`). Rows move, because every page finds them by the case; what moved is noted
with the rename, so that they can be parted (docs/decisions/0226).

Merges into the project's runs and counting wait for it; so it takes some hundred pairs at a time, not
thousands.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Max, Min

from runs.actions.judging import forget_verdicts
from runs.actions.pacing import join_paces, part_paces
from runs.actions.partitions import PARTITIONED_TABLES
from runs.actions.result_rows import hold_back_merges
from runs.actions.rollups import hold_counts, join_months, part_months
from runs.models import Quarantine, Rename, Result, Run, Suite, TestCase

#: What makes a case that case, for people and for reports.
_NAMED: Final = ("identity", "path", "class_name", "name", "parameters", "variant", "file", "line")

_LIST = """
CREATE TEMPORARY TABLE shifted ON COMMIT DROP AS
SELECT p.source, p.target, r.run_at, r.run_id, r.outcome, r.duration_ms
FROM unnest(%(sources)s::bigint[], %(targets)s::bigint[]) AS p (source, target)
JOIN runs_result r ON r.case_id = p.source
"""
_LISTED = "SELECT source, array_agg(run_id ORDER BY run_id) FROM shifted GROUP BY source"
#: Of each source only the results of these runs, or those after one except some.
_ONLY = """
JOIN jsonb_to_recordset(%(wanted)s::jsonb) AS w (source bigint, runs bigint[], after bigint, former bigint[])
  ON w.source = p.source
WHERE r.run_id + 0 = ANY(w.runs) OR r.run_id + 0 > w.after AND r.run_id + 0 <> ALL(w.former)
"""
_SHIFT = """
UPDATE {table} r SET case_id = s.target FROM shifted s
WHERE r.run_at = s.run_at AND r.run_id + 0 = s.run_id AND r.case_id = s.source
"""
_SHIFT_BLAMES = """
UPDATE runs_blame b SET case_id = s.target FROM shifted s WHERE b.run_id = s.run_id AND b.case_id = s.source
"""


def hold_histories(suite: Suite) -> None:
    """Keep everybody else from what the suite's cases are made of, until this transaction ends."""
    hold_back_merges(suite.project_id)
    hold_counts(suite.pk)


def join(renames: Sequence[Rename], *, moment: datetime) -> None:
    """Make each pair of a suite one case; no case may be in two of them. Notes on the renames how to undo it.

    Needs `hold_histories`.
    """
    pairs = {one.new_id: one.old_id for one in renames}
    cases = _locked(renames)
    newest = Run.objects.aggregate(newest=Max("pk"))["newest"] or 0
    lifted = _take_quarantines(pairs, moment)
    _list_results(pairs)
    runs = _runs_listed()
    _shift()
    join_months(pairs)
    # In the order in which a run is judged: whoever waits for one lock holds none that comes after it.
    forget_verdicts(renames[0].suite_id, list(pairs))
    join_paces(renames[0].suite_id, pairs)
    for one in renames:
        old, new = cases[one.old_id], cases[one.new_id]
        names = list(TestCase.objects.filter(same_as=new).values_list("pk", flat=True))
        one.undo = {
            "runs": runs.get(new.pk, []),
            "after": newest,
            "former": [],
            "names": names,
            "quarantines": lifted.get(new.pk, []),
            "first_seen_at": old.first_seen_at.isoformat(),
            "last_seen_at": old.last_seen_at.isoformat(),
        }
        TestCase.objects.filter(pk__in=names).update(same_as=old)
        _swap_names(old, new)
        old.first_seen_at = min(old.first_seen_at, new.first_seen_at)
        old.last_seen_at = max(old.last_seen_at, new.last_seen_at)
        new.same_as = old
        _save(old, new)


def part(rename: Rename) -> None:
    """Make two cases again of what `join` made one.

    Results since then belong to the new name, except of runs that still reported the former one. Needs
    `hold_histories`.
    """
    cases = _locked([rename])
    old, new = cases[rename.old_id], cases[rename.new_id]
    undo = rename.undo
    pair = {new.pk: old.pk}
    moved = {"runs": undo["runs"], "after": undo["after"], "former": undo["former"]}
    # Runs that reported both have results under the former name too. Where the other goes to the new case
    # this one is the old case's; else it stays where it is: a case has one result in a run.
    join_months(pair)
    join_paces(rename.suite_id, pair)
    _list_results({new.pk: -new.pk}, wanted=[{"source": new.pk} | moved])
    _shift()
    stays = {"source": new.pk, "runs": [], "after": 0, "former": []}
    _list_results({old.pk: new.pk, new.pk: new.pk}, wanted=[{"source": old.pk} | moved, stays])
    part_months(pair)
    _shift()
    _list_results({-new.pk: old.pk})
    _shift()
    part_paces(rename.suite_id, pair)
    Quarantine.objects.filter(pk__in=undo["quarantines"]).update(case=new)
    TestCase.objects.filter(pk__in=undo["names"]).update(same_as=new)
    _swap_names(old, new)
    new.same_as = None
    old.first_seen_at = datetime.fromisoformat(undo.get("first_seen_at", old.first_seen_at.isoformat()))
    old.last_seen_at = datetime.fromisoformat(undo["last_seen_at"])
    for case in (old, new):
        _see(case)
    _save(old, new)


def _locked(renames: Sequence[Rename]) -> dict[int, TestCase]:
    ids = sorted({case for one in renames for case in (one.old_id, one.new_id)})
    return {
        case.pk: case
        for case in TestCase.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True)
    }


def _list_results(targets: dict[int, int], *, wanted: list[dict[str, Any]] | None = None) -> None:
    """Name in `shifted` the results that are to change hands; `wanted` narrows them."""
    values: dict[str, Any] = {"sources": list(targets), "targets": list(targets.values())}
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS shifted")
        cursor.execute(
            _LIST + (_ONLY if wanted is not None else ""), values | {"wanted": json.dumps(wanted or [])}
        )
        cursor.execute("ANALYZE shifted")


def _runs_listed() -> dict[int, list[int]]:
    """The runs of the listed results, by their cases."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTED)
        return dict(cursor.fetchall())


def _shift() -> None:
    with connection.cursor() as cursor:
        for table in PARTITIONED_TABLES:
            cursor.execute(_SHIFT.format(table=table))
        cursor.execute(_SHIFT_BLAMES)


def _take_quarantines(pairs: dict[int, int], moment: datetime) -> dict[int, list[int]]:
    """Give the survivors the others' quarantines; return them by the case they were of.

    Of two that are open the survivor's stays, and the other is lifted: a case has one.
    """
    theirs = Quarantine.objects.filter(case__in=list(pairs))
    open_already = Quarantine.objects.filter(case__in=list(pairs.values()), lifted_at=None)
    held = set(open_already.values_list("case_id", flat=True))
    taken: defaultdict[int, list[int]] = defaultdict(list)
    for one in theirs.order_by("pk"):
        taken[one.case_id].append(one.pk)
        one.case_id = pairs[one.case_id]
        if one.lifted_at is None and one.case_id in held:
            one.lifted_at = min(moment, one.until)
        one.save(update_fields=["case", "lifted_at"])
    return taken


def _swap_names(one: TestCase, other: TestCase) -> None:
    for field in _NAMED:
        mine, theirs = getattr(one, field), getattr(other, field)
        setattr(one, field, theirs)
        setattr(other, field, mine)


def _see(case: TestCase) -> None:
    """Have the case seen at the moments of the results it has now, besides those known before."""
    own = Result.objects.filter(case=case).aggregate(first=Min("run_at"), last=Max("run_at"))
    if own["first"] is not None:
        case.first_seen_at = min(case.first_seen_at, own["first"])
        case.last_seen_at = max(case.last_seen_at, own["last"])


def _save(old: TestCase, new: TestCase) -> None:
    """Write both; by way of an identity that nothing has, since no two cases may share one."""
    TestCase.objects.filter(pk=new.pk).update(identity=f"case {new.pk}".encode()[:16])
    for case in (old, new):
        case.save(update_fields=[*_NAMED, "first_seen_at", "last_seen_at", "same_as"])
