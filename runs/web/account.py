"""One's own account: name, password, connected providers, preferences, sessions."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, password_validation, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from runs.actions.people import change_password, change_profile, end_sessions, switch_shortcuts
from runs.actions.sign_ins import begin_attempt, client_address, forgive_attempt, sign_in_limits
from runs.models import User
from runs.web.access import signed_in

_LIMIT = 150


class ProfileForm(forms.Form):
    """How a person is called and reached."""

    first_name = forms.CharField(max_length=_LIMIT, required=False)
    last_name = forms.CharField(max_length=_LIMIT, required=False)
    email = forms.EmailField(max_length=254, required=False)

    def clean(self) -> dict[str, str]:
        """One line each that can be read."""
        values: dict[str, str] = super().clean() or {}
        for name in ("first_name", "last_name"):
            if not values.get(name, "").isprintable():
                self.add_error(name, "Use printable characters.")
        return values


class PasswordForm(forms.Form):
    """Another password; who has one shows that they know it."""

    current = forms.CharField(strip=False, max_length=1000, required=False)
    password = forms.CharField(strip=False, max_length=1000)

    def __init__(self, user: User, data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]  # a query dict or nothing
        self.user = user

    def clean_current(self) -> str:
        """Whoever finds an open browser does not know it."""
        current: str = self.cleaned_data["current"]
        if self.user.has_usable_password() and not self.user.check_password(current):
            message = "That is not your password. Nothing was changed."
            raise forms.ValidationError(message)
        return current

    def clean_password(self) -> str:
        """Long enough, and not a common one."""
        password: str = self.cleaned_data["password"]
        password_validation.validate_password(password, self.user)
        return password


@never_cache
@login_required
@require_GET
def account(request: HttpRequest) -> HttpResponse:
    """The page."""
    return _page(request)


@never_cache
@login_required
@require_POST
def profile_change(request: HttpRequest) -> HttpResponse:
    """Keep name and e-mail address."""
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return _page(request, profile=form)
    values = form.cleaned_data
    change_profile(
        user=signed_in(request),
        first_name=values["first_name"],
        last_name=values["last_name"],
        email=values["email"],
    )
    messages.success(request, "Saved.")
    return redirect("account")


@never_cache
@login_required
@require_POST
def password_change(request: HttpRequest) -> HttpResponse:
    """Set another password; other browsers are signed out by it."""
    user = signed_in(request)
    form = PasswordForm(user, request.POST)
    # Whoever finds an open browser may guess here as little as on the sign-in page.
    limits = sign_in_limits(user.username, client_address(request.META))
    attempt = begin_attempt(limits)
    if attempt.again_at is not None:
        messages.error(request, f"Too many attempts failed. Try again at {attempt.again_at:%H:%M} UTC.")
        return redirect("account")
    is_right = form.is_valid()
    if "current" not in form.errors:
        forgive_attempt(attempt, limits)
    if not is_right:
        return _page(request, password=form)
    change_password(user=user, password=form.cleaned_data["password"])
    update_session_auth_hash(request, user)
    messages.success(request, "The password is changed. Other browsers have to sign in again.")
    return redirect("account")


@login_required
@require_POST
def preferences_change(request: HttpRequest) -> HttpResponse:
    """Turn single-key shortcuts on or off."""
    switch_shortcuts(user=signed_in(request), has_shortcuts="has_shortcuts" in request.POST)
    messages.success(request, "Saved.")
    return redirect("account")


@login_required
@require_POST
def provider_disconnect(request: HttpRequest, account_id: int) -> HttpResponse:
    """Let a connected account open this one no more."""
    user = signed_in(request)
    connected = SocialAccount.objects.filter(user=user)
    one = connected.filter(pk=account_id).first()
    if one is not None and connected.count() == 1 and not user.has_usable_password():
        messages.error(request, "It is your only way in. Set a password first.")
    elif one is not None:
        one.delete()
        messages.success(request, "Disconnected.")
    return redirect("account")


@login_required
@require_POST
def sessions_end(request: HttpRequest) -> HttpResponse:
    """Sign out everywhere but here."""
    user = signed_in(request)
    end_sessions(user=user)
    # The session that asked goes on, under another key.
    login(request, user)
    messages.success(request, "Every other browser is signed out.")
    return redirect("account")


def _page(
    request: HttpRequest, *, profile: ProfileForm | None = None, password: PasswordForm | None = None
) -> HttpResponse:
    user = signed_in(request)
    known = {"first_name": user.first_name, "last_name": user.last_name, "email": user.email}
    refused: Form | None = profile or password
    connected = list(SocialAccount.objects.filter(user=user).order_by("pk"))
    context = {
        "profile": profile or ProfileForm(initial=known),
        "password": password or PasswordForm(user),
        "refused": refused is not None,
        "connected": [(one, settings.SIGN_IN_PROVIDERS.get(one.provider, one.provider)) for one in connected],
        "to_connect": {
            word: name
            for word, name in settings.SIGN_IN_PROVIDERS.items()
            if word not in {one.provider for one in connected}
        },
        "is_only_way_in": len(connected) == 1 and not user.has_usable_password(),
        "has_password": user.has_usable_password(),
    }
    return render(request, "accounts/account.html", context, status=422 if refused else 200)
