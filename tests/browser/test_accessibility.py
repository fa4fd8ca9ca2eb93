"""Every page in Chromium, full of strangers' words and empty: axe-core, light and dark, wide and narrow.

None scrolls sideways, breaks the content policy or weighs too much. The pages are found, not listed: see
`tests/every_page.py`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, Literal

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PASSWORD, patient, watch
from tests.every_page import Everything, answers, empty_project, full_project, is_page
from tests.factories import make_user

pytestmark = pytest.mark.browser

type Look = tuple[int, Literal["light", "dark"]]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: Form and text are the same in both themes: only contrast can differ.
CONTRAST = ["color-contrast", "link-in-text-block"]
LOOKS: list[Look] = [
    (1440, "light"),
    (1440, "dark"),
    (390, "dark"),
    (390, "light"),
]
AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
RUN_AXE = """async ([rules, contrast]) => {
  const only = contrast ? { type: "rule", values: contrast } : { type: "tag", values: rules };
  const { violations } = await axe.run(document, { runOnly: only, resultTypes: ["violations"] });
  return violations.flatMap(rule => rule.nodes.slice(0, 2).map(
    node => `${rule.id}: ${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 200)}`));
}"""
MEASURE = """() => ({
  wide: document.documentElement.scrollWidth,
  nodes: document.querySelectorAll("*").length,
  bytes: performance.getEntriesByType("resource")
    .filter(one => /[.](css|js)([?]|$)/.test(one.name) && !/plotly/.test(one.name))
    .reduce((sum, one) => sum + one.encodedBodySize, 0),
})"""
#: A chart waits until it is seen and then loads what it is drawn with; the server's drawing is there before.
MOUNTED = """() => [...document.querySelectorAll("[data-controller]:not([data-controller=chart])")]
  .every(one => "ready" in one.dataset)"""

BYTES_LIMIT = 60 * 1024
HTML_LIMIT = 15 * 1024
NODE_LIMIT = 3_000


@pytest.fixture
def visitor(browser: Browser, site: str, transactional_db: None) -> Iterator[tuple[Page, list[str]]]:
    """A page that brings axe with it, and what it complains about."""
    context = browser.new_context(base_url=site, reduced_motion="reduce")
    context.add_init_script(AXE)
    page = patient(context.new_page())
    complaints = watch(page)
    yield page, complaints
    page.close()
    context.close()


def test_every_page_of_a_full_project_can_be_used_by_everyone(visitor: tuple[Page, list[str]]) -> None:
    wrong = problems(*visitor, full_project())

    assert not wrong, "\n".join(wrong)


def test_every_page_of_an_empty_project_can_be_used_by_everyone(visitor: tuple[Page, list[str]]) -> None:
    wrong = problems(*visitor, empty_project())

    assert not wrong, "\n".join(wrong)


def problems(page: Page, complaints: list[str], everything: Everything) -> list[str]:
    """What is wrong with any page, said with its address."""
    priya = make_user("priya", is_superuser=True)
    page.goto("/sign-in/")
    found = looks(page, "/sign-in/", LOOKS)
    page.get_by_label("User name").fill("priya")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
    client = Client()
    client.force_login(priya)
    popovers: set[str] = set()
    seen: set[str] = set()
    for name, address in [*pages(client, everything), ("nothing", "/p/nothing/")]:
        page.goto(address)
        until_mounted(page)
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        # Other rows and queries change what is listed, not how: where each has the least room tells.
        found += looks(page, address, LOOKS[2:3] if name in seen else LOOKS)
        seen.add(name)
        found += dialogs(page, address, popovers)
        found += [f"{address[:120]} {complaint}" for complaint in complaints]
        complaints.clear()
    return found


def until_mounted(page: Page) -> None:
    """Not `wait_for_function`: that evaluates text, which the content policy forbids."""
    for _ in range(100):
        if page.evaluate(MOUNTED):
            return
        page.wait_for_timeout(20)


def pages(client: Client, everything: Everything) -> list[tuple[str, str]]:
    """Names and addresses that answer with a whole page."""
    return [(name, address) for name, address, answer in answers(client, everything) if is_page(answer)]


def looks(page: Page, address: str, wanted: Sequence[Look]) -> list[str]:
    found = []
    for width, scheme in wanted:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        is_form_known = len(wanted) > 1 and (width, scheme) not in {LOOKS[0], LOOKS[-1]}
        result = page.evaluate(RUN_AXE, [RULES, CONTRAST if is_form_known else None])
        found += [f"{address[:120]} at {width}, {scheme}: {violation}" for violation in result]
        measures: dict[str, Any] = page.evaluate(MEASURE)
        if measures["wide"] > width:
            found.append(f"{address[:120]} is {measures['wide']} px wide at {width}")
    return [*dict.fromkeys(found), *weight(page, address, measures)]


def dialogs(page: Page, address: str, seen: set[str]) -> list[str]:
    """What floats above pages, each once, wide and narrow; the side bar is a menu on a phone."""
    found = []
    ids: list[str] = page.evaluate("[...document.querySelectorAll('[popover][id]')].map(one => one.id)")
    for ident in ids:
        # One of each kind: rows have dialogs of their own, with numbers in their names.
        if (kind := re.sub(r"\d+", "", ident)) in seen:
            continue
        seen.add(kind)
        for width, scheme in LOOKS[1:3]:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.evaluate("id => document.getElementById(id).showPopover()", ident)
            result = page.evaluate(RUN_AXE, [RULES, None])
            found += [f"{address[:120]} #{ident} at {width}, {scheme}: {violation}" for violation in result]
            page.evaluate("id => document.getElementById(id).hidePopover()", ident)
    return found


def weight(page: Page, address: str, measures: dict[str, Any]) -> list[str]:
    """The budgets of the design, section 9."""
    html = len(gzip.compress(page.content().encode()))
    limits = (
        ("bytes", measures["bytes"], BYTES_LIMIT),
        ("nodes", measures["nodes"], NODE_LIMIT),
        ("bytes of HTML", html, HTML_LIMIT),
    )
    return [f"{address[:120]} has {value:,} {what}" for what, value, limit in limits if value > limit]
