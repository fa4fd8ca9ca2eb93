"""Sample data on pages: said on every one, asked for on the first, removed by those who may."""

from __future__ import annotations

import pytest
from django.test import Client

from runs.dispatch import Work, answering
from runs.models import Project, Run
from runs.vocabulary import Role, RunStatus
from tests.every_page import answers, full_project, is_page
from tests.factories import make_member, make_project, make_run, make_suite, make_user

pytestmark = pytest.mark.django_db

MARK = 'aria-label="Sample data"'


def sample_run(project: Project, place: str = "1 of 2") -> Run:
    return make_run(
        make_suite(project),
        status=RunStatus.PASSED,
        tags={"sample": place, "sample_until": "2026-11-21T08:00:00+00:00"},
    )


def test_every_page_of_a_project_of_sample_data_says_so(client: Client) -> None:
    everything = full_project()
    Project.objects.update(is_sample=True)
    client.force_login(make_user("priya", is_superuser=True))

    silent, seen = [], set()
    for name, address, answer in answers(client, everything):
        if not answer.streaming and is_page(answer) and "/p/" in address and answer.status_code == 200:
            seen.add(name)
            if answer.content.decode().count(MARK) != 1:
                silent.append(address)

    assert not silent
    assert {"overview", "runs", "run", "test", "flaky", "settings", "suite", "start"} <= seen


def test_only_who_may_is_offered_to_remove_it(client: Client) -> None:
    project = make_project("shop", is_sample=True)
    sample_run(project)

    def page(role: Role) -> str:
        client.force_login(make_member(project, role))
        return client.get("/p/shop/").content.decode()

    assert "/p/shop/sample/remove/" in page(Role.ADMIN)
    for role in (Role.MEMBER, Role.VIEWER):
        assert MARK in page(role)
        assert "/p/shop/sample/remove/" not in page(role)


def test_one_click_removes_it_and_the_first_page_is_back(client: Client) -> None:
    project = make_project("shop", is_sample=True)
    sample_run(project)
    client.force_login(make_member(project, Role.ADMIN))

    answer = client.post("/p/shop/sample/remove/", follow=True)

    assert answer.redirect_chain[-1][0] == "/p/shop/start/"
    page = answer.content.decode()
    assert "Look around with sample data" in page
    assert MARK not in page
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_first_page_asks_for_sample_data_and_waits_for_all_of_it(client: Client) -> None:
    project = make_project("shop")
    client.force_login(make_member(project, Role.ADMIN))
    rung: list[tuple[Work, int]] = []

    with answering(lambda work, row_id: rung.append((work, row_id))):
        answer = client.post("/p/shop/start/sample/", follow=True)

    assert rung == [(Work.LOAD_SAMPLES, project.pk)]
    assert "Sample data is on its way" in answer.content.decode()
    sample_run(project)
    waiting = client.get("/p/shop/start/waiting/?after=0")
    assert "1 of 2 runs" in waiting.content.decode()
    assert "HX-Redirect" not in waiting

    sample_run(project, "2 of 2")

    assert client.get("/p/shop/start/waiting/?after=0")["HX-Redirect"] == "/p/shop/"


def test_a_project_with_runs_is_not_offered_sample_data(client: Client) -> None:
    project = make_project("shop")
    make_run(make_suite(project), status=RunStatus.PASSED)
    client.force_login(make_member(project, Role.ADMIN))

    assert "Look around with sample data" not in client.get("/p/shop/start/").content.decode()
    answer = client.post("/p/shop/start/sample/", follow=True)
    assert "The project has runs of its own." in answer.content.decode()
    project.refresh_from_db()
    assert not project.is_sample


def test_the_page_waits_for_a_run_newer_than_the_ones_it_knew(client: Client) -> None:
    suite = make_suite(make_project("shop", visibility="public"))
    make_run(suite, number=7)

    assert "Waiting for the next run" in client.get("/p/shop/start/").content.decode()
    assert "HX-Redirect" not in client.get("/p/shop/start/waiting/?after=7")

    make_run(suite, number=8)

    assert client.get("/p/shop/start/waiting/?after=7")["HX-Redirect"] == "/p/shop/runs/8/"
