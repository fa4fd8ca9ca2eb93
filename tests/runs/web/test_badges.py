"""Badges: what they say, to whom, and that their words fit."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from lxml import etree

from runs.models import Project, Run, Suite
from runs.queries.badges import badge_key, badge_snippets
from runs.vocabulary import RunStatus, Visibility
from runs.web.badge_svg import AMBER, GREEN, GREY, RED, SLATE, badge_svg, text_width
from tests.factories import make_member, make_project, make_run, make_suite

pytestmark = pytest.mark.django_db

ODD = "a/b c (x) [y] <i>&\"'%2F?#é🦊"


@pytest.fixture
def suite() -> Suite:
    return make_suite(make_project("shop", visibility=Visibility.PUBLIC), "checkout")


def said(answer: Any) -> str:
    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/svg+xml; charset=utf-8"
    drawing = etree.fromstring(answer.content)
    return str(drawing.get("aria-label"))


def finished(suite: Suite, status: RunStatus, verdict: str, **values: Any) -> Run:
    return make_run(suite, status=status, verdict=verdict, **values)


def test_a_badge_says_how_the_newest_finished_run_stands(client: Client, suite: Suite) -> None:
    address = "/badges/shop/checkout.svg"
    assert said(client.get(address)) == "checkout: no runs yet"
    finished(suite, RunStatus.PASSED, "pass", test_count=400, skipped_count=100, flaky_count=3)
    assert said(client.get(address)) == "checkout: passing · 1.0% flaky"
    finished(suite, RunStatus.FAILED, "fail", test_count=300, failed_count=1)
    # 3 flaky results of 300 + 300.
    assert said(client.get(address)) == "checkout: failing · 0.5% flaky"
    finished(suite, RunStatus.ERRORED, "none")
    finished(suite, RunStatus.CANCELLED, "none")
    make_run(suite, status=RunStatus.RUNNING)
    assert said(client.get(address)) == "checkout: errored · 0.5% flaky"


def test_quarantine_counts_on_a_badge(client: Client, suite: Suite) -> None:
    finished(suite, RunStatus.FAILED, "pass", test_count=10, failed_count=1)

    assert said(client.get("/badges/shop/checkout.svg")) == "checkout: passing · 0.0% flaky"


def test_a_little_flaky_is_not_nothing(client: Client, suite: Suite) -> None:
    finished(suite, RunStatus.PASSED, "pass", test_count=9_000, flaky_count=1)

    assert said(client.get("/badges/shop/checkout.svg")) == "checkout: passing · <0.1% flaky"


def test_a_branch_has_a_badge_of_its_own(client: Client, suite: Suite) -> None:
    finished(suite, RunStatus.PASSED, "pass")
    finished(suite, RunStatus.FAILED, "fail", branch="release/2.4")

    assert said(client.get("/badges/shop/checkout.svg")) == "checkout: passing"
    assert said(client.get("/badges/shop/checkout.svg?branch=release/2.4")) == "checkout: failing"
    assert said(client.get("/badges/shop/checkout.svg?branch=nothing%00")) == "checkout: no runs yet"


def test_a_badge_is_kept_for_a_minute_and_asked_for_again_with_its_etag(client: Client, suite: Suite) -> None:
    first = client.get("/badges/shop/checkout.svg")
    again = client.get("/badges/shop/checkout.svg", headers={"If-None-Match": first["ETag"]})

    assert first["Cache-Control"] == "public, max-age=60, must-revalidate"
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    finished(suite, RunStatus.FAILED, "fail")
    assert (
        client.get("/badges/shop/checkout.svg", headers={"If-None-Match": first["ETag"]}).status_code == 200
    )


def test_a_private_badge_is_for_members_and_for_who_has_the_key(client: Client) -> None:
    private = make_suite(make_project("secret"), "checkout").project
    other = make_project("other")
    address = "/badges/secret/checkout.svg"

    assert client.get(address).status_code == 404
    assert client.get(f"{address}?key={badge_key(other)}").status_code == 404
    assert client.get(f"{address}?key=").status_code == 404
    with_key = client.get(f"{address}?key={badge_key(private)}")
    assert said(with_key) == "checkout: no runs yet"
    assert with_key["Cache-Control"] == "private, max-age=60, must-revalidate"
    assert client.get(f"/p/secret/?key={badge_key(private)}").status_code == 404
    client.force_login(make_member(private))
    assert client.get(address).status_code == 200


def test_an_unknown_suite_and_an_unknown_project_look_alike(client: Client, suite: Suite) -> None:
    assert client.get("/badges/shop/nothing.svg").status_code == 404
    assert client.get("/badges/nothing/checkout.svg").status_code == 404
    assert client.post("/badges/shop/checkout.svg").status_code == 405


def test_odd_names_are_found_and_drawn_as_text(client: Client) -> None:
    project = make_project("odd", visibility=Visibility.PUBLIC)
    odd = make_suite(project, ODD)
    snippets = badge_snippets(odd, project)

    assert said(client.get(snippets.path)) == f"{ODD}: no runs yet"
    assert said(client.get(f"/badges/odd/{quote(ODD, safe='/')}.svg")) == f"{ODD}: no runs yet"
    assert b"<i>" not in client.get(snippets.path).content


def test_a_very_long_name_is_cut(client: Client) -> None:
    project = make_project("long", visibility=Visibility.PUBLIC)
    name = "x" * 110
    make_suite(project, name)

    assert said(client.get(f"/badges/long/{name}.svg")) == f"{'x' * 40}…: no runs yet"


def test_the_text_for_a_readme_holds_what_markdown_and_html_need(settings: object) -> None:
    project: Project = make_project("readme", visibility=Visibility.PUBLIC)
    snippets = badge_snippets(make_suite(project, "a [b] (c)"), project)

    address = "http://localhost:8000"
    assert snippets.markdown == (
        f"[![a \\[b\\] (c)]({address}/badges/readme/a%20%5Bb%5D%20%28c%29.svg)]"
        f"({address}/p/readme/suites/a%20%5Bb%5D%20%28c%29/)"
    )
    assert snippets.html == (
        f'<a href="{address}/p/readme/suites/a%20%5Bb%5D%20%28c%29/">'
        f'<img src="{address}/badges/readme/a%20%5Bb%5D%20%28c%29.svg" alt="a [b] (c)" height="20"></a>'
    )


def test_the_fields_are_as_wide_as_their_words() -> None:
    # In Verdana at 11 px: i 0.274, W 0.989, blank 0.352, of 11 each.
    assert text_width("iii") == pytest.approx(9.042)
    assert text_width("W W") == pytest.approx(25.63)
    assert text_width("界") == 11
    assert text_width("e\u0301") == text_width("e")
    drawing = etree.fromstring(badge_svg("checkout", "passing", GREEN))
    texts = drawing.findall(".//{*}text")
    boxes = drawing.findall(".//{*}g/{*}rect")
    for text, box in zip(texts, boxes, strict=True):
        start, length = float(text.get("x", "")), float(text.get("textLength", ""))
        left, width = float(box.get("x", "0")), float(box.get("width", ""))
        assert start == pytest.approx(left + 7, abs=0.11)
        assert start + length == pytest.approx(left + width - 7, abs=0.11)


@pytest.mark.parametrize("colour", [GREY, GREEN, RED, AMBER, SLATE])
def test_white_can_be_read_on_every_colour(colour: str) -> None:
    assert contrast_with_white(colour) >= 4.5


def contrast_with_white(colour: str) -> float:
    """WCAG's ratio."""
    parts = [int(colour[at:to], 16) / 255 for at, to in pairwise((1, 3, 5, 7))]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


def test_the_suites_page_shows_its_badge(client: Client, suite: Suite) -> None:
    shown = client.get("/p/shop/suites/checkout/").content.decode()

    assert re.search(r'<img src="/badges/shop/checkout\.svg"', shown)
