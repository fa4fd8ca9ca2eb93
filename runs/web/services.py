"""Services: which are blamed, and one of them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from runs.queries.service_page import service_page
from runs.queries.services import services_page
from runs.web.access import project_for, service_for
from runs.web.pages import project_page


@require_GET
def service_list(request: HttpRequest, slug: str) -> HttpResponse:
    """Failures by service and day, and those behind the chosen cell."""
    access = project_for(request, slug)
    page = services_page(
        access.project,
        days=request.GET.get("days", ""),
        service=request.GET.get("service"),
        day=request.GET.get("day", ""),
    )
    return project_page(request, "services/list.html", access, nav="services", page=page)


@require_GET
def service(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """When a service is blamed, on what evidence, by which tests."""
    access = service_for(request, slug, name)
    page = service_page(access.project, access.service, days=request.GET.get("days", ""))
    return project_page(request, "services/service.html", access, nav="services", page=page)
