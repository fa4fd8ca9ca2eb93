"""Test cases and their histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.api.auth import TokenAuth, caller_of, case_for, project_for
from runs.api.case_schemas import (
    HistoryItem,
    HistoryPage,
    HistoryQuery,
    TestDetail,
    TestOut,
    TestPage,
    TestQuery,
)
from runs.api.paging import page, read_cursor
from runs.api.schemas import QuarantineIn, QuarantineOut
from runs.queries.case_evidence import why
from runs.queries.case_list import CaseFilter, Sort, cases_like, suites_of
from runs.queries.case_records import history_before
from runs.vocabulary import Scope

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
router = Router(tags=["tests"])


@router.get(
    "/projects/{project}/tests", auth=TokenAuth(Scope.READ), response=TestPage, summary="A project's tests"
)
def list_tests(request: HttpRequest, project: str, query: Query[TestQuery]) -> dict[str, object]:
    """With what is known of each; in the order they were first seen, unless `sort` says otherwise."""
    key = read_cursor(query.cursor, int)
    owner = project_for(request, project)
    wanted = CaseFilter(
        q=query.q.replace("\x00", ""),
        state=query.flaky or "",
        suite=query.suite.replace("\x00", ""),
        sort=query.sort or Sort.FIRST_SEEN,
        after=key[0] if key else 0,
    )
    rows = cases_like(suites_of(owner), wanted, now=timezone.now(), limit=query.limit)
    last = [rows[-1].pk] if rows else []
    return page(request, rows, [TestOut.of(row) for row in rows], limit=query.limit, key=last)


@router.get("/tests/{int:test_id}", auth=TokenAuth(Scope.READ), response=TestDetail, summary="A test")
def get_test(request: HttpRequest, test_id: int) -> TestDetail:
    """One test case, with its state and the evidence for it."""
    case = case_for(request, test_id)
    return TestDetail.with_evidence(case, why(case.suite.project, case))


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
    return page(request, rows, [HistoryItem.of(row, slug) for row in rows], limit=query.limit, key=last)


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


def _microseconds(moment: datetime) -> int:
    """Since the epoch, whole: a float would lose the last digit."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
