"""Test cases and their histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from ninja import Query, Router, Status

from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.api.auth import TokenAuth, caller_of, case_for, project_for
from runs.api.paging import page, read_cursor
from runs.api.schemas import (
    HistoryItem,
    HistoryPage,
    HistoryQuery,
    QuarantineIn,
    QuarantineOut,
    TestOut,
    TestPage,
    TestQuery,
    failure_of,
    seconds,
)
from runs.models import Result
from runs.queries.case_records import cases_after, history_before
from runs.vocabulary import Scope

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
router = Router(tags=["tests"])


@router.get(
    "/projects/{project}/tests", auth=TokenAuth(Scope.READ), response=TestPage, summary="A project's tests"
)
def list_tests(request: HttpRequest, project: str, query: Query[TestQuery]) -> dict[str, object]:
    """In the order they were first seen."""
    key = read_cursor(query.cursor, int)
    owner = project_for(request, project)
    after = key[0] if key else 0
    rows = cases_after(owner, suite=query.suite, text=query.q, case_id=after, limit=query.limit)
    last = [rows[-1].pk] if rows else []
    return page(request, rows, [TestOut.of(row) for row in rows], limit=query.limit, key=last)


@router.get("/tests/{int:test_id}", auth=TokenAuth(Scope.READ), response=TestOut, summary="A test")
def get_test(request: HttpRequest, test_id: int) -> TestOut:
    """One test case."""
    return TestOut.of(case_for(request, test_id))


@router.get(
    "/tests/{int:test_id}/history",
    auth=TokenAuth(Scope.READ),
    response=HistoryPage,
    summary="A test's history",
)
def list_history(request: HttpRequest, test_id: int, query: Query[HistoryQuery]) -> dict[str, object]:
    """Its results, newest first."""
    case = case_for(request, test_id)
    key = read_cursor(query.cursor, int, int)
    moment = (_moment(key[0]), key[1]) if key else None
    rows = history_before(case, moment=moment, limit=query.limit, branch=query.branch)
    last = [_microseconds(rows[-1].run_at), rows[-1].run_id] if rows else []
    slug = case.suite.project.slug
    return page(request, rows, [_item(row, slug) for row in rows], limit=query.limit, key=last)


@router.post(
    "/tests/{int:test_id}/quarantine",
    auth=TokenAuth(Scope.MANAGE),
    response={201: QuarantineOut},
    summary="Put a test into quarantine",
)
def post_quarantine(request: HttpRequest, test_id: int, wanted: QuarantineIn) -> Status[QuarantineOut]:
    """It runs on, and its result does not decide. 409 when it is in quarantine."""
    caller = caller_of(request)
    made = quarantine_case(
        case=case_for(request, test_id),
        reason=wanted.reason,
        days=wanted.days,
        owner=wanted.owner,
        by=caller.user,
        token=caller.token,
    )
    return Status(HTTPStatus.CREATED, QuarantineOut.of(made))


@router.delete(
    "/tests/{int:test_id}/quarantine",
    auth=TokenAuth(Scope.MANAGE),
    response={204: None},
    summary="Lift a test's quarantine",
)
def delete_quarantine(request: HttpRequest, test_id: int) -> Status[None]:
    """Its result decides again. 409 when it is not in quarantine."""
    caller = caller_of(request)
    lift_quarantine(case=case_for(request, test_id), by=caller.user, token=caller.token)
    return Status(HTTPStatus.NO_CONTENT, None)


def _item(result: Result, slug: str) -> HistoryItem:
    run = result.run
    return HistoryItem(
        run_id=run.pk,
        run_number=run.number,
        run_url=f"{settings.PUBLIC_URL}{reverse('run', args=[slug, run.number])}",
        branch=run.branch or None,
        commit=run.commit or None,
        at=result.run_at,
        outcome=result.outcome,
        duration_seconds=seconds(result.duration_ms),
        attempts=result.attempt_count,
        failure=failure_of(result),
    )


def _microseconds(moment: datetime) -> int:
    """Since the epoch, whole: a float would lose the last digit."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
