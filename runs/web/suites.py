"""Suites: the list, one suite's page, a new one, and a suite's schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from runs.actions.projects import ensure_suite
from runs.actions.schedules import (
    change_schedule,
    create_schedule,
    delete_schedule,
    pause_schedule,
    resume_schedule,
)
from runs.actions.tokens import create_token
from runs.queries.suite_page import suite_page
from runs.queries.suites import suite_list_rows
from runs.suitefile import ScheduleSpec
from runs.vocabulary import Role, Scope
from runs.web.access import person, project_for, schedule_for, signed_in, suite_for
from runs.web.once import keep_for_once, taken_once
from runs.web.pages import project_page
from runs.web.refusals import refusals_told

_MADE: Final = "suite token"


@require_GET
def suite_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's suites with their recent past."""
    access = project_for(request, slug)
    rows = suite_list_rows(access.project)
    return project_page(
        request, "suites/list.html", access, nav="suites", rows=rows, red=[row for row in rows if row.is_red]
    )


@require_POST
def suite_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Name a suite that the repository's suite file describes."""
    access = project_for(request, slug, needs=Role.MEMBER)
    with refusals_told(request):
        ensure_suite(project=access.project, name=request.POST.get("name", ""), by=signed_in(request))
    return redirect("suites", slug)


@never_cache
@require_GET
def suite(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """A suite: how it does, how long it takes, its runs and schedules, what it is, how to send reports."""
    access = suite_for(request, slug, name)
    made = taken_once(request, _MADE, access.project.pk) if access.may_manage else {}
    return project_page(
        request,
        "suites/suite.html",
        access,
        nav="suites",
        page=suite_page(access.suite, now=timezone.now()),
        suite=access.suite,
        # Only the suite's own page shows it; on another's it is gone.
        secret=made.get("secret", "") if made.get("suite") == access.suite.pk else "",
        upload_url=request.build_absolute_uri(f"/api/v1/projects/{slug}/uploads"),
    )


@require_POST
def suite_token(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Make a token for the suite's uploads; the suite's page shows it, once, filled in."""
    access = suite_for(request, slug, name, needs=Role.ADMIN)
    made = create_token(
        project=access.project,
        scopes=[Scope.UPLOAD],
        name=f"Uploads of {access.suite.name}"[:120],
        by=person(request),
    )
    keep_for_once(request, _MADE, access.project.pk, secret=made.secret, suite=access.suite.pk)
    return redirect(reverse("suite", args=[slug, name]) + "#uploads")


@require_POST
def schedule_add(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Run the suite whenever a cron line is due."""
    access = suite_for(request, slug, name, needs=Role.MEMBER)
    return _tried(
        request,
        slug,
        name,
        lambda: create_schedule(suite=access.suite, wanted=_wanted(request), by=signed_in(request)),
    )


@require_POST
def schedule_change(request: HttpRequest, slug: str, schedule_id: int) -> HttpResponse:
    """Give a schedule another line, time zone or branch."""
    access = schedule_for(request, slug, schedule_id, needs=Role.MEMBER)
    wanted = _wanted(request)
    return _tried(
        request,
        slug,
        access.schedule.suite.name,
        lambda: change_schedule(schedule_id=schedule_id, wanted=wanted, by=signed_in(request)),
    )


@require_POST
def schedule_pause(request: HttpRequest, slug: str, schedule_id: int) -> HttpResponse:
    """Let a schedule rest."""
    access = schedule_for(request, slug, schedule_id, needs=Role.MEMBER)
    pause_schedule(schedule_id=schedule_id, by=signed_in(request))
    return redirect("suite", slug, access.schedule.suite.name)


@require_POST
def schedule_resume(request: HttpRequest, slug: str, schedule_id: int) -> HttpResponse:
    """Let a schedule be due again."""
    access = schedule_for(request, slug, schedule_id, needs=Role.MEMBER)
    name = access.schedule.suite.name
    return _tried(
        request, slug, name, lambda: resume_schedule(schedule_id=schedule_id, by=signed_in(request))
    )


@require_POST
def schedule_delete(request: HttpRequest, slug: str, schedule_id: int) -> HttpResponse:
    """Remove a schedule; its runs stay."""
    access = schedule_for(request, slug, schedule_id, needs=Role.MEMBER)
    name = access.schedule.suite.name
    return _tried(
        request, slug, name, lambda: delete_schedule(schedule_id=schedule_id, by=signed_in(request))
    )


def _wanted(request: HttpRequest) -> ScheduleSpec:
    return ScheduleSpec(
        # However many blanks stand between its fields, it is the same line.
        cron=" ".join(request.POST.get("cron", "").split()),
        timezone=request.POST.get("timezone", "").strip() or "UTC",
        branch=request.POST.get("branch", "").strip(),
    )


def _tried(request: HttpRequest, slug: str, name: str, act: Callable[[], object]) -> HttpResponse:
    """Act, say what was refused, and show the suite."""
    with refusals_told(request):
        act()
    return redirect("suite", slug, name)
