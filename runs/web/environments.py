"""Environments: the list, one of them as it lives and after it is gone, and its end."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from runs.actions.environments import tear_down_environment
from runs.actions.holding import hold_longer, release_environment
from runs.queries.environment_page import environment_page
from runs.queries.environments import environment_list
from runs.queries.held import held_environments
from runs.vocabulary import Role
from runs.web.access import environment_for, person, project_for
from runs.web.live import STOP_POLLING
from runs.web.pages import project_page
from runs.web.refusals import refusals_told


@require_GET
def environments(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's environments, newest first."""
    access = project_for(request, slug)
    now = timezone.now()
    page = environment_list(access.project, now=now, before=request.GET.get("before", ""))
    held = held_environments(access.project, now=now) if page.is_first else []
    return project_page(request, "environments/list.html", access, nav="environments", page=page, held=held)


@require_GET
def environment(request: HttpRequest, slug: str, environment_name: str) -> HttpResponse:
    """One environment, also after it is gone."""
    access = environment_for(request, slug, environment_name)
    page = environment_page(
        access.environment, access.run, now=timezone.now(), source=request.GET.get("source", "")
    )
    return project_page(
        request, "environments/environment.html", access, nav="environments", page=page, run=access.run
    )


@never_cache
@require_GET
def environment_live(request: HttpRequest, slug: str, environment_name: str) -> HttpResponse:
    """The parts that change, for the page that asks every few seconds; 286 when nothing more will come."""
    access = environment_for(request, slug, environment_name)
    page = environment_page(access.environment, access.run, now=timezone.now(), with_log=False)
    context = {"page": page, "run": access.run, "project": access.project, "access": access}
    status = HTTPStatus.OK if page.is_live else STOP_POLLING
    return render(request, "environments/environment.html#now", context, status=status)


@require_POST
def environment_tear_down(request: HttpRequest, slug: str, environment_name: str) -> HttpResponse:
    """Have an environment removed."""
    access = environment_for(request, slug, environment_name, needs=Role.MEMBER)
    with refusals_told(request):
        what = tear_down_environment(access.environment, run=access.run, by=person(request))
        messages.success(request, what)
    return redirect("environment", slug, environment_name)


@require_POST
def environment_release(request: HttpRequest, slug: str, environment_name: str) -> HttpResponse:
    """Let go of one that is held."""
    access = environment_for(request, slug, environment_name, needs=Role.MEMBER)
    with refusals_told(request):
        release_environment(access.environment, run=access.run, by=person(request))
        messages.success(request, f"{environment_name} is held no longer; it is removed within seconds.")
    return redirect("environment", slug, environment_name)


@require_POST
def environment_hold_longer(request: HttpRequest, slug: str, environment_name: str) -> HttpResponse:
    """Have one that is held stay for half an hour more."""
    access = environment_for(request, slug, environment_name, needs=Role.MEMBER)
    with refusals_told(request):
        held = hold_longer(access.environment, run=access.run, by=person(request))
        messages.success(request, f"{environment_name} is held until {held.held_until:%H:%M} UTC.")
    return redirect("environment", slug, environment_name)
