"""Two runs side by side, and one failure wherever it was seen."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from runs.queries.compare_page import compare_page
from runs.queries.compare_words import said_of
from runs.queries.failure_groups import group_page
from runs.web.access import project_for
from runs.web.pages import project_page


@require_GET
def compare(request: HttpRequest, slug: str) -> HttpResponse:
    """What differs between the two runs that the URL names, by number or by branch."""
    access = project_for(request, slug)
    page = compare_page(
        access.project,
        base=request.GET.get("base", ""),
        head=request.GET.get("head", ""),
        suite=request.GET.get("suite", ""),
        show=request.GET.get("show", ""),
    )
    address = request.build_absolute_uri()
    said = said_of(page.findings, address=address) if page.findings else None
    return project_page(request, "runs/compare.html", access, nav="runs", page=page, said=said)


@require_GET
def failure_group(request: HttpRequest, slug: str, fingerprint: str) -> HttpResponse:
    """One failure, wherever in the project it was seen; named by its whole fingerprint in hexadecimal."""
    access = project_for(request, slug)
    try:
        key = bytes.fromhex(fingerprint)
    except ValueError:
        raise Http404 from None
    page = group_page(access.project, key, now=timezone.now())
    if page is None:
        raise Http404
    return project_page(request, "runs/failure_group.html", access, nav="runs", page=page)
