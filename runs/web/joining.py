"""Joining a project by an invitation's link."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.forms import UserCreationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from runs.actions.errors import ActionError, InvalidValueError
from runs.actions.invitations import accept_invitation, join_with_new_account, what_to_do
from runs.actions.tokens import digest_of
from runs.models import Invitation, User
from runs.queries.invitations import invitation_of, invitation_of_digest, state_of
from runs.vocabulary import Role
from runs.web.access import person
from runs.web.wall import WALL

_KEY: Final = "invitation"
_MAY: Final = {
    Role.VIEWER: "You will be able to read its runs, tests and suites.",
    Role.MEMBER: "You will be able to read it, run its suites and quarantine tests.",
    Role.ADMIN: "You will administer it: its settings, tokens and members, too.",
}


class NewAccountForm(UserCreationForm[User]):
    """The account of someone who was invited."""

    class Meta:
        """A name to sign in with; the address is for messages."""

        model = User
        fields = ("username", "email")
        labels = {"username": "User name", "email": "E-mail"}  # noqa: RUF012 - Django's form


@never_cache
@require_GET
def link(request: HttpRequest, secret: str) -> HttpResponse:
    """An invitation's link: remembered in the session, so that its secret is in no other address."""
    invitation = invitation_of_digest(digest_of(secret))
    if invitation is not None:
        request.session[_KEY] = invitation.pk
    else:  # and no session is made for whoever tries links
        request.session.pop(_KEY, None)
    return redirect("join")


@never_cache
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest) -> HttpResponse:
    """Who invites to what; joining is a POST, so that a link that is only looked at is not used up."""
    invitation = invitation_of(invitation_in(request))
    if invitation is None:
        return _page(request, None)
    user = person(request)
    if user is not None and invitation.accepted_by_id == user.pk:
        return _in(request, invitation)
    problem = what_to_do(state_of(invitation, timezone.now()))
    if problem or request.method == "GET":
        return _page(request, invitation, problem=problem)
    return _join_as(request, invitation, user) if user else _join_anew(request, invitation)


def invitation_in(request: HttpRequest) -> int:
    """The id of the invitation that this browser opened last; 0 for none."""
    known: int = request.session.get(_KEY, 0)
    return known


def _join_as(request: HttpRequest, invitation: Invitation, user: User) -> HttpResponse:
    try:
        accept_invitation(invitation_id=invitation.pk, by=user)
    except ActionError as error:
        return _page(request, invitation, problem=str(error))
    return _in(request, invitation)


def _join_anew(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    form = NewAccountForm(request.POST)
    if form.is_valid():
        values = form.cleaned_data
        try:
            user = join_with_new_account(
                invitation_id=invitation.pk,
                username=values["username"],
                password=values["password1"],
                email=values["email"],
            )
        except InvalidValueError as error:
            form.add_error(error.field, str(error))
        except ActionError as error:
            return _page(request, invitation, problem=str(error))
        else:
            login(request, user)
            return _in(request, invitation)
    return _page(request, invitation, form=form)


def _in(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    request.session.pop(_KEY, None)
    return redirect("overview", invitation.project.slug)


def _page(
    request: HttpRequest,
    invitation: Invitation | None,
    *,
    problem: str = "",
    form: NewAccountForm | None = None,
) -> HttpResponse:
    is_open = invitation is not None and not problem
    status = (422 if form else 200) if is_open else 410 if invitation else 404
    context = {
        "invitation": invitation,
        "problem": problem,
        "form": form or NewAccountForm(initial={"email": invitation.email if invitation else ""}),
        "may": _MAY[Role(invitation.role)] if invitation else "",
        "providers": settings.SIGN_IN_PROVIDERS,
        "wall": WALL,
    }
    return render(request, "accounts/join.html", context, status=status)
