"""What takes long, and what became slower."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from runs.queries.durations import LEAST_COUNT, durations_page
from runs.web.access import project_for
from runs.web.pages import project_page


@require_GET
def durations(request: HttpRequest, slug: str) -> HttpResponse:
    """The suites, the slowest tests and those that became slower; of one suite when it is named."""
    access = project_for(request, slug)
    page = durations_page(access.project, suite_name=request.GET.get("suite", ""))
    return project_page(
        request, "durations/durations.html", access, nav="durations", page=page, least=LEAST_COUNT
    )
