"""Tests that look renamed: what waits for a decision, and the decisions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from http import HTTPStatus

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from runs.actions.renames import confirm_renames, part_rename, refuse_renames
from runs.analytics.renames import RenameKind
from runs.api.answers import Answer
from runs.api.auth import TokenAuth, caller_of, project_for, rename_for
from runs.api.paging import page, read_cursor
from runs.api.problems import ProblemError
from runs.api.schemas import Paging
from runs.models import Rename, TestCase
from runs.queries.rename_list import Pair, renames_of, waiting_of_move
from runs.vocabulary import RenameStatus, Scope

router = Router(tags=["tests"])


class RenameDecision(StrEnum):
    """What is decided of a pair."""

    CONFIRM = "confirm"
    REFUSE = "refuse"
    PART = "part"


class RenameQuery(Paging):
    """What a list of renames is narrowed to."""

    status: RenameStatus | None = None


class RenameIn(Schema):
    """A decision."""

    decision: RenameDecision
    whole_move: bool = Field(
        default=False, description="For all that wait and made the same move; not to part."
    )


class NamedTest(Answer):
    """A test by its names."""

    id: int
    class_name: str
    name: str
    parameters: str
    file: str
    path: str

    @classmethod
    def of(cls, case: TestCase) -> NamedTest:
        """Shape a case."""
        return cls(
            id=case.pk,
            class_name=case.class_name,
            name=case.name,
            parameters=case.parameters,
            file=case.file,
            path=case.path,
        )


class RenameOut(Answer):
    """Two names that look like those of one test, and what was decided."""

    id: int
    suite: str
    kind: RenameKind
    status: RenameStatus
    former: NamedTest
    present: NamedTest
    old_place: str
    new_place: str
    name_likeness: float
    place_likeness: float
    pace_likeness: float | None
    run_number: int | None
    proposed_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, one: Rename) -> RenameOut:
        """Shape a rename whose suite, cases and run are loaded."""
        pair = Pair(one)
        return cls(
            id=one.pk,
            suite=one.suite.name,
            kind=RenameKind(one.kind),
            status=RenameStatus(one.status),
            former=NamedTest.of(pair.former),
            present=NamedTest.of(pair.present),
            old_place=one.old_place,
            new_place=one.new_place,
            name_likeness=one.name_likeness,
            place_likeness=one.place_likeness,
            pace_likeness=one.pace_likeness,
            run_number=one.run.number if one.run else None,
            proposed_at=one.proposed_at,
            decided_at=one.decided_at,
        )


class RenamePage(Answer):
    """Renames, newest first."""

    items: list[RenameOut]
    next: str | None


class Decided(Answer):
    """What came of a decision."""

    count: int = Field(description="Pairs that it was carried out for.")


@router.get(
    "/projects/{project}/renames",
    auth=TokenAuth(Scope.READ),
    response=RenamePage,
    summary="Renamed tests",
)
def list_renames(request: HttpRequest, project: str, query: Query[RenameQuery]) -> dict[str, object]:
    """What looks renamed and what was decided of it, newest first."""
    key = read_cursor(query.cursor, int)
    found = renames_of(project_for(request, project)).order_by("-pk")
    found = found.filter(status=query.status) if query.status else found
    found = found.filter(pk__lt=key[0]) if key else found
    rows = list(found[: query.limit])
    last = [rows[-1].pk] if rows else []
    return page(request, rows, [RenameOut.of(row) for row in rows], limit=query.limit, key=last)


@router.post(
    "/renames/{int:rename_id}",
    auth=TokenAuth(Scope.MANAGE),
    response=Decided,
    summary="Decide whether two tests are one",
)
def post_rename(request: HttpRequest, rename_id: int, wanted: RenameIn) -> Decided:
    """`confirm` joins the histories, `refuse` keeps them apart, `part` undoes a confirmation.

    409 when there is nothing to decide: it was decided before, or a run holds both.
    """
    rename, caller = rename_for(request, rename_id), caller_of(request)
    if wanted.decision is RenameDecision.PART:
        part_rename(rename=rename, by=caller.user, token=caller.token)
        return Decided(count=1)
    decide = confirm_renames if wanted.decision is RenameDecision.CONFIRM else refuse_renames
    chosen = waiting_of_move(rename) if wanted.whole_move else [rename.pk]
    count = decide(suite=rename.suite, rename_ids=chosen, by=caller.user, token=caller.token)
    if not count:
        detail = "There is nothing to decide: it was decided before, or a run holds both tests."
        raise ProblemError(HTTPStatus.CONFLICT, detail)
    return Decided(count=count)
