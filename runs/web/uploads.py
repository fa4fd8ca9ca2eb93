"""Uploads: what was sent, when, by which run, and what could not be taken of it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from runs.models import Run
from runs.queries.uploads import VIEWS, upload_facts
from runs.queries.uploads import upload_list as listed
from runs.web.access import project_for, upload_for
from runs.web.pages import project_page

#: Digits of a key, and of a run's number, at most.
_KEY_DIGITS = 18
_NUMBER_DIGITS = 9


@require_GET
def upload_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's uploads, or those to one run, newest first."""
    access = project_for(request, slug)
    before, number = _number(request, "before", _KEY_DIGITS), _number(request, "run", _NUMBER_DIGITS)
    run = None
    if number is not None:
        run = Run.objects.select_related("suite").filter(project=access.project, number=number).first()
    page = listed(access.project, view=request.GET.get("status", ""), run=run, before=before)
    return project_page(request, "uploads/list.html", access, nav="uploads", page=page, views=VIEWS)


@require_GET
def upload(request: HttpRequest, slug: str, upload_id: int) -> HttpResponse:
    """One upload: every file, every problem, how long it took."""
    access = upload_for(request, slug, upload_id)
    facts = upload_facts(access.upload)
    return project_page(request, "uploads/upload.html", access, nav="uploads", facts=facts)


def _number(request: HttpRequest, name: str, digits: int) -> int | None:
    value = request.GET.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= digits else None
