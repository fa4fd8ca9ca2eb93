"""Change what a project's environments may ask of the engine's host."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from runs.actions.errors import ActionError, InvalidValueError
from runs.actions.policy import change_policy
from runs.vocabulary import Role
from runs.web.access import members_project_for, signed_in
from runs.web.policy_forms import PolicyForm
from runs.web.project_settings import settings_with


@never_cache
@require_POST
def policy_change(request: HttpRequest, slug: str) -> HttpResponse:
    """Keep grants and quota; a refusal shows what was typed."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    form = PolicyForm(request.POST)
    if form.is_valid():
        try:
            change_policy(
                project_id=access.project.pk,
                grants=form.cleaned_data["grants"],
                quota=form.quota(),
                by=signed_in(request),
            )
        except ActionError as error:
            form.add_error(error.field if isinstance(error, InvalidValueError) else "grants", str(error))
        else:
            messages.success(request, "Saved. Environments that start from now on go by it.")
            return redirect(f"{reverse('settings', args=[slug])}#policy")
    return settings_with(request, access, policy=form)
