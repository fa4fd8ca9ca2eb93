"""The audit log's page: whose it is, how it is narrowed and walked."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from runs.actions.audit import note_change
from runs.models import Project, User
from runs.vocabulary import Role
from tests.factories import make_member, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project("shop", visibility="public")


@pytest.fixture
def admin(client: Client, project: Project) -> User:
    """Signed in."""
    user = make_member(project, Role.ADMIN, username="ada")
    client.force_login(user)
    return user


def text_of(client: Client, query: str = "") -> str:
    answer = client.get(f"/p/shop/audit/{query}")
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    return answer.content.decode()


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.MEMBER, 403), (Role.ADMIN, 200)])
def test_administrators_alone_see_it(client: Client, project: Project, role: Role, status: int) -> None:
    assert client.get("/p/shop/audit/").status_code == 404
    client.force_login(make_member(project, role))

    assert client.get("/p/shop/audit/").status_code == status
    # And they alone are led there.
    assert ("/p/shop/audit/" in client.get("/p/shop/settings/").content.decode()) is (status == 200)


def test_entries_of_another_project_are_not_in_it(client: Client, admin: User) -> None:
    note_change(make_project("other"), by=admin, action="token.made", subject="theirs")

    assert "theirs" not in text_of(client)


def test_what_was_changed_is_told_as_before_and_after(client: Client, admin: User, project: Project) -> None:
    note_change(
        project,
        by=admin,
        action="project.changed",
        subject="Shop",
        data={
            "default_branch": ["main", "trunk"],
            "allow_local_engine": [False, True],
            "variables": ["A", "B"],
        },
    )

    page = re.sub(r"</?bdi>", "", text_of(client))
    assert "default branch <del>main</del> → <ins>trunk</ins>" in page
    assert "allow local engine <del>no</del> → <ins>yes</ins>" in page
    assert "variables A, B" in page


@pytest.mark.usefixtures("admin")
def test_it_is_narrowed_by_who_and_by_what_in_the_address(client: Client, project: Project) -> None:
    bo = make_member(project, username="bo")
    note_change(project, by=bo, action="run.cancelled", subject="Run 7")
    note_change(project, by=bo, action="token.made", subject="Jenkins")
    note_change(project, by=None, action="run.cancelled", subject="Run 8")

    assert "Jenkins" in text_of(client, "?actor=bo")
    assert "Run 8" not in text_of(client, "?actor=bo")
    only = text_of(client, "?actor=bo&action=run.cancelled")
    assert "Run 7" in only
    assert "Jenkins" not in only
    nothing = text_of(client, "?actor=nobody%00%E2%80%AE<script>&action=x")
    assert "No change like that" in nothing
    assert "<script>&" not in nothing


def test_it_is_walked_by_keys_without_losing_the_filter(
    client: Client, admin: User, project: Project
) -> None:
    for number in range(120):
        note_change(project, by=admin, action="run.cancelled", subject=f"Run {number:03}")
        note_change(project, by=None, action="token.made", subject="noise")

    seen: list[str] = []
    query = "?action=run.cancelled"
    pages = 0
    while query:
        page = text_of(client, query)
        assert "noise" not in page
        seen += re.findall(r"Run (\d{3})", page)
        onward = re.search(r'href="/p/shop/audit/(\?[^"]+)" rel="next"', page)
        query = onward[1].replace("&amp;", "&") if onward else ""
        pages += 1

    assert seen == [f"{number:03}" for number in reversed(range(120))]
    assert pages == 3


@pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "²"])
@pytest.mark.usefixtures("admin")
def test_a_key_that_is_none_begins_at_the_newest(client: Client, project: Project, before: str) -> None:
    note_change(project, by=None, action="token.made", subject="Jenkins")

    assert "Jenkins" in text_of(client, f"?before={before}")


@pytest.mark.usefixtures("admin")
def test_a_project_that_nobody_changed_says_so(client: Client) -> None:
    assert "Nothing was changed yet" in text_of(client)
