"""From a push, and from a schedule, to a finished run: real git, HTTP, worker and processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import httpx
import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from runs.models import Project, Run, Schedule
from runs.tasks import queue_due_schedules
from runs.vocabulary import RunStatus
from tests.browser.conftest import SignIn
from tests.browser.hands import HANDS, Hand
from tests.factories import make_project, make_suite, make_user
from tests.hooks import headers_for, sample
from tests.repositories import git, make_repository

pytestmark = pytest.mark.browser

SUITE_FILE = """
    version: 1
    suites:
      checkout:
        compose: docker-compose.test.yml
        tests: integration-tests
        results: [/results/**/*.xml]
        timeout: 1m
        on:
          push: {}
"""
COMPOSE = """
    services:
      integration-tests:
        image: python:3.13
        command: ["python3", "/src/suite.py", "/results"]
        volumes: [".:/src"]
"""
#: The tests wait for a file, so that a page can be looked at while they run.
SUITE = """
    import pathlib, sys, time
    print("the first half is done", flush=True)
    end = time.monotonic() + 30
    while not pathlib.Path({gate!r}).exists() and time.monotonic() < end:
        time.sleep(0.05)
    pathlib.Path(sys.argv[1], "junit.xml").write_text("<testsuite><testcase name='test_refund'/></testsuite>")
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that the suite waits for."""
    return tmp_path / "go-on"


@pytest.fixture
def project(tmp_path: Path, gate: Path, worker: None, transactional_db: None) -> Iterator[Project]:
    repository = make_repository(
        tmp_path / "repository",
        {
            "itdash.yml": dedent(SUITE_FILE),
            "docker-compose.test.yml": dedent(COMPOSE),
            "suite.py": dedent(SUITE).format(gate=str(gate)),
        },
    )
    project = make_project("shop", repository_url=str(repository), allow_local_engine=True)
    make_suite(project, "checkout", definition={"on": {"push": {}}})
    yield project
    # Nothing of the run may be left to the next test.
    gate.touch()


@pytest.mark.parametrize("hand", HANDS)
def test_a_push_starts_a_run_that_is_followed_to_its_end(
    page: Page, sign_in: SignIn, project: Project, gate: Path, hand: str
) -> None:
    person = HANDS[hand](page)
    sign_in(make_user(is_superuser=True))
    page.goto("/p/shop/webhooks/")
    person.choose(page.get_by_label("Git host"), "gitea")
    person.press(page.get_by_role("button", name="Add a hook"))
    address = page.get_by_label("Address", exact=True).input_value()
    secret = page.get_by_label("Secret", exact=True).input_value()

    push = sample("gitea_push")
    push["after"] = push["head_commit"]["id"] = git(Path(project.repository_url), "rev-parse", "HEAD")
    body = json.dumps(push).encode()
    refused = httpx.post(address, content=body, headers=headers_for("gitea", body, secret="whsec_wrong"))
    assert refused.status_code == 401
    taken = httpx.post(address, content=body, headers=headers_for("gitea", body, secret=secret), timeout=20)
    assert taken.status_code == 202, taken.text

    follow_first_run(page, person, gate)
    run = Run.objects.get()
    assert (run.status, run.trigger, run.commit) == (RunStatus.PASSED, "push", push["after"])


@pytest.mark.parametrize("hand", HANDS)
def test_a_schedule_that_is_due_runs_to_its_end(
    page: Page, sign_in: SignIn, project: Project, gate: Path, hand: str
) -> None:
    person = HANDS[hand](page)
    sign_in(make_user(is_superuser=True))
    page.goto("/p/shop/suites/checkout/")
    person.press(page.get_by_role("button", name="Add a schedule"))
    person.write(page.get_by_label("Cron line"), "30 2 * * *")
    person.write(page.get_by_label("Time zone"), "Europe/Berlin")
    person.press(page.get_by_role("button", name="Add the schedule"))
    expect(page.get_by_role("list", name="Next five moments").get_by_role("listitem")).to_have_count(5)

    # The night comes: what beat does every few seconds, once.
    Schedule.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    queue_due_schedules()

    follow_first_run(page, person, gate)
    run = Run.objects.get()
    assert (run.status, run.trigger) == (RunStatus.PASSED, "schedule")


def follow_first_run(page: Page, person: Hand, gate: Path) -> None:
    """Find the run in the list, watch it live, let its tests end and see that without loading it again."""
    page.goto("/p/shop/runs/")
    link = page.get_by_role("link", name="#1 checkout")
    for _ in range(60):
        if link.count():
            break
        page.wait_for_timeout(100)
        page.reload()
    person.press(link)
    expect(page.locator("#progress")).to_contain_text(re.compile("Waiting|Preparing|Running"))
    expect(page.locator("#log-lines")).to_contain_text("the first half is done", timeout=30_000)
    expect(page.locator("#progress")).to_contain_text("Running for")

    gate.touch()

    expect(page.locator("#run-head")).to_contain_text("Passed", timeout=30_000)
    expect(page.locator("#results")).to_contain_text("test_refund")
