"""Invitations by link: who gets in, as what, how often, and what the others are told."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from runs.actions.errors import NotPossibleError
from runs.actions.invitations import accept_invitation, create_invitation, revoke_invitation
from runs.models import AuditEntry, Invitation, Membership, Project, User
from runs.vocabulary import Role
from tests.factories import make_member, make_project, make_user

pytestmark = pytest.mark.django_db

ACCOUNT = {
    "username": "bo",
    "email": "",
    "password1": "staple battery horse",
    "password2": "staple battery horse",
}


@pytest.fixture
def project() -> Project:
    return make_project("shop", name="Shop")


def invite(project: Project, role: Role = Role.MEMBER) -> str:
    """The address of a fresh invitation's link."""
    return f"/join/{create_invitation(project=project, role=role).secret}/"


def said(client: Client, address: str = "/join/") -> str:
    return client.get(address, follow=True).content.decode()


def test_an_administrator_makes_a_link_that_is_shown_once(client: Client, project: Project) -> None:
    client.force_login(make_member(project, Role.ADMIN))

    made = client.post(
        "/p/shop/settings/invitations/", {"role": "viewer", "email": "cy@example.org"}, follow=True
    )

    page = made.content.decode()
    secret = re.findall(r"http://testserver/join/([\w-]{43})/", page)[0]
    assert "no-store" in made["Cache-Control"]
    again = said(client, "/p/shop/settings/")
    assert secret not in again
    assert "cy@example.org" in again
    invitation = Invitation.objects.get()
    assert secret.encode() not in bytes(invitation.digest)
    assert timedelta(days=6, hours=23) < invitation.expires_at - timezone.now() <= timedelta(days=7)


@pytest.mark.parametrize("change", [{"role": "owner"}, {"role": ""}, {"email": "no address"}])
def test_an_invitation_that_cannot_be_is_not_made(
    client: Client, project: Project, change: dict[str, str]
) -> None:
    client.force_login(make_member(project, Role.ADMIN))

    answer = client.post(
        "/p/shop/settings/invitations/", {"role": "viewer", "email": "cy@example.org"} | change
    )

    assert answer.status_code == 422
    assert not Invitation.objects.exists()


def test_who_tries_links_is_given_no_session(client: Client) -> None:
    assert client.get("/join/no-such-link/", follow=True).status_code == 404
    assert not Session.objects.exists()


def test_a_stranger_makes_an_account_and_is_a_member(client: Client, project: Project) -> None:
    page = said(client, invite(project, Role.VIEWER))
    assert "Join" in page
    assert "Make the account and join" in page

    answer = client.post("/join/", ACCOUNT)

    assert answer["Location"] == "/p/shop/"
    bo = User.objects.get(username="bo")
    assert (bo.is_superuser, bo.is_staff) == (False, False)
    assert Membership.objects.get(user=bo).role == Role.VIEWER
    assert client.get("/p/shop/settings/").status_code == 200
    assert Invitation.objects.get().accepted_by == bo


def test_the_links_secret_is_in_no_other_address_and_leaks_to_no_other_site(
    client: Client, project: Project
) -> None:
    link = invite(project)
    first = client.get(link)

    assert first["Location"] == "/join/"
    assert first["Referrer-Policy"] == "same-origin"
    assert link.split("/")[2] not in said(client)


def test_looking_at_a_link_does_not_use_it_up(client: Client, project: Project) -> None:
    link = invite(project)

    for _ in range(3):
        client.get(link, follow=True)

    assert Invitation.objects.get().accepted_at is None
    assert not Membership.objects.exists()


def test_someone_who_is_signed_in_joins_with_one_press(client: Client, project: Project) -> None:
    cy = make_user("cy")
    client.force_login(cy)
    assert "Join the project" in said(client, invite(project))

    assert client.post("/join/")["Location"] == "/p/shop/"
    assert Membership.objects.get(user=cy).role == Role.MEMBER


def test_the_way_through_the_sign_in_page_ends_at_the_invitation(client: Client, project: Project) -> None:
    make_user("cy")
    assert "/sign-in/?next=/join/" in said(client, invite(project))

    client.post(
        "/sign-in/", {"username": "cy", "password": "correct horse battery", "next": "/join/"}, follow=True
    )
    client.post("/join/")

    assert Membership.objects.get().user.username == "cy"


@pytest.mark.parametrize(
    ("before", "invited", "after"),
    [
        (Role.VIEWER, Role.ADMIN, Role.ADMIN),
        (Role.ADMIN, Role.VIEWER, Role.ADMIN),
        (Role.MEMBER, Role.MEMBER, Role.MEMBER),
    ],
)
def test_an_invitation_raises_a_role_and_never_lowers_one(
    project: Project, before: Role, invited: Role, after: Role
) -> None:
    member = make_member(project, before)
    invitation = create_invitation(project=project, role=invited).invitation

    accept_invitation(invitation_id=invitation.pk, by=member)

    assert Membership.objects.get(user=member).role == after


def test_a_link_lets_one_person_in(client: Client, project: Project) -> None:
    link = invite(project)
    client.get(link)
    client.post("/join/", ACCOUNT)

    other = Client()
    answer = other.get(link, follow=True)
    assert answer.status_code == 410
    assert "used already" in answer.content.decode()
    assert other.post("/join/", ACCOUNT | {"username": "eve"}).status_code == 410
    assert not User.objects.filter(username="eve").exists()


def test_who_joined_and_opens_the_link_again_is_led_in(client: Client, project: Project) -> None:
    link = invite(project)
    client.get(link)
    client.post("/join/", ACCOUNT)

    assert client.get(link, follow=False)["Location"] == "/join/"
    assert client.get("/join/")["Location"] == "/p/shop/"


def test_a_revoked_link_says_so(client: Client, project: Project) -> None:
    link = invite(project)
    client.force_login(make_member(project, Role.ADMIN))
    client.post(f"/p/shop/settings/invitations/{Invitation.objects.get().pk}/revoke/")

    stranger = Client()
    answer = stranger.get(link, follow=True)
    assert answer.status_code == 410
    assert "taken back" in answer.content.decode()


def test_an_invitation_ends_after_seven_days(client: Client, project: Project) -> None:
    made = timezone.now() - timedelta(days=7)
    secret = create_invitation(project=project, role=Role.VIEWER, now=made).secret

    answer = client.get(f"/join/{secret}/", follow=True)

    assert answer.status_code == 410
    assert "older than 7 days" in answer.content.decode()


def test_an_unknown_link_tells_nothing(client: Client) -> None:
    answer = client.get("/join/" + "x" * 43 + "/", follow=True)

    assert answer.status_code == 404
    assert "Open the whole link again" in answer.content.decode()


def test_two_people_with_one_link_do_not_both_get_in(project: Project) -> None:
    invitation = create_invitation(project=project, role=Role.ADMIN).invitation
    accept_invitation(invitation_id=invitation.pk, by=make_user())

    with pytest.raises(NotPossibleError, match="used already"):
        accept_invitation(invitation_id=invitation.pk, by=make_user())

    assert Membership.objects.count() == 1


def test_what_was_used_cannot_be_taken_back(project: Project) -> None:
    invitation = create_invitation(project=project, role=Role.VIEWER).invitation
    accept_invitation(invitation_id=invitation.pk, by=make_user())

    assert revoke_invitation(invitation_id=invitation.pk) is False
    assert Invitation.objects.get().revoked_at is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"username": "taken"}, "already exists"),
        ({"password2": "another one entirely"}, "match"),
        ({"password1": "short", "password2": "short"}, "too short"),
        ({"username": "a b"}, "Enter a valid username"),
    ],
)
def test_an_account_that_cannot_be_leaves_the_invitation_usable(
    client: Client, project: Project, change: dict[str, str], complaint: str
) -> None:
    make_user("taken")
    client.get(invite(project))

    answer = client.post("/join/", ACCOUNT | change)

    assert answer.status_code == 422
    assert complaint in answer.content.decode()
    assert Invitation.objects.get().accepted_at is None
    assert User.objects.count() == 1


def test_another_projects_administrator_cannot_take_an_invitation_back(
    client: Client, project: Project
) -> None:
    invitation = create_invitation(project=project, role=Role.VIEWER).invitation
    other = make_project("other")
    client.force_login(make_member(other, Role.ADMIN))

    answer = client.post(f"/p/other/settings/invitations/{invitation.pk}/revoke/")

    assert answer.status_code == 404
    assert Invitation.objects.get().revoked_at is None


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_press_at_once_one_gets_in() -> None:
    invitation = create_invitation(project=make_project("shop"), role=Role.ADMIN).invitation
    people = [make_user(), make_user()]
    at_once = Barrier(2)

    def press(user: User) -> bool:
        at_once.wait(10)
        try:
            accept_invitation(invitation_id=invitation.pk, by=user)
        except NotPossibleError:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(press, people)) == [False, True]
    assert Membership.objects.count() == 1


@pytest.mark.parametrize("is_removed", [True, False])
def test_who_administers_no_more_has_no_way_back(client: Client, project: Project, is_removed: bool) -> None:
    """Nor lets anybody else in by a link of theirs; those of others stay."""
    gone, stays = make_member(project, Role.ADMIN), make_member(project, Role.ADMIN)
    theirs = create_invitation(project=project, role=Role.ADMIN, by=gone)
    other = create_invitation(project=project, role=Role.VIEWER, by=stays)
    membership = gone.memberships.get()
    client.force_login(stays)

    if is_removed:
        client.post(f"/p/shop/settings/members/{membership.pk}/remove/")
    else:
        client.post(f"/p/shop/settings/members/{membership.pk}/role/", {"role": "viewer"})

    assert list(Invitation.objects.filter(revoked_at=None)) == [other.invitation]
    client.force_login(gone)
    assert "taken back" in said(client, f"/join/{theirs.secret}/")
    assert client.post("/join/").status_code == 410
    assert not Membership.objects.filter(user=gone, role=Role.ADMIN).exists()
    entry = AuditEntry.objects.get(action="invitation.revoked")
    assert entry.user == stays


def test_invitations_of_the_only_administrator_stay_with_them(client: Client, project: Project) -> None:
    only = make_member(project, Role.ADMIN)
    create_invitation(project=project, role=Role.VIEWER, by=only)
    client.force_login(only)

    client.post(f"/p/shop/settings/members/{only.memberships.get().pk}/remove/")

    assert Invitation.objects.filter(revoked_at=None).count() == 1
