"""Webhooks: the hooks and their secrets, what came, why it did what it did."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from runs.actions.sending import resend_delivery
from runs.actions.webhooks import approve_delivery, create_hook, redeliver, remove_hook
from runs.models import Hook
from runs.providers import PROVIDERS
from runs.queries.deliveries import VIEWS, delivery_facts, delivery_list, hook_path, hook_rows, label_of
from runs.vocabulary import Role
from runs.web.access import Access, delivery_for, project_for, signed_in
from runs.web.once import keep_for_once, taken_once
from runs.web.pages import project_page
from runs.web.refusals import refusals_told


@never_cache
@require_GET
def webhook_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The project's hooks and the newest deliveries."""
    return _list_page(request, project_for(request, slug))


@never_cache
@require_POST
def hook_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a hook; the page that this leads to shows its secret, once."""
    access = project_for(request, slug, needs=Role.ADMIN)
    with refusals_told(request):
        hook = create_hook(
            project=access.project, provider=request.POST.get("provider", ""), by=signed_in(request)
        )
        keep_for_once(request, "webhook", access.project.pk, id=hook.pk)
    return redirect("webhooks", slug)


@require_POST
def hook_remove(request: HttpRequest, slug: str, hook_id: int) -> HttpResponse:
    """Close a hook's address; its deliveries stay."""
    access = project_for(request, slug, needs=Role.ADMIN)
    for hook in Hook.objects.filter(project=access.project, pk=hook_id):
        remove_hook(hook_id=hook.pk, by=signed_in(request))
    return redirect("webhooks", slug)


@never_cache
@require_GET
def delivery(request: HttpRequest, slug: str, delivery_id: int) -> HttpResponse:
    """One delivery: what was said and what came of it. What it held, or was sent, is for members."""
    access = delivery_for(request, slug, delivery_id)
    if access.delivery.direction == "sent" and not access.is_member:
        raise Http404
    facts = delivery_facts(access.delivery)
    return project_page(request, "webhooks/delivery.html", access, nav="webhooks", facts=facts)


@require_POST
def delivery_again(request: HttpRequest, slug: str, delivery_id: int) -> HttpResponse:
    """Handle a delivery once more, or send it once more."""
    access = delivery_for(request, slug, delivery_id, needs=Role.MEMBER)
    act = resend_delivery if access.delivery.direction == "sent" else redeliver
    with refusals_told(request):
        act(delivery_id=access.delivery.pk, by=signed_in(request))
    return redirect("delivery", slug, delivery_id)


@require_POST
def delivery_approve(request: HttpRequest, slug: str, delivery_id: int) -> HttpResponse:
    """Let a fork's pull request run."""
    access = delivery_for(request, slug, delivery_id, needs=Role.MEMBER)
    with refusals_told(request):
        approve_delivery(delivery_id=access.delivery.pk, by=signed_in(request))
    return redirect("delivery", slug, delivery_id)


def _list_page(request: HttpRequest, access: Access) -> HttpResponse:
    kept = taken_once(request, "webhook", access.project.pk)
    made = Hook.objects.filter(project=access.project, pk=kept["id"]).first() if kept else None
    before = request.GET.get("before", "")
    views = VIEWS if access.is_member else {name: VIEWS[name] for name in VIEWS if name != "sent"}
    view = request.GET.get("view", "")
    return project_page(
        request,
        "webhooks/list.html",
        access,
        nav="webhooks",
        hooks=hook_rows(access.project),
        page=delivery_list(
            access.project,
            view=view if view in views else "",
            before=int(before) if before.isdecimal() and len(before) < len(str(1 << 62)) else None,
        ),
        views=views,
        providers=PROVIDERS.values(),
        made=made,
        made_label=label_of(made.provider) if made else "",
        made_address=request.build_absolute_uri(hook_path(made)) if made else "",
        server_url=request.build_absolute_uri("/").rstrip("/"),
    )
