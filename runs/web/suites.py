"""Suites: the list, one suite's page, a new one, and a suite's schedules."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.projects import ensure_suite
from runs.actions.schedules import (
    change_schedule,
    create_schedule,
    delete_schedule,
    pause_schedule,
    resume_schedule,
)
from runs.queries.suite_page import suite_page
from runs.queries.suites import suite_rows
from runs.suitefile import ScheduleSpec
from runs.vocabulary import Role
from runs.web.access import project_for, schedule_for, signed_in, suite_for
from runs.web.pages import project_page


@require_GET
def suite_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's suites with their recent past."""
    access = project_for(request, slug)
    return project_page(request, "suites/list.html", access, nav="suites", rows=suite_rows(access.project))


@require_POST
def suite_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Name a suite that the repository's suite file describes."""
    access = project_for(request, slug, needs=Role.MEMBER)
    try:
        ensure_suite(project=access.project, name=request.POST.get("name", ""), by=signed_in(request))
    except ActionError as error:
        messages.error(request, str(error))
    return redirect("suites", slug)


@require_GET
def suite(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """A suite: how it does, its newest runs, its schedules, its definition."""
    access = suite_for(request, slug, name)
    page = suite_page(access.suite, now=timezone.now())
    return project_page(request, "suites/suite.html", access, nav="suites", page=page, suite=access.suite)


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
    try:
        act()
    except ActionError as error:
        messages.error(request, str(error))
    return redirect("suite", slug, name)
