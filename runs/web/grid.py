"""The grid of tests by runs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET

from runs.queries.grid import GridFilter, Order, grid_page
from runs.web.access import project_for
from runs.web.pages import project_page


@require_GET
def grid(request: HttpRequest, slug: str) -> HttpResponse:
    """A suite's tests by its last runs on a branch; the grid alone when a script asks."""
    access = project_for(request, slug)
    page = grid_page(access.project, GridFilter.from_query(request.GET))
    if request.headers.get("HX-Request") and not request.headers.get("HX-History-Restore-Request"):
        response = render(request, "grid/grid.html#grid", {"project": access.project, "page": page})
    else:
        orders = {Order.FILE: "file", Order.FAILURES: "failures", Order.SIMILARITY: "likeness"}
        response = project_page(request, "grid/grid.html", access, nav="grid", page=page, orders=orders)
    patch_vary_headers(response, ["HX-Request"])
    return response
