"""Signing in with an account of another server: OpenID Connect, GitHub, GitLab, through django-allauth.

allauth speaks to the providers; who may come in is decided here. A person is found by the id that the
provider has for them, never by an e-mail address: whoever can make one up at a provider takes over nobody.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthError, AuthProcess
from allauth.socialaccount.providers.github.views import oauth2_callback as github_callback
from allauth.socialaccount.providers.gitlab.views import oauth2_callback as gitlab_callback
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import callback as openid_connect_callback
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from runs.actions.errors import ActionError
from runs.actions.invitations import accept_invitation
from runs.models import User
from runs.queries.invitations import InvitationState, invitation_of, state_of
from runs.queries.text import one_line
from runs.web.access import person
from runs.web.joining import invitation_in

if TYPE_CHECKING:
    from allauth.socialaccount.models import SocialAccount, SocialLogin

logger = logging.getLogger(__name__)

_CALLBACKS: Final[Mapping[str, Callable[[HttpRequest], HttpResponse]]] = {
    "github": github_callback,
    "gitlab": gitlab_callback,
}
_OIDC_CALLBACK: Final[Callable[[HttpRequest, str], HttpResponse]] = openid_connect_callback
_NAME_LIMIT: Final = 150


@never_cache
@require_POST
def begin(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send a browser to a provider, to sign in there or, for someone signed in, to connect that account.

    By a page that leads on at once, and not by a redirect: browsers hold a form's redirects to the content
    policy's `form-action`, and where a provider redirects to in turn nobody can list.
    """
    name = _name_of(provider_id)
    onward = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(onward, allowed_hosts={request.get_host()}):
        onward = ""
    connects = person(request) is not None
    provider = ProviderAdapter(request).get_provider(request, provider_id)
    try:
        answer = provider.redirect(
            request,
            process=AuthProcess.CONNECT if connects else AuthProcess.LOGIN,
            next_url=onward or reverse("account" if connects else "home"),
        )
    except (OSError, OAuth2Error, KeyError, ValueError):
        logger.exception("Sign-in with %s could not begin.", provider_id)
        return _back(request, f"{name} does not answer. Try again in a moment, or sign in with a password.")
    if "Location" not in answer:
        unable: HttpResponse = answer
        return unable
    page = render(request, "accounts/onward.html", {"name": name, "address": answer["Location"]})
    page["Refresh"] = f"0; url={answer['Location']}"
    return page


@never_cache
@require_GET
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Where a provider sends people back to."""
    _name_of(provider_id)
    if provider_id in _CALLBACKS:
        return _CALLBACKS[provider_id](request)
    return _OIDC_CALLBACK(request, provider_id)


def _name_of(provider_id: str) -> str:
    name: str | None = settings.SIGN_IN_PROVIDERS.get(provider_id)
    if name is None:
        raise Http404
    return name


def _back(request: HttpRequest, sentence: str) -> HttpResponse:
    """To where the person came from, with what went wrong."""
    messages.error(request, sentence)
    return redirect("account" if person(request) else "sign-in")


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """What allauth does for accounts, in our words and on our pages."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - allauth's signature
        """Nobody makes an account on allauth's own pages: we have none of them."""
        return False

    def add_message(
        self,
        request: HttpRequest,
        level: int,  # noqa: ARG002 - allauth's signature
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",  # noqa: ARG002 - allauth's signature
        message: str | None = None,  # noqa: ARG002 - allauth's signature
    ) -> None:
        """Say what is worth saying: who signs in sees that they are."""
        login = (message_context or {}).get("sociallogin")
        name = settings.SIGN_IN_PROVIDERS.get(login.account.provider, "") if login else ""
        if message_template == "socialaccount/messages/account_connected.txt":
            messages.success(request, f"Connected. You can sign in with {name} from now on.")
        elif message_template == "socialaccount/messages/account_connected_other.txt":
            messages.error(
                request, f"That {name} account belongs to somebody else here. Nothing was changed."
            )

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:  # noqa: ARG002 - allauth's
        """An account that was switched off stays so, however it is reached."""
        return _back(request, "This account is switched off. Ask an administrator to switch it on.")


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Who may come in with an account of another server."""

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """Keep what the provider vouches for, and know the person by server and id.

        An id means nothing without its server: two GitLabs both have a user 1. Unverified addresses are
        dropped here, before anything looks at them.
        """
        account = sociallogin.account
        server = settings.SIGN_IN_SERVERS[account.provider].rstrip("/")
        account.uid = f"{hashlib.sha256(server.encode()).hexdigest()[:12]}:{account.uid}"
        verified = [one for one in sociallogin.email_addresses if _is_verified(account, one.verified)]
        sociallogin.email_addresses = verified
        for one in verified:
            one.verified = True
        user: User = super().populate_user(request, sociallogin, data)
        user.email = verified[0].email if verified else ""
        user.first_name, user.last_name = _plain(user.first_name), _plain(user.last_name)
        account.extra_data = {"name": _plain(str(data.get("username") or data.get("name") or user.email))}
        return user

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Stop a newcomer whose address an account here has: its owner, signed in, connects the two."""
        if sociallogin.is_existing or person(request) is not None:
            return
        name = settings.SIGN_IN_PROVIDERS[sociallogin.account.provider]
        known = [one.email for one in sociallogin.email_addresses]
        # allauth remembers the address that somebody came with, whatever their account says since.
        if any(
            User.objects.filter(email__iexact=email).exists()
            or EmailAddress.objects.filter(email__iexact=email).exists()
            for email in known
        ):
            sentence = (
                f"An account here has the e-mail address of that {name} account and is not connected to it. "
                f"Sign in to it, then connect {name} on your account page."
            )
            raise ImmediateHttpResponse(_back(request, sentence))

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """With an invitation, or a verified address of a domain that the installation lets in."""
        domains = {one.email.rpartition("@")[2].lower() for one in sociallogin.email_addresses}
        if domains & set(settings.SIGN_UP_DOMAINS) or _usable_invitation(request) is not None:
            return True
        name = settings.SIGN_IN_PROVIDERS[sociallogin.account.provider]
        sentence = (
            f"Nobody here is connected to that {name} account. Ask an administrator of your project for an "
            f"invitation; or sign in as you did so far, and connect {name} on your account page."
        )
        raise ImmediateHttpResponse(_back(request, sentence))

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:  # noqa: ANN401 - allauth's signature
        """Make the account, and use the invitation that lets it in: both or neither."""
        invitation_id = _usable_invitation(request)
        try:
            with transaction.atomic():
                user: User = super().save_user(request, sociallogin, form)
                if invitation_id is not None:
                    accept_invitation(invitation_id=invitation_id, by=user)
        except ActionError as error:
            raise ImmediateHttpResponse(_back(request, str(error))) from error
        return user

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: SocialAccount) -> str:  # noqa: ARG002 - allauth's
        """The account page shows what is connected."""
        return reverse("account")

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,  # noqa: ANN401 - allauth's signature
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002 - allauth's signature
    ) -> None:
        """Lead back to the sign-in page with a sentence; the log has the reason."""
        name = settings.SIGN_IN_PROVIDERS.get(provider.sub_id, "The provider")
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(_back(request, f"Signing in with {name} was cancelled."))
        logger.warning("Sign-in with %s failed: %s", provider.sub_id, exception or error)
        sentence = (
            f"Signing in with {name} did not work. Try again; if it stays so, the server's log says why."
        )
        raise ImmediateHttpResponse(_back(request, sentence))


def _is_verified(account: SocialAccount, said: object) -> bool:
    """Whether the provider vouches for an address. GitLab tells it of the account, others of the address."""
    if account.provider == "gitlab":
        return bool(account.extra_data.get("confirmed_at"))
    # Some servers send the word instead of the value; any other word is no.
    return said is True or said == "true"


def _usable_invitation(request: HttpRequest) -> int | None:
    invitation = invitation_of(invitation_in(request))
    is_usable = invitation is not None and state_of(invitation, timezone.now()) is InvitationState.USABLE
    return invitation.pk if invitation is not None and is_usable else None


def _plain(name: str) -> str:
    return one_line(name, _NAME_LIMIT - 50)
