"""The frame that every page of a project stands in."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from runs.queries.shell import shell
from runs.web.access import Access


def project_page(
    request: HttpRequest, template: str, access: Access, *, nav: str, status: int = 200, **context: object
) -> HttpResponse:
    """Render a page inside its project's frame. `nav` names the entry of the side bar it belongs to."""
    frame = {"access": access, "project": access.project, "nav": nav, "shell": shell(access.project)}
    return render(request, template, frame | context, status=status)
