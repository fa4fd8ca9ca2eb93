"""Runs: the list, one run's page, what can be done with it, and its files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.pins import pin_run, unpin_run
from runs.actions.runs import cancel_run, queue_run, rerun_run
from runs.models import Artifact, Report
from runs.queries.log import whole_log
from runs.queries.run_list import STARTED, RunFilter
from runs.queries.run_list import run_page as run_list_page
from runs.queries.run_page import run_page
from runs.vocabulary import Role, RunStatus, Trigger
from runs.web.access import person, project_for, run_for
from runs.web.downloads import download
from runs.web.pages import project_page

#: What names a commit rather than a branch.
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_FILE_KINDS: dict[str, type[Artifact | Report]] = {"report": Report, "artifact": Artifact}


@require_GET
def run_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The runs that the URL asks for; what changed of the page when a script asks."""
    access = project_for(request, slug)
    wanted = RunFilter.from_query(request.GET)
    page = run_list_page(access.project, wanted, now=timezone.now(), person=person(request))
    choices = {"times": STARTED, "statuses": list(RunStatus), "triggers": list(Trigger)}
    if request.headers.get("HX-Request") and not request.headers.get("HX-History-Restore-Request"):
        context = {
            "project": access.project,
            "access": access,
            "page": page,
            "wanted": wanted,
            "choices": choices,
        }
        response = render(request, "runs/list.html#answer", context | {"is_part": True})
        address = reverse("runs", args=[slug]) + wanted.query()
        # A field that loses its focus asks for what is shown already: no step to go back over.
        address = address.removesuffix("?")
        is_there = request.headers.get("HX-Current-URL", "").endswith(request.get_host() + address)
        response["HX-Push-Url"] = "false" if is_there else address
    else:
        response = project_page(
            request, "runs/list.html", access, nav="runs", page=page, wanted=wanted, choices=choices
        )
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_GET
def run(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """A run, live or finished."""
    access = run_for(request, slug, number)
    page = run_page(
        access.run,
        now=timezone.now(),
        show=request.GET.get("show", ""),
        q=request.GET.get("q", ""),
        source=request.GET.get("source", ""),
        after=request.GET.get("after", ""),
    )
    return project_page(request, "runs/run.html", access, nav="runs", page=page, run=access.run)


@require_POST
def run_new(request: HttpRequest, slug: str) -> HttpResponse:
    """Queue a run of a suite on a ref."""
    access = project_for(request, slug, needs=Role.MEMBER)
    ref = request.POST.get("ref", "").strip()
    try:
        made = queue_run(
            project=access.project,
            suite=request.POST.get("suite", ""),
            trigger=Trigger.PERSON,
            ref=ref,
            branch="" if _COMMIT.fullmatch(ref) else ref or access.project.default_branch,
            by=person(request),
        )
    except ActionError as error:
        messages.error(request, str(error))
        return redirect("suites", slug)
    return redirect("run", slug, made.number)


@require_POST
def run_cancel(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """End a run that is not finished."""
    access = run_for(request, slug, number, needs=Role.MEMBER)
    try:
        cancel_run(run_id=access.run.pk, by=person(request))
    except ActionError as error:
        messages.error(request, str(error))
    return redirect("run", slug, number)


@require_POST
def run_rerun(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Queue the same suite on the same commit once more: all of it, or with `only=failed` what failed."""
    access = run_for(request, slug, number, needs=Role.MEMBER)
    failed_only = request.POST.get("only") == "failed"
    try:
        made = rerun_run(run_id=access.run.pk, by=person(request), failed_only=failed_only)
    except ActionError as error:
        messages.error(request, str(error))
        return redirect("run", slug, number)
    return redirect("run", slug, made.number)


@require_POST
def run_pin(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Keep all of the run."""
    access = run_for(request, slug, number, needs=Role.MEMBER)
    pin_run(run_id=access.run.pk, by=person(request))
    return redirect("run", slug, number)


@require_POST
def run_unpin(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Let the terms hold for the run again."""
    access = run_for(request, slug, number, needs=Role.MEMBER)
    unpin_run(run_id=access.run.pk, by=person(request))
    return redirect("run", slug, number)


@require_GET
async def run_log(request: HttpRequest, slug: str, number: int) -> StreamingHttpResponse:
    """The whole log as plain text, of all services or of one."""
    access = await sync_to_async(run_for)(request, slug, number)
    lines = whole_log(access.run, request.GET.get("source", ""))
    return StreamingHttpResponse(lines, content_type="text/plain; charset=utf-8")


@require_GET
async def run_file(request: HttpRequest, slug: str, number: int, kind: str, file_id: int) -> HttpResponseBase:
    """A report or another file of the run, always as a download: it was written by strangers."""
    access = await sync_to_async(run_for)(request, slug, number)
    if kind not in _FILE_KINDS:
        raise Http404
    row = await _FILE_KINDS[kind].objects.filter(run=access.run, pk=file_id).afirst()
    # Without a name its term is over: the row only says what it was.
    if row is None or not row.storage_name:
        raise Http404
    name = PurePosixPath(row.name if isinstance(row, Report) else row.path).name
    return await download(request, row.storage_name, name)
