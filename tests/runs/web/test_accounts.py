"""Signing in, guessing, and one's own account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from django.utils import timezone

from runs.actions.sign_ins import begin_attempt, client_address, sign_in_limits
from runs.models import FailedSignIn, User
from tests.factories import make_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def ada(client: Client) -> User:
    """Signed in."""
    user = make_user("ada", first_name="Ada")
    client.force_login(user)
    return user


def try_it(client: Client, password: str, username: str = "ada", **meta: str) -> tuple[int, str]:
    answer = client.post("/sign-in/", {"username": username, "password": password}, **meta)  # type: ignore[arg-type]  # of the environment
    return answer.status_code, answer.content.decode()


def test_a_wrong_password_says_how_many_tries_are_left(client: Client) -> None:
    make_user("ada")

    assert "4 tries left, then a pause of 15 minutes." in try_it(client, "wrong")[1]
    assert "3 tries left" in try_it(client, "wrong")[1]
    try_it(client, "wrong")
    assert "1 try left" in try_it(client, "wrong")[1]
    assert "That was the last try for 15 minutes." in try_it(client, "wrong")[1]


def test_after_five_wrong_ones_even_the_right_password_waits_and_the_page_says_until_when(
    client: Client,
) -> None:
    make_user("ada")
    for _ in range(5):
        try_it(client, "wrong")

    answer = client.post("/sign-in/", {"username": "ADA", "password": PASSWORD})

    assert answer.status_code == 429
    assert 14 * 60 < int(answer["Retry-After"]) <= 15 * 60
    assert "Try again in 15 minutes, at" in answer.content.decode()
    assert client.get("/account/").status_code == 302
    # Asking makes the wait no longer.
    assert FailedSignIn.objects.count() == 15


def test_the_wait_ends_by_itself(client: Client) -> None:
    make_user("ada")
    for _ in range(5):
        try_it(client, "wrong")
    FailedSignIn.objects.update(failed_at=timezone.now() - timedelta(minutes=15))

    assert try_it(client, PASSWORD)[0] == 302
    assert not FailedSignIn.objects.exists()


def test_who_waits_at_one_address_keeps_nobody_out_elsewhere(client: Client) -> None:
    make_user("ada")
    for _ in range(5):
        try_it(client, "wrong", REMOTE_ADDR="203.0.113.9")

    assert try_it(client, PASSWORD, REMOTE_ADDR="203.0.113.9")[0] == 429
    assert try_it(client, PASSWORD, REMOTE_ADDR="198.51.100.1")[0] == 302


def test_a_right_password_forgives_the_wrong_ones_before_it(client: Client) -> None:
    make_user("ada")
    for _ in range(4):
        try_it(client, "wrong")
    assert try_it(client, PASSWORD)[0] == 302
    client.logout()

    assert "4 tries left" in try_it(client, "wrong")[1]


def test_an_address_that_tries_many_names_waits_too(client: Client) -> None:
    for number in range(30):
        begin_attempt(sign_in_limits(f"person{number}", "127.0.0.1"))

    assert try_it(client, "wrong", "somebody else")[0] == 429


def test_an_account_is_not_guessed_at_from_many_addresses() -> None:
    for number in range(50):
        begin_attempt(sign_in_limits("ada", f"203.0.113.{number}"), now=NOON)

    refused = begin_attempt(sign_in_limits("ada", "198.51.100.1"), now=NOON + timedelta(minutes=5))

    assert refused.again_at == NOON + timedelta(minutes=15)


def test_a_name_that_nobody_has_waits_like_one_that_somebody_has(client: Client) -> None:
    make_user("ada")
    for name in ("ada", "nobody"):
        for _ in range(4):
            begin_attempt(sign_in_limits(name, "127.0.0.1"))

    known = [try_it(client, "wrong", "ada") for _ in range(2)]
    unknown = [try_it(client, "wrong", "nobody") for _ in range(2)]

    assert [status for status, _ in known] == [status for status, _ in unknown] == [200, 429]
    assert "That was the last try" in known[0][1]
    assert "That was the last try" in unknown[0][1]


def test_what_is_kept_of_failed_attempts_names_nobody(client: Client) -> None:
    try_it(client, "wrong", "ada")

    assert all(len(row.subject) == 32 for row in FailedSignIn.objects.all())
    assert b"ada" not in b"".join(bytes(row.subject) for row in FailedSignIn.objects.all())


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        (0, "198.51.100.7", "127.0.0.1"),
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        (2, "203.0.113.1, 198.51.100.7", "203.0.113.1"),
        (2, "198.51.100.7", "127.0.0.1"),
        (1, "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        (1, "::ffff:198.51.100.7", "198.51.100.7"),
        (1, "<script>", "unknown"),
    ],
)
def test_an_address_is_what_our_own_proxies_saw(
    settings: object, proxies: int, forwarded: str, seen: str
) -> None:
    settings.PROXY_COUNT = proxies  # type: ignore[attr-defined]  # pytest-django's wrapper

    assert client_address({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded}) == seen


def test_an_empty_form_costs_no_try(client: Client) -> None:
    make_user("ada")

    assert try_it(client, "")[0] == 200
    assert not FailedSignIn.objects.exists()


@pytest.mark.usefixtures("ada")
def test_name_and_address_are_changed(client: Client) -> None:
    client.post(
        "/account/profile/", {"first_name": "Augusta", "last_name": "King", "email": "ada@example.org"}
    )

    ada = User.objects.get()
    assert (ada.display_name, ada.email) == ("Augusta King", "ada@example.org")


@pytest.mark.parametrize("change", [{"email": "no address"}, {"first_name": "a\u202eb"}])
@pytest.mark.usefixtures("ada")
def test_a_profile_that_cannot_be_is_not_kept(client: Client, change: dict[str, str]) -> None:
    answer = client.post("/account/profile/", {"first_name": "x", "last_name": "", "email": ""} | change)

    assert answer.status_code == 422
    assert User.objects.get().first_name == "Ada"


def test_a_new_password_signs_out_every_other_browser(client: Client, ada: User) -> None:
    other = Client()
    other.force_login(ada)

    answer = client.post(
        "/account/password/", {"current": PASSWORD, "password": "a much better one"}, follow=True
    )

    assert "The password is changed." in answer.content.decode()
    assert other.get("/account/").status_code == 302
    assert User.objects.get().check_password("a much better one")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"current": "wrong", "password": "a much better one"}, "That is not your password."),
        ({"current": "", "password": "a much better one"}, "That is not your password."),
        ({"current": PASSWORD, "password": "xyzzy"}, "too short"),
        ({"current": PASSWORD, "password": "password123"}, "too common"),
    ],
)
@pytest.mark.usefixtures("ada")
def test_a_password_that_cannot_be_changes_nothing(client: Client, values: dict[str, str], said: str) -> None:
    answer = client.post("/account/password/", values)

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert values["password"] not in answer.content.decode()
    assert User.objects.get().check_password(PASSWORD)


def test_the_present_password_is_not_guessed_at_in_an_open_browser(client: Client, ada: User) -> None:
    for _ in range(5):
        begin_attempt(sign_in_limits("ada", "127.0.0.1"))

    answer = client.post(
        "/account/password/", {"current": PASSWORD, "password": "a much better one"}, follow=True
    )

    assert "Too many attempts failed. Try again at" in answer.content.decode()
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_signing_out_everywhere_leaves_this_browser(client: Client, ada: User) -> None:
    other = Client()
    other.force_login(ada)

    client.post("/account/sessions/end/")

    assert client.get("/account/").status_code == 200
    assert other.get("/account/").status_code == 302


@pytest.mark.usefixtures("ada")
def test_shortcuts_are_turned_off_on_every_page(client: Client) -> None:
    client.post("/account/preferences/", {})
    assert 'data-shortcuts="off"' in client.get("/account/").content.decode()

    client.post("/account/preferences/", {"has_shortcuts": "on"})
    assert 'data-shortcuts="off"' not in client.get("/account/").content.decode()


def test_the_only_way_in_is_not_disconnected(client: Client, ada: User) -> None:
    ada.set_unusable_password()
    ada.save()
    client.force_login(ada)
    only = SocialAccount.objects.create(user=ada, provider="github", uid="x:1", extra_data={"name": "ada"})

    client.post(f"/account/providers/{only.pk}/disconnect/")
    assert SocialAccount.objects.exists()

    client.post("/account/password/", {"password": "a much better one"})
    client.post(f"/account/providers/{only.pk}/disconnect/")
    assert not SocialAccount.objects.exists()


@pytest.mark.usefixtures("ada")
def test_nobody_disconnects_what_belongs_to_another(client: Client) -> None:
    theirs = SocialAccount.objects.create(user=make_user(), provider="github", uid="x:2")

    client.post(f"/account/providers/{theirs.pk}/disconnect/")

    assert SocialAccount.objects.exists()


@pytest.mark.parametrize("address", ["", "profile/", "password/", "preferences/", "sessions/end/"])
def test_the_account_page_asks_to_sign_in_first(client: Client, address: str) -> None:
    ask = client.post if address else client.get

    assert ask(f"/account/{address}")["Location"].startswith("/sign-in/?next=")
