"""Sample data: have it made, and have it removed."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from runs.actions.samples import remove_samples, request_samples
from runs.vocabulary import Role
from runs.web.access import person, project_for
from runs.web.refusals import refusals_told


@require_POST
def sample_load(request: HttpRequest, slug: str) -> HttpResponse:
    """Have a made-up past sent to a project without runs; the first page waits for it."""
    access = project_for(request, slug, needs=Role.ADMIN)
    with refusals_told(request):
        request_samples(project=access.project, by=person(request))
    return redirect("start", slug)


@require_POST
def sample_remove(request: HttpRequest, slug: str) -> HttpResponse:
    """Take the made-up past away."""
    access = project_for(request, slug, needs=Role.ADMIN)
    with refusals_told(request):
        removed = remove_samples(project=access.project, by=person(request))
        runs = f"{removed.run_count} run{'' if removed.run_count == 1 else 's'}"
        messages.success(request, f"The sample data is gone: {runs}, {removed.result_count} results.")
    return redirect("overview", slug)
