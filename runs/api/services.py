"""Services, and what is held against them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from ninja import Field, Query, Router, Schema

from runs.api.answers import Answer
from runs.api.auth import TokenAuth, project_for, service_for
from runs.api.blame_schemas import BlameOut
from runs.api.paging import page, read_cursor
from runs.api.schemas import Paging
from runs.models import Blame, Project, Service
from runs.queries.blamed import blames_before
from runs.queries.blames import BlameKind
from runs.queries.service_page import DayCount, counts_by_day
from runs.queries.services import DAYS, service_heat
from runs.vocabulary import Scope

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
router = Router(tags=["services"])


class DayOut(Answer):
    """The failures that count for a service on a day."""

    day: date
    failures: int


class ServiceOut(Answer):
    """A service and the failures that count for it."""

    name: str
    image: str | None = Field(description="What it ran last, where that is known.")
    first_seen_at: datetime
    last_seen_at: datetime
    failures: int
    by_day: list[DayOut]
    url: str = Field(description="Its page.")


class ServicesOut(Answer):
    """A project's services, those with the most failures first."""

    items: list[ServiceOut]
    next: str | None
    failures: int = Field(description="All that were looked at, each once.")
    without_service: int = Field(description="Those of them for which no service is blamed.")


class DaysQuery(Schema):
    """How far back."""

    days: int = Field(DAYS[0], ge=1, le=90, description="Up to today's, by UTC.")


class ServiceQuery(Paging, DaysQuery):
    """Which page, and how many days are counted."""


class BlamedFailureOut(Answer):
    """A failure that counts for the service."""

    run_id: int
    run_number: int
    run_url: str
    at: datetime
    test_id: int
    test: str
    blame: BlameOut


class ServiceFailuresOut(Answer):
    """A service, and a page of the failures that count for it, newest first."""

    service: ServiceOut
    items: list[BlamedFailureOut]
    next: str | None


@router.get(
    "/projects/{project}/services",
    auth=TokenAuth(Scope.READ),
    response=ServicesOut,
    summary="A project's services",
)
def list_services(request: HttpRequest, project: str, query: Query[ServiceQuery]) -> dict[str, object]:
    """Each with the failures that count for it, by day. A failure that two share counts for both."""
    key = read_cursor(query.cursor, int, str)
    owner = project_for(request, project)
    heat = service_heat(owner, days=query.days, limit=query.limit, after=(key[0], key[1]) if key else None)
    rows = heat.services
    names = [row.service for row in rows]
    known = {one.name: one for one in Service.objects.filter(project=owner, name__in=names)}
    items = [
        _service(owner, known[row.service], [DayCount(cell.day, cell.count) for cell in row.cells])
        for row in rows
        if row.service in known
    ]
    last = [rows[-1].total, rows[-1].service] if rows else []
    nobody = next((row.total for row in heat.rows if row.is_nobody), 0)
    listed = page(request, rows, items, limit=query.limit, key=last)
    return {**listed, "failures": heat.failure_count, "without_service": nobody}


@router.get(
    "/projects/{project}/services/{path:name}",
    auth=TokenAuth(Scope.READ),
    response=ServiceFailuresOut,
    summary="A service and what is held against it",
)
def get_service(
    request: HttpRequest, project: str, name: str, query: Query[ServiceQuery]
) -> dict[str, object]:
    """The failures that count for it, newest first, each with its evidence."""
    key = read_cursor(query.cursor, int, int)
    service = service_for(request, project, name)
    owner = service.project
    moment = (EPOCH + timedelta(microseconds=key[0]), key[1]) if key else None
    rows = blames_before(service, moment=moment, limit=query.limit)
    last = [(rows[-1].run_at - EPOCH) // timedelta(microseconds=1), rows[-1].pk] if rows else []
    items = [_failure(row, owner.slug) for row in rows]
    listed = page(request, rows, items, limit=query.limit, key=last)
    return {"service": _service(owner, service, counts_by_day(service, days=query.days)), **listed}


def _service(project: Project, service: Service, days: Sequence[DayCount]) -> ServiceOut:
    return ServiceOut(
        name=service.name,
        image=service.image or None,
        first_seen_at=service.first_seen_at,
        last_seen_at=service.last_seen_at,
        failures=sum(day.count for day in days),
        by_day=[DayOut(day=day.day, failures=day.count) for day in days],
        url=f"{settings.PUBLIC_URL}{reverse('service', args=[project.slug, service.name])}",
    )


def _failure(blame: Blame, slug: str) -> BlamedFailureOut:
    return BlamedFailureOut(
        run_id=blame.run_id,
        run_number=blame.run.number,
        run_url=f"{settings.PUBLIC_URL}{reverse('run', args=[slug, blame.run.number])}",
        at=blame.run_at,
        test_id=blame.case_id,
        test=f"{blame.case.name}{blame.case.parameters}",
        blame=BlameOut.of(BlameKind.of(blame)),
    )
