"""Test cases: the list and one test's history."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.queries.case_history import case_history
from runs.queries.case_list import case_page
from runs.queries.quarantine import quarantine_of
from runs.vocabulary import Role
from runs.web.access import case_for, person, project_for
from runs.web.pages import project_page

#: No number of days is as long.
_DIGITS = 9


@require_GET
def case_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's tests, found by name."""
    access = project_for(request, slug)
    page = case_page(access.project, q=request.GET.get("q", ""), before=request.GET.get("before", ""))
    return project_page(request, "tests/list.html", access, nav="tests", page=page)


@require_GET
def case(request: HttpRequest, slug: str, case_id: int) -> HttpResponse:
    """A test's last results, durations and failures, on one branch or on all."""
    access = case_for(request, slug, case_id)
    branch = request.GET.get("branch")
    if branch is not None:
        branch = branch.replace("\x00", "")
    page = case_history(access.project, access.case, branch=branch)
    held = quarantine_of(access.case, now=timezone.now())
    return project_page(
        request, "tests/test.html", access, nav="tests", page=page, case=access.case, quarantine=held
    )


@require_POST
def case_quarantine(request: HttpRequest, slug: str, case_id: int) -> HttpResponse:
    """Put a test into quarantine."""
    access = case_for(request, slug, case_id, needs=Role.MEMBER)
    days = request.POST.get("days", "")
    try:
        quarantine_case(
            case=access.case,
            reason=request.POST.get("reason", ""),
            days=int(days) if days.isascii() and days.isdigit() and len(days) < _DIGITS else 0,
            owner=request.POST.get("owner", ""),
            by=person(request),
        )
    except ActionError as error:
        messages.error(request, str(error))
    return redirect("test", slug, case_id)


@require_POST
def case_lift(request: HttpRequest, slug: str, case_id: int) -> HttpResponse:
    """Let a test decide again."""
    access = case_for(request, slug, case_id, needs=Role.MEMBER)
    try:
        lift_quarantine(case=access.case, by=person(request))
    except ActionError as error:
        messages.error(request, str(error))
    return redirect("test", slug, case_id)
