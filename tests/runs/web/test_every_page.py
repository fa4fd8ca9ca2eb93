"""Every page, by HTTP, with names that strangers chose and with none at all."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.every_page import Everything, answers, empty_project, full_project, is_page, unknown_parts
from tests.factories import make_user

pytestmark = pytest.mark.django_db

#: What control and reordering characters strangers' text must not keep.
FORBIDDEN = {"\x1b", "\u202e", "\x07", "\x00"}
#: A page longer than this, in characters, carries somebody's text whole.
LONGEST = 300_000
#: Where there may be nothing for somebody who is signed in and has no link.
NOWHERE = {
    "first-account",
    "service",
    "join",
    "join-link",
    "sign-in-with",
    "github_callback",
    "gitlab_callback",
    "openid_connect_callback",
}


@pytest.fixture
def administrator(client: Client) -> Client:
    client.force_login(make_user("priya", is_superuser=True))
    return client


def pages_of(client: Client, everything: Everything) -> tuple[set[str], list[str]]:
    """The names of the pages seen, and what is wrong with any answer."""
    seen: set[str] = set()
    wrong: list[str] = []
    for name, address, answer in answers(client, everything):
        if answer.streaming or answer.status_code in {302, 404, 286}:
            if answer.status_code == 404 and name not in NOWHERE:
                wrong.append(f"{address[:160]} is not found")
            continue
        if answer.status_code != 200:
            wrong.append(f"{address[:160]} answers {answer.status_code}")
            continue
        text = answer.content.decode()
        if is_page(answer):
            seen.add(name)
        wrong += [f"{address[:160]} {complaint}" for complaint in complaints(text)]
    return seen, wrong


def complaints(text: str) -> list[str]:
    # A form sends back what it was given, character by character.
    shown = re.sub(
        r' (?:value|data-[a-z-]+)="[^"]*"|<textarea[^>]*>.*?</textarea>', "", text, flags=re.DOTALL
    )
    found = []
    if "<script>alert" in text or "<img src=x" in text:
        found.append("holds markup of strangers")
    if odd := FORBIDDEN & set(shown):
        found.append(f"holds {sorted(odd)!r}")
    if re.search(r'(?:href|src|action)="\s*javascript:', text):
        found.append("links to a script")
    if "{{ 7*7 }}" not in text and ">49<" in text:
        found.append("ran a stranger's template")
    if len(text) > LONGEST:
        found.append(f"has {len(text):,} characters")
    return found


def test_every_address_has_a_value_for_each_of_its_parts() -> None:
    assert unknown_parts(full_project("shop")) == set()


def test_no_page_is_harmed_by_what_strangers_call_things(administrator: Client) -> None:
    seen, wrong = pages_of(administrator, full_project())

    assert wrong == []
    assert {
        "home",
        "overview",
        "runs",
        "run",
        "tests",
        "test",
        "environment",
        "delivery",
        "suite",
        "service",
    } <= seen


def test_no_page_breaks_where_nothing_is_there_yet(administrator: Client) -> None:
    seen, wrong = pages_of(administrator, empty_project())

    assert wrong == []
    assert {"runs", "tests", "suites", "suite", "environments", "start", "settings"} <= seen


def test_what_anybody_may_read_is_readable_without_signing_in(client: Client) -> None:
    full = full_project()
    make_user()

    seen, wrong = pages_of(client, full)

    # Members' pages look unknown: tests/runs/web/test_access.py says which.
    assert [line for line in wrong if not line.endswith(("is not found", "answers 403"))] == []
    assert {"sign-in", "home", "overview", "run", "test"} <= seen
