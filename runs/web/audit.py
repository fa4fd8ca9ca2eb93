"""The audit log: who changed what in a project."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from runs.queries.audit import audit_page
from runs.vocabulary import Role
from runs.web.access import members_project_for
from runs.web.pages import project_page

#: Digits of the largest key there can be.
_DIGITS = 19
_LIMIT = 250


@never_cache
@require_GET
def audit_log(request: HttpRequest, slug: str) -> HttpResponse:
    """For administrators: it names people, and what they did."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    before = request.GET.get("before", "")
    page = audit_page(
        access.project,
        actor=_word(request, "actor"),
        action=_word(request, "action"),
        before=int(before) if before.isascii() and before.isdigit() and len(before) < _DIGITS else None,
    )
    return project_page(request, "projects/audit.html", access, nav="settings", page=page)


def _word(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace("\x00", "")[:_LIMIT]
