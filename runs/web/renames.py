"""Tests that look renamed: what waits for a decision, and the decisions."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.renames import confirm_renames, part_rename, refuse_renames, set_rename_rule
from runs.queries.rename_list import rename_page, waiting_of_move
from runs.vocabulary import Role
from runs.web.access import RenameAccess, person, project_for, rename_for, signed_in
from runs.web.pages import project_page

#: Digits of a count of moves, at most.
_DIGITS = 6


@require_GET
def rename_list(request: HttpRequest, slug: str) -> HttpResponse:
    """What looks renamed, move by move, or what was decided before."""
    access = project_for(request, slug)
    view = "decided" if request.GET.get("view") == "decided" else ""
    after = request.GET.get("after", "")
    passed_over = int(after) if after.isascii() and after.isdigit() and len(after) <= _DIGITS else 0
    page = rename_page(access.project, view=view, passed_over=passed_over)
    return project_page(request, "tests/renames.html", access, nav="tests", page=page)


@require_POST
def rename_confirm(request: HttpRequest, slug: str, rename_id: int) -> HttpResponse:
    """Join the two names' histories; with `whole`, those of all that made the same move."""
    access = rename_for(request, slug, rename_id, needs=Role.MEMBER)
    joined = confirm_renames(
        suite=access.rename.suite, rename_ids=_chosen(request, access), by=person(request)
    )
    if joined:
        messages.success(request, f"{_tests(joined)} joined: each has one history again, under its new name.")
    else:
        message = (
            "Nothing was joined: it was decided before, or a run holds both, which makes them two tests."
        )
        messages.error(request, message)
    return redirect("renames", slug)


@require_POST
def rename_refuse(request: HttpRequest, slug: str, rename_id: int) -> HttpResponse:
    """Say that they are two tests; with `whole`, of all that made the same move."""
    access = rename_for(request, slug, rename_id, needs=Role.MEMBER)
    count = refuse_renames(suite=access.rename.suite, rename_ids=_chosen(request, access), by=person(request))
    if count:
        messages.success(request, f"{_tests(count)} kept apart. The pairs are not proposed again.")
    else:
        messages.error(request, "It was decided before.")
    return redirect("renames", slug)


@require_POST
def rename_part(request: HttpRequest, slug: str, rename_id: int) -> HttpResponse:
    """Make two tests again of what was joined."""
    access = rename_for(request, slug, rename_id, needs=Role.MEMBER)
    try:
        part_rename(rename=access.rename, by=person(request))
    except ActionError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "They are two tests again, each with its own results.")
    return redirect("renames", slug)


@require_POST
def rename_rule(request: HttpRequest, slug: str) -> HttpResponse:
    """Say whether moves are confirmed without asking."""
    access = project_for(request, slug, needs=Role.ADMIN)
    confirms_moves = bool(request.POST.get("confirms_moves"))
    set_rename_rule(project_id=access.project.pk, confirms_moves=confirms_moves, by=signed_in(request))
    said = "are confirmed by themselves" if confirms_moves else "wait for somebody"
    messages.success(request, f"Saved. Moves {said} from the next run on.")
    return redirect("renames", slug)


def _chosen(request: HttpRequest, access: RenameAccess) -> list[int]:
    return waiting_of_move(access.rename) if request.POST.get("whole") else [access.rename.pk]


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count:,} tests"
