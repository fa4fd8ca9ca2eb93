"""Charts in Chromium: Plotly takes over in place, or the server's drawing stays; and a CI's lines work."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from runs.models import Suite, Upload
from runs.vocabulary import Outcome, Role, RunStatus
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.browser

SHIFT = """() => new Promise(done => new PerformanceObserver(list =>
    done(list.getEntries().reduce((sum, entry) => sum + entry.value, 0))
).observe({ type: "layout-shift", buffered: true }) || setTimeout(() => done(0), 300))"""
INK = (
    "[...document.querySelectorAll('.js-plotly-plot .scatterlayer .js-line')].map(line => line.style.stroke)"
)


def shop() -> tuple[Suite, int]:
    """A suite that became slower, and the id of its test."""
    now = timezone.now()
    suite = make_suite(make_project("shop", visibility="public"), "checkout")
    for number in range(52):
        run = make_run(
            suite,
            status=RunStatus.PASSED,
            queued_at=now - timedelta(hours=60 - number),
            duration_ms=240_000 if number < 40 else 300_000,
            commit=f"{number:07d}" + "a" * 33,
        )
        [result] = add_results(
            run, {"test_pay": Outcome.PASSED}, duration_ms=4000 + number if number < 40 else 6400
        )
    return suite, result.case_id


def test_plotly_takes_over_in_the_same_box_and_changes_with_the_theme(page: Page) -> None:
    _, case = shop()
    page.goto(f"/p/shop/tests/{case}/")
    figure = page.locator("figure[data-plotly]")
    before = figure.bounding_box()
    figure.scroll_into_view_if_needed()
    page.wait_for_selector("figure[data-drawn]")

    after = figure.bounding_box()
    assert before is not None
    assert after is not None
    assert (after["width"], after["height"]) == (before["width"], before["height"])
    assert page.evaluate(SHIFT) < 0.02
    expect(page.locator(".js-plotly-plot .scatterlayer .point")).to_have_count(52)
    expect(page.locator(".annotation-text")).to_have_text("+2.4 s at 0000040a")
    light = page.evaluate(INK)
    page.get_by_role("button", name="Switch colour theme").click()
    page.wait_for_function(f"JSON.stringify({INK}) !== '{str(light).replace(chr(39), chr(34))}'")
    # What was refused or broke fails the test in the fixture's end.


def test_the_chart_says_what_a_dot_is(page: Page) -> None:
    shop()
    page.goto("/p/shop/suites/checkout/")
    page.locator("figure[data-plotly]").scroll_into_view_if_needed()
    page.wait_for_selector("figure[data-drawn]")

    page.locator(".js-plotly-plot .scatterlayer .point").nth(20).hover(force=True)

    expect(page.locator(".hoverlayer")).to_contain_text("#21: 4m 00s")


def test_a_chart_that_nobody_comes_near_loads_nothing(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shop()
    page.set_viewport_size({"width": 1440, "height": 200})

    page.goto("/p/shop/suites/checkout/")
    page.wait_for_selector("figure[data-ready]")

    assert not [url for url in asked if "plotly" in url]


def test_without_scripts_the_servers_drawing_stays(
    browser: Browser, site: str, transactional_db: None
) -> None:
    _, case = shop()
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()

    page.goto(f"/p/shop/tests/{case}/")

    expect(page.locator("figure[data-plotly] svg.graph circle")).to_have_count(52)
    expect(page.get_by_text("One step up: the median went from 4.0 s to 6.4 s at 0000040a")).to_be_visible()
    context.close()


def test_when_plotly_does_not_come_the_servers_drawing_stays(page: Page) -> None:
    _, case = shop()
    page.route("**/plotly.min*.js", lambda route: route.abort())
    page.goto(f"/p/shop/tests/{case}/")
    with page.expect_event("requestfailed"):
        page.locator("figure[data-plotly]").scroll_into_view_if_needed()

    expect(page.locator("figure[data-plotly] svg.graph circle")).to_have_count(52)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_command_on_a_suites_page_uploads_a_report(page: Page, sign_in: SignIn, tmp_path: Path) -> None:
    suite, _ = shop()
    sign_in(make_member(suite.project, Role.ADMIN))
    page.goto("/p/shop/suites/checkout/")
    page.get_by_role("button", name="Make a token").click()
    command = page.locator("#snippet-curl").inner_text()
    token = page.get_by_label("Upload token").input_value()
    assert token in command
    page.reload()
    assert token not in page.content()
    report = '<testsuite name="s"><testcase classname="c" name="test_pay" time="1"/></testsuite>'
    (tmp_path / "junit.xml").write_text(report)

    done = subprocess.run(
        ["sh", "-ec", command.replace("$(git rev-parse HEAD)", "b" * 40)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    upload = Upload.objects.get()
    assert (upload.run.suite, upload.run.branch, upload.run.commit) == (suite, "main", "b" * 40)
    assert re.search(r'"url"', done.stdout)


def test_each_cis_lines_are_a_tab_without_any_script(
    browser: Browser, site: str, transactional_db: None
) -> None:
    shop()
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/p/shop/suites/checkout/")
    expect(page.locator("#snippet-gitlab")).to_be_hidden()

    page.get_by_text("GitLab CI", exact=True).click()

    expect(page.locator("#snippet-gitlab")).to_be_visible()
    expect(page.locator("#snippet-curl")).to_be_hidden()
    context.close()
