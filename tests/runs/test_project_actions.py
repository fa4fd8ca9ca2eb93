"""Making projects, suites and tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs.actions.errors import InvalidValueError, TakenError
from runs.actions.projects import create_project, ensure_suite
from runs.actions.tokens import create_token, revoke_token, use_token
from runs.models import Membership, Project, Token
from runs.vocabulary import Role, Scope
from tests.factories import make_project, make_user

pytestmark = pytest.mark.django_db


def test_whoever_makes_a_project_becomes_its_administrator() -> None:
    person = make_user()

    project = create_project(slug="shop", by=person)

    assert Membership.objects.get(project=project).role == Role.ADMIN
    assert project.name == "shop"


def test_a_project_address_is_taken_once() -> None:
    create_project(slug="shop")

    with pytest.raises(TakenError, match="“shop” exists already"):
        create_project(slug="shop")

    assert Project.objects.count() == 1


@pytest.mark.parametrize("slug", ["", "Shop", "a b", "x" * 61, "ü", "a/b", "-" * 61])
def test_an_address_that_cannot_be_is_refused(slug: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        create_project(slug=slug)

    assert refused.value.field == "slug"
    assert not Project.objects.exists()


def test_a_suite_is_made_once_and_found_again() -> None:
    project = make_project()

    assert ensure_suite(project=project, name="checkout") == ensure_suite(project=project, name=" checkout ")


@pytest.mark.parametrize("name", ["", "   ", "x" * 121, "a\x00b", "line\nbreak"])
def test_a_suite_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match="1 to 120 printable"):
        ensure_suite(project=make_project(), name=name)


def test_a_token_is_found_by_its_secret_which_is_not_kept() -> None:
    made = create_token(project=make_project(), scopes=[Scope.UPLOAD])

    assert made.secret.startswith("itd_")
    assert use_token(made.secret) == made.token
    row = Token.objects.values().get()
    assert made.secret not in str(row)
    assert bytes(row["digest"]) != made.secret.encode()


def test_a_token_says_when_it_was_used() -> None:
    made = create_token(project=make_project(), scopes=[Scope.READ])

    use_token(made.secret)

    assert Token.objects.get().last_used_at is not None


def test_a_revoked_token_opens_nothing() -> None:
    made = create_token(project=make_project(), scopes=[Scope.READ])

    assert revoke_token(token_id=made.token.pk) is True
    assert revoke_token(token_id=made.token.pk) is False
    assert use_token(made.secret) is None


def test_an_expired_token_opens_nothing() -> None:
    made = create_token(
        project=make_project(), scopes=[Scope.READ], expires_at=timezone.now() + timedelta(days=1)
    )
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert use_token(made.secret) is None


def test_a_token_that_would_have_expired_already_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="expired already"):
        create_token(
            project=make_project(), scopes=[Scope.READ], expires_at=timezone.now() - timedelta(days=1)
        )


def test_a_token_without_a_scope_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="at least one scope: manage, read, trigger, upload"):
        create_token(project=make_project(), scopes=[])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": "x" * 121}),
        ("name", {"name": "a\u202eb"}),
        ("repository_url", {"repository_url": "not an address"}),
        ("repository_url", {"repository_url": "https://git.example.org/\x00"}),
        ("default_branch", {"default_branch": ""}),
        ("default_branch", {"default_branch": "--upload-pack=x"}),
        ("variables", {"variables": {"1A": "x"}}),
        ("variables", {"variables": {"A": "two\nlines"}}),
    ],
    ids=str,
)
def test_a_new_project_is_held_to_what_a_changed_one_is_held_to(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        create_project(slug="shop", **values)

    assert refusal.value.field == field
    assert not Project.objects.exists()
