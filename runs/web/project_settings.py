"""A project's settings: general, tokens, members."""

from __future__ import annotations

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError, InvalidValueError
from runs.actions.invitations import NewInvitation
from runs.actions.members import add_member, change_role, remove_member
from runs.actions.projects import update_project
from runs.actions.tokens import NewToken, create_token, revoke_token
from runs.models import Invitation, Membership, Token
from runs.queries.project_settings import project_settings
from runs.vocabulary import Role, Scope, Visibility
from runs.web.access import Access, members_project_for, signed_in
from runs.web.channel_forms import ChannelChangeForm, ChannelForm, channel_section
from runs.web.forms import (
    EXPIRIES,
    ROLES,
    SCOPES,
    VISIBILITIES,
    InvitationForm,
    MemberForm,
    ProjectSettingsForm,
    RoleForm,
    TokenForm,
    settings_form,
)
from runs.web.once import keep_for_once, taken_once
from runs.web.pages import project_page
from runs.web.policy_forms import PolicyForm, policy_section
from runs.web.refusals import refusals_told


@never_cache
@require_GET
def settings_page(request: HttpRequest, slug: str) -> HttpResponse:
    """What the project is, its tokens and its members; administrators change them here."""
    return settings_with(request, members_project_for(request, slug))


@never_cache
@require_POST
def settings_change(request: HttpRequest, slug: str) -> HttpResponse:
    """Keep the section General; a refusal shows what was typed."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    form = ProjectSettingsForm(request.POST)
    if form.is_valid():
        values = form.cleaned_data
        try:
            update_project(
                project_id=access.project.pk,
                name=values["name"],
                repository_url=values["repository_url"],
                default_branch=values["default_branch"],
                visibility=Visibility(values["visibility"]),
                allow_local_engine=values["allow_local_engine"],
                variables=values["variables"],
                by=signed_in(request),
            )
        except ActionError as error:
            add_refusal(form, error, otherwise="allow_local_engine")
        else:
            messages.success(request, "Saved. Runs that start from now on go by it.")
            return redirect("settings", slug)
    return settings_with(request, access, general=form)


@never_cache
@require_POST
def token_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a token; the page that this leads to shows its secret, once."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    form = TokenForm(request.POST)
    if not form.is_valid():
        return settings_with(request, access, token=form)
    made = create_token(
        project=access.project,
        scopes=[Scope(scope) for scope in form.cleaned_data["scopes"]],
        name=form.cleaned_data["name"],
        expires_at=form.expires_at(timezone.now()),
        by=signed_in(request),
    )
    keep_for_once(request, "token", access.project.pk, secret=made.secret, id=made.token.pk)
    return redirect("settings", slug)


@require_POST
def token_revoke(request: HttpRequest, slug: str, token_id: int) -> HttpResponse:
    """End a token's right for good."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    token = Token.objects.filter(project=access.project, pk=token_id).first()
    if token is None:
        raise Http404
    if revoke_token(token_id=token.pk, by=signed_in(request)):
        messages.success(request, "The token is revoked. Whatever uses it is refused from now on.")
    return back_to(slug, "tokens")


@never_cache
@require_POST
def member_add(request: HttpRequest, slug: str) -> HttpResponse:
    """Let someone who has an account in."""
    access = members_project_for(request, slug, needs=Role.ADMIN)
    form = MemberForm(request.POST)
    if form.is_valid():
        values = form.cleaned_data
        try:
            add_member(
                project_id=access.project.pk,
                username=values["username"],
                role=Role(values["role"]),
                by=signed_in(request),
            )
        except ActionError as error:
            add_refusal(form, error, otherwise="username")
        else:
            return back_to(slug, "members")
    return settings_with(request, access, member=form)


@require_POST
def member_role(request: HttpRequest, slug: str, member_id: int) -> HttpResponse:
    """Give a member another role."""
    member = _member(members_project_for(request, slug, needs=Role.ADMIN), member_id)
    form = RoleForm(request.POST)
    with refusals_told(request):
        if form.is_valid():
            change_role(member_id=member.pk, role=Role(form.cleaned_data["role"]), by=signed_in(request))
        else:
            messages.error(request, "There is no such role. Nothing was changed.")
    return back_to(slug, "members")


@require_POST
def member_remove(request: HttpRequest, slug: str, member_id: int) -> HttpResponse:
    """End a membership; who removes themselves is led home."""
    member = _member(members_project_for(request, slug, needs=Role.ADMIN), member_id)
    user = signed_in(request)
    with refusals_told(request):
        remove_member(member_id=member.pk, by=user)
        if member.user_id == user.pk and not user.is_superuser:
            return redirect("home")
    return back_to(slug, "members")


def _member(access: Access, member_id: int) -> Membership:
    member = Membership.objects.filter(project=access.project, pk=member_id).first()
    if member is None:
        raise Http404
    return member


def back_to(slug: str, section: str) -> HttpResponse:
    """To the section that was changed."""
    return redirect(f"{reverse('settings', args=[slug])}#{section}")


def add_refusal(form: Form, error: ActionError, *, otherwise: str) -> None:
    """Say at a field why the action refused: at the one that it named, if the form has it."""
    named = error.field if isinstance(error, InvalidValueError) else ""
    form.add_error(named if named in form.fields else otherwise, str(error))


def settings_with(
    request: HttpRequest,
    access: Access,
    *,
    general: ProjectSettingsForm | None = None,
    token: TokenForm | None = None,
    member: MemberForm | None = None,
    invitation: InvitationForm | None = None,
    channel: ChannelForm | ChannelChangeForm | None = None,
    policy: PolicyForm | None = None,
) -> HttpResponse:
    """The page, with the form that was refused when there is one."""
    refused = general or token or member or invitation or channel or policy
    return project_page(
        request,
        "projects/settings.html",
        access,
        nav="settings",
        status=422 if refused else 200,
        refused=refused is not None,
        general=general or settings_form(access.project),
        token=token or TokenForm(initial={"scopes": [Scope.UPLOAD], "expires": "90"}),
        member=member or MemberForm(initial={"role": Role.MEMBER}),
        invitation=invitation or InvitationForm(initial={"role": Role.MEMBER}),
        made=_made_token(request, access),
        invited=_made_invitation(request, access),
        page=project_settings(access.project, now=timezone.now()),
        scopes=SCOPES,
        expiries=EXPIRIES,
        roles=ROLES,
        visibilities=VISIBILITIES,
        upload_url=request.build_absolute_uri(f"/api/v1/projects/{access.project.slug}/uploads"),
        server_url=request.build_absolute_uri("/").rstrip("/"),
        **channel_section(request, access.project, channel),
        **policy_section(access.project, policy),
    )


def _made_token(request: HttpRequest, access: Access) -> NewToken | None:
    """The token that was made just now, with its secret: this once."""
    kept = taken_once(request, "token", access.project.pk)
    token = Token.objects.filter(project=access.project, pk=kept["id"]).first() if kept else None
    return NewToken(token, str(kept["secret"])) if token else None


def _made_invitation(request: HttpRequest, access: Access) -> NewInvitation | None:
    """The invitation that was made just now, with the secret of its link: this once."""
    kept = taken_once(request, "invitation", access.project.pk)
    found = Invitation.objects.filter(project=access.project, pk=kept["id"]).first() if kept else None
    return NewInvitation(found, str(kept["secret"])) if found else None
