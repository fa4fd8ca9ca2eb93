"""Invitations in a project's settings: made, shown once, taken back."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from runs.actions.errors import ActionError
from runs.actions.invitations import create_invitation, revoke_invitation
from runs.models import Invitation
from runs.vocabulary import Role
from runs.web.access import members_project_for, signed_in
from runs.web.forms import InvitationForm
from runs.web.once import keep_for_once
from runs.web.project_settings import add_refusal, back_to, settings_with


@never_cache
@require_POST
def invitation_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a link; the settings show it, once."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    form = InvitationForm(request.POST)
    if form.is_valid():
        values = form.cleaned_data
        try:
            made = create_invitation(
                project=access.project,
                role=Role(values["role"]),
                email=values["email"],
                by=signed_in(request),
            )
        except ActionError as error:
            add_refusal(form, error, otherwise="email")
        else:
            keep_for_once(request, "invitation", access.project.pk, secret=made.secret, id=made.invitation.pk)
            return back_to(slug, "members")
    return settings_with(request, access, invitation=form)


@require_POST
def invitation_revoke(request: HttpRequest, slug: str, invitation_id: int) -> HttpResponse:
    """Take an invitation back."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    invitation = Invitation.objects.filter(project=access.project, pk=invitation_id).first()
    if invitation is None:
        raise Http404
    if revoke_invitation(invitation_id=invitation.pk, by=signed_in(request)):
        messages.success(request, "The invitation is taken back: its link lets nobody in.")
    return back_to(slug, "members")
