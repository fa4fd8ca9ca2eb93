"""Channels: the section of the settings in which administrators make, change, try, pause and remove them."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from runs.actions.channels import (
    add_channel,
    change_channel,
    pause_channel,
    remove_channel,
    resume_channel,
    try_channel,
)
from runs.actions.errors import ActionError
from runs.models import Channel
from runs.vocabulary import Role
from runs.web.access import Access, members_project_for, signed_in
from runs.web.channel_forms import ChannelChangeForm, ChannelForm
from runs.web.once import keep_for_once
from runs.web.project_settings import add_refusal, back_to, settings_with


@never_cache
@require_POST
def channel_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a channel; a webhook's own secret is shown once, by the page that this leads to."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    form = ChannelForm.of(request.POST)
    if not form.is_valid():
        return settings_with(request, access, channel=form)
    values = form.cleaned_data
    try:
        channel = add_channel(project=access.project, by=signed_in(request), **values)
    except ActionError as error:
        add_refusal(form, error, otherwise="kind")
        return settings_with(request, access, channel=form)
    if channel.kind == "webhook" and not values["secret"]:
        keep_for_once(request, "channel", access.project.pk, secret=channel.secret, id=channel.pk)
    else:
        messages.success(request, "The channel is made. Send a test message to see that it works.")
    return back_to(slug, "channels")


@never_cache
@require_POST
def channel_change(request: HttpRequest, slug: str, channel_id: int) -> HttpResponse:
    """Give a channel other values; a refusal shows what was typed, secrets aside."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    channel = _own(access, channel_id)
    form = ChannelChangeForm.of(channel, request.POST)
    if form.is_valid():
        try:
            if change_channel(channel=channel, by=signed_in(request), **form.cleaned_data):
                messages.success(request, "Saved. What is sent from now on goes by it.")
        except ActionError as error:
            add_refusal(form, error, otherwise="address")
        else:
            return back_to(slug, "channels")
    return settings_with(request, access, channel=form)


@require_POST
def channel_test(request: HttpRequest, slug: str, channel_id: int) -> HttpResponse:
    """Send a test message; its delivery says what came of it."""
    channel = _channel(request, slug, channel_id)
    return redirect("delivery", slug, try_channel(channel=channel, by=signed_in(request)).pk)


@require_POST
def channel_pause(request: HttpRequest, slug: str, channel_id: int) -> HttpResponse:
    """Let a channel be silent."""
    pause_channel(channel=_channel(request, slug, channel_id), by=signed_in(request))
    return back_to(slug, "channels")


@require_POST
def channel_resume(request: HttpRequest, slug: str, channel_id: int) -> HttpResponse:
    """Let a channel speak again."""
    resume_channel(channel=_channel(request, slug, channel_id), by=signed_in(request))
    return back_to(slug, "channels")


@require_POST
def channel_remove(request: HttpRequest, slug: str, channel_id: int) -> HttpResponse:
    """Forget a channel and its secret."""
    remove_channel(channel=_channel(request, slug, channel_id), by=signed_in(request))
    messages.success(request, "The channel is removed, and its secret forgotten.")
    return back_to(slug, "channels")


def _channel(request: HttpRequest, slug: str, channel_id: int) -> Channel:
    return _own(members_project_for(request, slug, needs=Role.ADMIN), channel_id)


def _own(access: Access, channel_id: int) -> Channel:
    channel = Channel.objects.filter(project=access.project, pk=channel_id).first()
    if channel is None:
        raise Http404
    channel.project = access.project
    return channel
