"""Signing in with accounts of other servers: real OpenID Connect, and what GitHub and GitLab speak."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from allauth.socialaccount.models import SocialAccount
from playwright.sync_api import Page, expect

from runs.actions.invitations import create_invitation
from runs.models import Invitation, Membership, User
from runs.vocabulary import Role
from tests.browser.conftest import PASSWORD, SignIn
from tests.factories import make_project, make_user
from tests.sign_in_servers import Person, Servers

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

GITHUB_ADA = Person(
    {"id": 7, "login": "ada", "name": "Ada Lovelace", "email": None},
    [
        {"email": "ada@home.example", "primary": False, "verified": True},
        {"email": "ada@shop.example", "primary": True, "verified": True},
    ],
)
GITLAB_ADA = Person(
    {
        "id": 7,
        "username": "ada",
        "name": "Ada Lovelace",
        "email": "ada@shop.example",
        "confirmed_at": "2026-01-01",
    }
)


class Browser:
    """What a browser does, without drawing anything."""

    def __init__(self, site: str) -> None:
        self.client = httpx.Client(base_url=site, follow_redirects=True, timeout=20)

    def post(self, address: str, **values: str) -> httpx.Response:
        page = self.client.get("/sign-in/")
        if "csrfmiddlewaretoken" not in page.text:
            page = self.client.get("/account/")
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        return self.client.post(address, data=values | {"csrfmiddlewaretoken": token})

    def go_with(self, provider: str, **values: str) -> httpx.Response:
        """Press the provider's button and follow to wherever it ends."""
        page = self.post(f"/sign-in/with/{provider}/", **values)
        onward = html.unescape(re.findall(r'href="(http[^"]+)" rel="noreferrer"', page.text)[0])
        assert page.headers["Refresh"] == f"0; url={onward}"
        return self.client.get(onward)

    def go_with_oidc(self, subject: str, **values: str) -> httpx.Response:
        """The same, saying at the provider who one is."""
        form = self.go_with("sso", **values)
        return self.client.post(form.url, data={"sub": subject})


type Another = Callable[[], Browser]


@pytest.fixture
def another(site: str) -> Iterator[Another]:
    """Makes browsers that know nothing of each other."""
    make_user("root", is_superuser=True)
    with ExitStack() as opened:

        def make() -> Browser:
            made = Browser(site)
            opened.enter_context(made.client)
            return made

        yield make


@pytest.fixture
def visitor(another: Another) -> Browser:
    return another()


def test_somebody_of_a_domain_that_is_let_in_makes_an_account_with_openid_connect(
    another: Another, visitor: Browser, providers: Servers
) -> None:
    providers.tell_oidc(
        "s-1", email="ada@shop.example", email_verified=True, name="Ada L", preferred_username="ada"
    )

    end = visitor.go_with_oidc("s-1")

    assert end.status_code == 200
    ada = User.objects.get(username="ada")
    assert (ada.email, ada.is_superuser, ada.has_usable_password()) == ("ada@shop.example", False, False)
    assert "Signed in as ada" in visitor.client.get("/account/").text.replace("<bdi>", "").replace(
        "</bdi>", ""
    )
    # And the next time it is the same account.
    again = another()
    again.go_with_oidc("s-1")
    assert User.objects.count() == 2


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "eve@shop.example", "email_verified": False},
        {"email": "eve@shop.example"},
        {"email": "eve@shop.example", "email_verified": "false"},
        {"email": "eve@elsewhere.example", "email_verified": True},
        {"email": "eve@notshop.example", "email_verified": True},
        {},
    ],
    ids=str,
)
def test_a_stranger_makes_no_account(visitor: Browser, providers: Servers, claims: dict[str, object]) -> None:
    providers.tell_oidc("s-eve", preferred_username="eve", **claims)

    end = visitor.go_with_oidc("s-eve")

    assert end.url.path == "/sign-in/"
    assert "Ask an administrator of your project for an invitation" in end.text
    assert User.objects.count() == 1
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("is_verified", [True, False])
def test_an_address_takes_over_nobody(visitor: Browser, providers: Servers, is_verified: bool) -> None:
    make_user("ada", email="Ada@shop.example")
    providers.tell_oidc("s-2", email="ada@shop.example", email_verified=is_verified)

    end = visitor.go_with_oidc("s-2")

    assert end.url.path == "/sign-in/"
    assert ("has the e-mail address" in end.text) is is_verified
    assert visitor.client.get("/account/").url.path == "/sign-in/"
    assert User.objects.count() == 2
    assert not SocialAccount.objects.exists()


def test_an_address_that_an_account_came_with_is_not_given_to_another(
    another: Another, visitor: Browser, providers: Servers
) -> None:
    """Also after its owner wrote down another one."""
    providers.tell_oidc("s-3", email="ada@shop.example", email_verified=True, preferred_username="ada")
    visitor.go_with_oidc("s-3")
    User.objects.filter(username="ada").update(email="ada@home.example")
    providers.tell_oidc("s-4", email="ADA@shop.example", email_verified=True, preferred_username="eve")

    end = another().go_with_oidc("s-4")

    assert (end.status_code, end.url.path) == (200, "/sign-in/")
    assert "has the e-mail address" in end.text
    assert SocialAccount.objects.count() == 1


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_somebody_makes_an_account_with_github_and_gitlab(
    visitor: Browser, providers: Servers, provider: str
) -> None:
    providers.person = GITHUB_ADA if provider == "github" else GITLAB_ADA

    visitor.go_with(provider)

    ada = User.objects.get(username="ada")
    assert ada.get_full_name() == "Ada Lovelace"
    assert ada.email.startswith("ada@")
    account = SocialAccount.objects.get(user=ada)
    assert (account.provider, account.extra_data) == (provider, {"name": "ada"})
    assert account.uid.endswith(":7")


def test_an_unconfirmed_address_at_gitlab_lets_nobody_in(visitor: Browser, providers: Servers) -> None:
    providers.person = Person(GITLAB_ADA.user | {"confirmed_at": None})

    assert visitor.go_with("gitlab").url.path == "/sign-in/"
    assert User.objects.count() == 1


def test_an_unverified_address_at_github_lets_nobody_in(visitor: Browser, providers: Servers) -> None:
    unverified = [{"email": "ada@shop.example", "primary": True, "verified": False}]
    providers.person = Person(GITHUB_ADA.user, unverified)

    assert visitor.go_with("github").url.path == "/sign-in/"
    assert User.objects.count() == 1


def test_the_same_number_at_two_servers_is_two_people(visitor: Browser, providers: Servers) -> None:
    make_user("bo")
    SocialAccount.objects.create(
        user=User.objects.get(username="bo"), provider="gitlab", uid="000000000000:7"
    )
    providers.person = GITLAB_ADA

    visitor.go_with("gitlab")

    assert SocialAccount.objects.filter(provider="gitlab").count() == 2
    assert "ada" in visitor.client.get("/account/").text


def test_an_invitation_lets_somebody_in_whom_nobody_knows_and_is_used_up(
    another: Another, visitor: Browser, providers: Servers
) -> None:
    project = make_project("shop")
    link = f"/join/{create_invitation(project=project, role=Role.MEMBER).secret}/"
    providers.person = Person({"id": 9, "login": "cy", "name": "Cy", "email": None})
    assert "Continue with GitHub" in visitor.client.get(link).text

    end = visitor.go_with("github", next="/join/")

    assert end.url.path.startswith("/p/shop/")
    assert Membership.objects.get().user.username == "cy"
    assert Invitation.objects.get().accepted_by == User.objects.get(username="cy")
    # The same link lets no second account in.
    other = another()
    other.client.get(link)
    providers.person = Person({"id": 10, "login": "eve", "name": "Eve", "email": None})
    assert other.go_with("github", next="/join/").url.path == "/sign-in/"
    assert not User.objects.filter(username="eve").exists()


def test_an_account_is_connected_and_disconnected_on_its_page(
    another: Another, visitor: Browser, providers: Servers
) -> None:
    make_user("ada", email="ada@shop.example")
    visitor.post("/sign-in/", username="ada", password=PASSWORD)
    providers.person = GITHUB_ADA

    page = visitor.go_with("github", next="/account/")

    assert page.url.path == "/account/"
    assert "You can sign in with GitHub from now on." in page.text
    fresh = another()
    fresh.go_with("github")
    assert fresh.client.get("/account/").status_code == 200
    connected = SocialAccount.objects.get()
    assert connected.user.username == "ada"
    visitor.post(f"/account/providers/{connected.pk}/disconnect/")
    assert not SocialAccount.objects.exists()


def test_who_belongs_to_another_account_is_not_taken_from_it(
    another: Another, visitor: Browser, providers: Servers
) -> None:
    providers.person = GITHUB_ADA
    visitor.go_with("github")
    make_user("eve")
    other = another()
    other.post("/sign-in/", username="eve", password=PASSWORD)

    page = other.go_with("github", next="/account/")

    assert "belongs to somebody else" in page.text
    assert SocialAccount.objects.get().user.username == "ada"


def test_an_account_that_is_switched_off_stays_so(
    another: Another, visitor: Browser, providers: Servers
) -> None:
    providers.person = GITHUB_ADA
    visitor.go_with("github")
    User.objects.filter(username="ada").update(is_active=False)

    end = another().go_with("github")

    assert end.url.path == "/sign-in/"
    assert "switched off" in end.text


def test_who_says_no_at_the_provider_is_told_so(visitor: Browser, providers: Servers) -> None:
    providers.person = None

    end = visitor.go_with("github")

    assert end.url.path == "/sign-in/"
    assert "Signing in with GitHub was cancelled." in end.text


def test_a_callback_that_nobody_began_signs_nobody_in(visitor: Browser) -> None:
    for provider in ("github", "gitlab", "sso"):
        end = visitor.client.get(f"/sign-in/with/{provider}/callback/?code=x&state=y")

        assert end.url.path == "/sign-in/"
        assert "did not work" in end.text


def test_there_is_no_button_and_no_address_for_a_provider_that_is_not_configured(visitor: Browser) -> None:
    assert visitor.post("/sign-in/with/myspace/").status_code == 404
    assert visitor.client.get("/sign-in/with/myspace/callback/").status_code == 404
    assert visitor.client.get("/sign-in/with/github/").status_code == 405


def test_the_way_back_leads_only_to_this_site(visitor: Browser, providers: Servers) -> None:
    providers.person = GITHUB_ADA

    end = visitor.go_with("github", next="https://evil.example/")

    assert end.url.host == "127.0.0.1"


def test_in_a_browser_the_content_policy_lets_people_go_to_a_provider_and_come_back(
    page: Page, providers: Servers
) -> None:
    make_user("root", is_superuser=True)
    providers.tell_oidc("s-3", email="bo@shop.example", email_verified=True, preferred_username="bo")
    page.goto("/sign-in/")
    page.get_by_role("button", name="Continue with Shop SSO").press("Enter")
    page.wait_for_url(lambda url: url.startswith(providers.oidc))
    page.locator("input[name=sub]").fill("s-3")
    page.locator("input[name=sub]").press("Enter")
    page.wait_for_url(lambda url: not url.startswith(providers.oidc) and "/sign-in" not in url)

    page.goto("/account/")
    expect(page.locator("#main").get_by_text("Signed in as bo")).to_be_visible()


def test_in_a_browser_an_invited_person_joins_through_github(
    page: Page, providers: Servers, sign_in: SignIn
) -> None:
    project = make_project("shop", name="Shop")
    make_user("root", is_superuser=True)
    secret = create_invitation(project=project, role=Role.ADMIN).secret
    providers.person = Person({"id": 11, "login": "dee", "name": "Dee", "email": None})
    page.goto(f"/join/{secret}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Join Shop")

    page.get_by_role("button", name="Continue with GitHub").click()
    page.wait_for_url("**/p/shop/**")

    assert secret not in page.url
    assert Membership.objects.get().role == Role.ADMIN
