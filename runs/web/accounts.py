"""Signing in and out, the first account, and the colour theme."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions.people import create_first_account
from runs.actions.sign_ins import begin_attempt, client_address, forgive_attempt, sign_in_limits
from runs.models import User
from runs.web.wall import WALL

THEMES = ("light", "dark")
_NAME_LIMIT = 150
_TOO_MANY = 429


class SignInForm(AuthenticationForm):
    """User name and password, with an error that says what happens next."""

    error_messages = {  # noqa: RUF012 - Django's form
        "invalid_login": "No account with that user name and password.",
        "inactive": "This account is switched off. Ask an administrator to switch it on.",
    }


class SignIn(LoginView):
    """The sign-in page; on a new installation it leads to making the first account."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - Django's signature
        """Add the wall, and the other ways in."""
        return super().get_context_data(wall=WALL, providers=settings.SIGN_IN_PROVIDERS, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401 - Django's signature
        """Show the form, or the first account's."""
        if not User.objects.exists():
            return redirect("first-account")
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401, ARG002 - Django's signature
        """Judge a password, unless too many were wrong lately."""
        name = request.POST.get("username", "")[:_NAME_LIMIT]
        if not (name and request.POST.get("password")):
            return self.form_invalid(self.get_form())
        limits = sign_in_limits(name, client_address(request.META))
        attempt = begin_attempt(limits)
        if attempt.again_at is not None:
            return self._wait(attempt.again_at)
        form = self.get_form()
        if form.is_valid():
            forgive_attempt(attempt, limits)
            return self.form_valid(form)
        return self.render_to_response(self.get_context_data(form=form, tries_left=attempt.left))

    def _wait(self, again_at: datetime) -> HttpResponse:
        """429: the password is not even looked at."""
        seconds = max(1, ceil((again_at - datetime.now(tz=UTC)).total_seconds()))
        form = SignInForm(self.request, initial={"username": self.request.POST["username"][:_NAME_LIMIT]})
        context = self.get_context_data(form=form, again_at=again_at, wait_minutes=ceil(seconds / 60))
        response = self.render_to_response(context, status=_TOO_MANY)
        response["Retry-After"] = str(seconds)
        return response


sign_in = SignIn.as_view()
sign_out = LogoutView.as_view()


class FirstAccountForm(UserCreationForm[User]):
    """The administrator of a new installation."""

    class Meta:
        """Two fields beside the passwords are enough to begin with."""

        model = User
        fields = ("username", "email")
        labels = {"username": "User name", "email": "E-mail"}  # noqa: RUF012 - Django's form

    def __init__(self, data: Any = None) -> None:  # noqa: ANN401 - a query dict or nothing
        super().__init__(data)
        self.fields["email"].required = True


@require_http_methods(["GET", "POST"])
def first_account(request: HttpRequest) -> HttpResponse:
    """Make the first account; there is no such page once any account exists."""
    if User.objects.exists():
        raise Http404
    form = FirstAccountForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        user = create_first_account(
            username=form.cleaned_data["username"],
            email=form.cleaned_data["email"],
            password=form.cleaned_data["password1"],
        )
        if user is None:
            raise Http404
        login(request, user)
        return redirect("home")
    return render(request, "accounts/first_account.html", {"form": form, "wall": WALL})


class ThemeForm(forms.Form):
    """A colour theme and the page to go back to."""

    theme = forms.ChoiceField(choices=[(theme, theme) for theme in THEMES])
    next = forms.CharField(required=False)


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen theme in a cookie; with script the page has changed already."""
    form = ThemeForm(request.POST)
    if not form.is_valid():
        return HttpResponse(status=400)
    back = form.cleaned_data["next"]
    is_ours = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()})
    if not is_ours or not back.startswith("/"):  # anything else could be the name of a view
        back = "home"
    response = redirect(back)
    response.set_cookie(
        "theme",
        form.cleaned_data["theme"],
        max_age=365 * 24 * 3600,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
    return response
