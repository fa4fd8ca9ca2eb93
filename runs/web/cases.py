"""Test cases: the list and one test's history."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from runs.queries.case_history import case_history
from runs.queries.case_list import case_page
from runs.web.access import case_for, project_for
from runs.web.pages import project_page


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
    return project_page(request, "tests/test.html", access, nav="tests", page=page, case=access.case)
