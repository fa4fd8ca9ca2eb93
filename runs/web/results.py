"""One test's result in one run."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from runs.models import TestCase
from runs.queries.result_details import result_page
from runs.web.access import run_for
from runs.web.pages import project_page


@require_GET
def result(request: HttpRequest, slug: str, number: int, case_id: int) -> HttpResponse:
    """What came of a test in a run, and all that the reports tell of it."""
    access = run_for(request, slug, number)
    case = TestCase.objects.select_related("suite").filter(suite=access.run.suite_id, pk=case_id).first()
    if case is None:
        raise Http404
    page = result_page(access.run, case)
    return project_page(request, "runs/result.html", access, nav="runs", page=page, run=access.run, case=case)
