"""The settings page: who sees what, what each form changes, and what it refuses."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from runs.actions.tokens import create_token, use_token
from runs.models import Membership, Project, Token, User
from runs.vocabulary import Role, Scope
from tests.factories import make_member, make_project, make_user

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\x1b[31mred\u202egnp"
FORM = {
    "name": "The shop",
    "repository_url": "https://git.example.org/shop.git",
    "default_branch": "trunk",
    "visibility": "public",
    "variables": "SHOP_REGION=eu\r\n\r\nQUERY=a=b \r\nEMPTY=",
}


@pytest.fixture
def project() -> Project:
    return make_project("shop", variables={"SHOP_REGION": "us-secret"})


@pytest.fixture
def admin(client: Client, project: Project) -> User:
    user = make_member(project, Role.ADMIN)
    client.force_login(user)
    return user


def text_of(client: Client, address: str = "/p/shop/settings/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def kept() -> dict[str, object]:
    return dict(Project.objects.values().get(slug="shop"))


@pytest.mark.usefixtures("admin")
def test_what_was_typed_is_kept(client: Client) -> None:
    answer = client.post("/p/shop/settings/general/", FORM)

    assert answer["Location"] == "/p/shop/settings/"
    values = kept()
    assert values["name"] == "The shop"
    assert values["repository_url"] == "https://git.example.org/shop.git"
    assert values["default_branch"] == "trunk"
    assert values["visibility"] == "public"
    assert values["variables"] == {"SHOP_REGION": "eu", "QUERY": "a=b ", "EMPTY": ""}
    page = client.get("/p/shop/settings/").content.decode()
    assert "EMPTY=\nQUERY=a=b \nSHOP_REGION=eu</textarea>" in page
    assert "Saved." in page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "This field is required"),
        ("name", "a\u202eb", "1 to 120 printable"),
        ("repository_url", "ext::sh -c id", "Give an absolute path"),
        ("repository_url", "--upload-pack=id", "Give an absolute path"),
        ("repository_url", "javascript:alert(1)", "Give an absolute path"),
        ("repository_url", "https:///nowhere", "Give an absolute path"),
        ("default_branch", "-x", "No branch can be called so"),
        ("default_branch", "a..b", "No branch can be called so"),
        ("default_branch", "a b", "No branch can be called so"),
        ("visibility", "secret", "Select a valid choice"),
        ("variables", "SHOP", "Line 1 is no variable"),
        ("variables", "A=1\nA=2", "Line 2 gives A a second value"),
        ("variables", "1A=1", "is no variable&#x27;s name"),
        ("variables", "A=" + "x" * 8001, "one line of at most 8000 characters"),
        ("variables", "\n".join(f"A{n}=1" for n in range(201)), "at most 200 variables"),
    ],
)
@pytest.mark.usefixtures("admin")
def test_what_cannot_be_is_refused_with_what_was_typed(
    client: Client, field: str, value: str, said: str
) -> None:
    before = kept()

    answer = client.post("/p/shop/settings/general/", FORM | {field: value})

    page = answer.content.decode()
    assert answer.status_code == 422
    assert said in page
    assert "Nothing was changed" in page
    assert 'value="trunk"' in page or field == "default_branch"
    assert kept() == before


@pytest.mark.parametrize(
    "address",
    ["", "/srv/git/my shop", "ssh://git@git.example.org/shop", "git@git.example.org:team/shop.git"],
)
@pytest.mark.usefixtures("admin")
def test_every_form_of_an_address_is_taken(client: Client, address: str) -> None:
    client.post("/p/shop/settings/general/", FORM | {"repository_url": address})

    assert kept()["repository_url"] == address


@pytest.mark.usefixtures("admin")
def test_the_local_engine_is_allowed_by_the_installations_administrator_alone(client: Client) -> None:
    before = kept()
    wanted = FORM | {"allow_local_engine": "on"}

    refused = client.post("/p/shop/settings/general/", wanted)

    assert "Only the installation&#x27;s administrator" in refused.content.decode()
    assert kept() == before
    owner = make_user(is_superuser=True)
    client.force_login(owner)
    client.post("/p/shop/settings/general/", wanted)
    assert kept()["allow_local_engine"] is True
    client.force_login(User.objects.get(memberships__role=Role.ADMIN))
    client.post("/p/shop/settings/general/", wanted | {"name": "Kept"})
    assert (kept()["name"], kept()["allow_local_engine"]) == ("Kept", True)
    client.post("/p/shop/settings/general/", FORM)
    assert kept()["allow_local_engine"] is False


def test_members_read_names_of_variables_and_no_passwords_and_change_nothing(
    client: Client, project: Project
) -> None:
    Project.objects.update(repository_url="https://bot:s3cret@git.example.org/shop.git")
    client.force_login(make_member(project, Role.MEMBER))
    before = kept()

    page = text_of(client)

    assert "SHOP_REGION" in page
    assert "us-secret" not in page
    assert "https://git.example.org/shop.git" in page
    assert "s3cret" not in page
    assert "/settings/general/" not in page
    assert "/settings/tokens/" not in page
    assert client.post("/p/shop/settings/general/", FORM).status_code == 403
    assert kept() == before


def test_the_first_page_of_a_public_project_shows_no_passwords(client: Client) -> None:
    make_project("open", visibility="public", repository_url="https://bot:s3cret@git.example.org/open.git")

    page = text_of(client, "/p/open/start/")

    assert "https://git.example.org/open.git" in page
    assert "s3cret" not in page


def test_the_settings_are_linked_for_members_alone(client: Client, project: Project) -> None:
    Project.objects.update(visibility="public")

    assert "/p/shop/settings/" not in text_of(client, "/p/shop/suites/")
    client.force_login(make_member(project, Role.VIEWER))
    assert "/p/shop/settings/" in text_of(client, "/p/shop/suites/")


def test_a_tokens_secret_is_shown_once_with_commands_that_use_it(client: Client, admin: User) -> None:
    made = client.post(
        "/p/shop/settings/tokens/",
        {"name": "Jenkins", "scopes": ["upload", "read"], "expires": "30"},
        follow=True,
    )

    page = made.content.decode()
    secret = re.findall(r"itd_[\w-]{43}", page)[0]
    assert "no-store" in made["Cache-Control"]
    assert f"Authorization: Bearer {secret}" in page
    assert f"ITDASH_TOKEN={secret}" in page
    assert "http://testserver/api/v1/projects/shop/uploads" in page
    token = use_token(secret)
    assert token is not None
    assert (token.name, token.scopes, token.created_by) == ("Jenkins", ["read", "upload"], admin)
    assert token.expires_at is not None
    assert timedelta(days=29, hours=23) < token.expires_at - timezone.now() <= timedelta(days=30)
    # Loaded again, the page shows no secret and makes no second token.
    again = text_of(client)
    assert secret not in again
    assert f"{token.prefix}…" in again
    assert Token.objects.count() == 1


@pytest.mark.usefixtures("admin")
def test_a_token_may_have_no_end(client: Client) -> None:
    client.post("/p/shop/settings/tokens/", {"name": "ci", "scopes": ["trigger"], "expires": "never"})

    assert Token.objects.get().expires_at is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scopes": []}, "Choose at least one thing"),
        ({"scopes": ["root"]}, "Select a valid choice"),
        ({"expires": "9999"}, "Select a valid choice"),
        ({"name": ""}, "This field is required"),
        ({"name": "a\u202eb"}, "Use printable characters"),
    ],
)
@pytest.mark.usefixtures("admin")
def test_a_token_that_cannot_be_is_not_made(client: Client, change: dict[str, object], said: str) -> None:
    wanted = {"name": "ci", "scopes": ["read"], "expires": "90"} | change

    answer = client.post("/p/shop/settings/tokens/", wanted)

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Token.objects.exists()


@pytest.mark.usefixtures("admin")
def test_a_revoked_token_opens_nothing_and_stays_in_the_list(client: Client, project: Project) -> None:
    made = create_token(project=project, scopes=[Scope.READ], name="Jenkins")

    client.post(f"/p/shop/settings/tokens/{made.token.pk}/revoke/")
    client.post(f"/p/shop/settings/tokens/{made.token.pk}/revoke/")

    assert use_token(made.secret) is None
    page = text_of(client)
    assert "Jenkins" in page
    assert "Revoked" in page
    assert f"revoke-{made.token.pk}" not in page


@pytest.mark.usefixtures("admin")
def test_tokens_and_members_of_another_project_are_not_found(client: Client) -> None:
    other = make_project("other")
    made = create_token(project=other, scopes=[Scope.READ])
    member = Membership.objects.get(user=make_member(other, Role.MEMBER))

    assert client.post(f"/p/shop/settings/tokens/{made.token.pk}/revoke/").status_code == 404
    for deed in ("role", "remove"):
        answer = client.post(f"/p/shop/settings/members/{member.pk}/{deed}/", {"role": "admin"})
        assert answer.status_code == 404
    member.refresh_from_db()
    assert use_token(made.secret) is not None
    assert member.role == Role.MEMBER


@pytest.mark.usefixtures("admin")
def test_a_member_is_added_promoted_and_removed(client: Client, project: Project) -> None:
    ada = make_user("ada")

    client.post("/p/shop/settings/members/", {"username": " ada ", "role": "viewer"})
    member = Membership.objects.get(user=ada)
    assert member.role == Role.VIEWER
    client.post(f"/p/shop/settings/members/{member.pk}/role/", {"role": "admin"})
    member.refresh_from_db()
    assert member.role == Role.ADMIN
    client.post(f"/p/shop/settings/members/{member.pk}/remove/")
    assert not project.memberships.filter(user=ada).exists()


@pytest.mark.parametrize(
    ("username", "role", "said"),
    [
        ("nobody", "viewer", "Nobody signs in here"),
        ("gone", "viewer", "Nobody signs in here"),
        ("bob", "viewer", "is a member already"),
        ("eve", "root", "Select a valid choice"),
    ],
)
def test_who_cannot_be_a_member_is_not_added(
    client: Client, project: Project, admin: User, username: str, role: str, said: str
) -> None:
    make_user("gone", is_active=False)
    make_user("eve")
    make_member(project, Role.MEMBER, username="bob")

    answer = client.post("/p/shop/settings/members/", {"username": username, "role": role})

    assert answer.status_code == 422
    assert said in answer.content.decode()
    roles = project.memberships.values_list("user__username", "role")
    assert set(roles) == {(admin.username, "admin"), ("bob", "member")}


@pytest.mark.parametrize(("deed", "values"), [("role", {"role": "viewer"}), ("remove", {})])
def test_the_only_administrator_stays(client: Client, admin: User, deed: str, values: dict[str, str]) -> None:
    member = Membership.objects.get(user=admin)

    client.post(f"/p/shop/settings/members/{member.pk}/{deed}/", values)

    assert Membership.objects.get().role == Role.ADMIN
    assert "is the only administrator" in text_of(client)


def test_an_unknown_role_changes_nothing(client: Client, project: Project, admin: User) -> None:
    make_member(project, Role.ADMIN)
    member = Membership.objects.get(user=admin)

    client.post(f"/p/shop/settings/members/{member.pk}/role/", {"role": "root"})

    member.refresh_from_db()
    assert member.role == Role.ADMIN


def test_who_removes_themselves_is_led_home(client: Client, project: Project, admin: User) -> None:
    make_member(project, Role.ADMIN)

    answer = client.post(f"/p/shop/settings/members/{Membership.objects.get(user=admin).pk}/remove/")

    assert answer["Location"] == "/"
    assert client.get("/p/shop/settings/").status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_strangers_names_are_inert(client: Client, project: Project, role: Role) -> None:
    Project.objects.update(
        name=HOSTILE, repository_url=HOSTILE, default_branch=HOSTILE, variables={HOSTILE: HOSTILE}
    )
    create_token(project=project, scopes=[Scope.READ], name=HOSTILE)
    make_member(project, Role.VIEWER, username="eve", first_name=HOSTILE)
    client.force_login(make_member(project, role))

    page = client.get("/p/shop/settings/").content.decode()

    assert "<script>alert" not in page
    sent_back = re.sub(r' value="[^"]*"|<textarea.*?</textarea>', "", page, flags=re.DOTALL)
    assert not {"\x1b", "\u202e"} & set(sent_back)


def test_the_first_pages_token_is_shown_once_and_made_once(client: Client, admin: User) -> None:
    made = client.post("/p/shop/start/token/")
    assert made["Location"] == "/p/shop/start/"

    secret = re.findall(r"itd_[\w-]{43}", text_of(client, "/p/shop/start/"))[0]
    assert use_token(secret) is not None
    assert secret not in text_of(client, "/p/shop/start/")
    assert Token.objects.count() == 1


@pytest.mark.usefixtures("admin")
def test_a_fresh_secret_is_shown_on_its_own_projects_page_alone(client: Client) -> None:
    other = make_project("other")
    Membership.objects.create(project=other, user=User.objects.get(), role=Role.ADMIN)
    client.post("/p/shop/settings/tokens/", {"name": "ci", "scopes": ["read"], "expires": "90"})

    assert not re.search(r"itd_[\w-]{43}", text_of(client, "/p/other/settings/"))
