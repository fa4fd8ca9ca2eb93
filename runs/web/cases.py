"""Test cases: the list and one test's history."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.queries.blamed import blames_of_case
from runs.queries.case_conditions import conditions
from runs.queries.case_evidence import why
from runs.queries.case_history import case_history
from runs.queries.case_list import CaseFilter, Sort, State, case_page
from runs.queries.durations import case_trend
from runs.queries.flaky import BoardFilter, board, board_row, has_finished_runs, scale_of
from runs.queries.quarantine import quarantine_of
from runs.queries.reproduce import command
from runs.queries.result_details import newest_told
from runs.vocabulary import Flakiness, Role
from runs.web.access import CaseAccess, case_for, person, project_for
from runs.web.pages import project_page

#: No number of days is as long.
_DIGITS = 9


@require_GET
def case_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's tests, narrowed and sorted as the URL asks; the list alone when a script asks."""
    access = project_for(request, slug)
    page = case_page(access.project, CaseFilter.from_query(request.GET), now=timezone.now())
    if request.headers.get("HX-Request") and not request.headers.get("HX-History-Restore-Request"):
        response = render(request, "tests/list.html#tests", {"project": access.project, "page": page})
    else:
        response = project_page(
            request,
            "tests/list.html",
            access,
            nav="tests",
            page=page,
            states=list(State),
            sorts=[sort for sort in Sort if sort is not Sort.FIRST_SEEN],
        )
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_GET
def case(request: HttpRequest, slug: str, case_id: int) -> HttpResponse:
    """A test's last results, durations and failures, on one branch or on all."""
    access = case_for(request, slug, case_id)
    if access.case.pk != case_id:  # a former name's
        return redirect("test", slug, access.case.pk)
    branch = request.GET.get("branch")
    if branch is not None:
        branch = branch.replace("\x00", "")
    page = case_history(access.project, access.case, branch=branch)
    held = quarantine_of(access.case, now=timezone.now())
    trend = case_trend(access.case, branch=page.branch)
    judged = why(access.project, access.case, has_failed=page.last_failure is not None)
    return project_page(
        request,
        "tests/test.html",
        access,
        nav="tests",
        page=page,
        case=access.case,
        quarantine=held,
        trend=trend,
        why=judged,
        when=conditions(page, default_branch=access.project.default_branch, masked_runs=judged.masked_runs),
        repro=command(access.case),
        blamed=blames_of_case(access.case, now=timezone.now()),
        told=newest_told(access.case, page.newest),
    )


@require_GET
def flaky_board(request: HttpRequest, slug: str) -> HttpResponse:
    """What flaky tests cost and which of them matter; the board alone when a script asks."""
    access = project_for(request, slug)
    page = board(access.project, BoardFilter.from_query(request.GET), now=timezone.now())
    has_runs = bool(page.total) or has_finished_runs(access.project)
    if request.headers.get("HX-Request") and not request.headers.get("HX-History-Restore-Request"):
        context = {"project": access.project, "access": access, "page": page, "has_runs": has_runs}
        response = render(request, "flaky/board.html#board", context)
    else:
        states = [state for state in Flakiness if state is not Flakiness.HEALTHY]
        response = project_page(
            request, "flaky/board.html", access, nav="flaky", page=page, has_runs=has_runs, states=states
        )
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_POST
def case_quarantine(request: HttpRequest, slug: str, case_id: int) -> HttpResponse:
    """Put a test into quarantine."""
    access = case_for(request, slug, case_id, needs=Role.MEMBER)
    days = request.POST.get("days", "")
    try:
        quarantine_case(
            case=access.case,
            reason=request.POST.get("reason", ""),
            days=_number(days),
            owner=request.POST.get("owner", ""),
            by=person(request),
        )
    except ActionError as error:
        return _acted(request, access, error)
    return _acted(request, access)


@require_POST
def case_lift(request: HttpRequest, slug: str, case_id: int) -> HttpResponse:
    """Let a test decide again."""
    access = case_for(request, slug, case_id, needs=Role.MEMBER)
    try:
        lift_quarantine(case=access.case, by=person(request))
    except ActionError as error:
        return _acted(request, access, error)
    return _acted(request, access)


def _acted(request: HttpRequest, access: CaseAccess, error: ActionError | None = None) -> HttpResponse:
    """Back to where it was done: the flaky board, which names the test's rank there, or the test's page."""
    rank, slug = _number(request.POST.get("rank", "")), access.project.slug
    if rank and request.headers.get("HX-Request"):
        row = board_row(access.case, rank=rank, now=timezone.now())
        held = row.quarantine
        said = str(error) if error else "In quarantine now." if held else "It decides again."
        scale = scale_of([row.state.evidence_high] if row.state else [], request.POST.get("scale", ""))
        context = {"project": access.project, "access": access, "row": row, "scale": scale}
        return render(request, "flaky/_row.html", context | {"said": said, "failed": error is not None})
    if error:
        messages.error(request, str(error))
    return redirect("flaky", slug) if rank else redirect("test", slug, access.case.pk)


def _number(text: str) -> int:
    """What was typed as a number; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0
