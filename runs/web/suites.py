"""Suites: the list, with a button that runs one now, and a new one."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.projects import ensure_suite
from runs.queries.suites import suite_rows
from runs.vocabulary import Role
from runs.web.access import project_for
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
        ensure_suite(project=access.project, name=request.POST.get("name", ""))
    except ActionError as error:
        messages.error(request, str(error))
    return redirect("suites", slug)
