"""axe-core over every page, light and dark, wide and narrow, empty and full; no page scrolls sideways."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Browser, Page

from runs.actions.quarantine import quarantine_case
from runs.actions.schedules import create_schedule
from runs.actions.tokens import create_token, revoke_token
from runs.actions.webhooks import create_hook
from runs.models import Schedule
from runs.suitefile import ScheduleSpec
from runs.vocabulary import Outcome, Role, RunStatus, Scope
from tests.browser.conftest import PASSWORD, watch
from tests.factories import make_event, make_member, make_project, make_run, make_suite, make_user
from tests.rows import add_delivery, add_environment, add_log, add_results

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS = [
    pytest.param(width, scheme, id=f"{scheme}-{width}")
    for width in (1440, 390)
    for scheme in ("light", "dark")
]


def fill_pages() -> list[str]:
    """Rows for every page; returns the addresses, the sign-in page first."""
    now = timezone.now()
    project = make_project("shop", visibility="public", repository_url="https://git.example.org/shop.git")
    make_project("empty", visibility="public")
    suite = make_suite(project, "checkout", definition={"compose": "compose.yml", "tests": "tests"})
    for line in ("0 2 * * *", "*/7 * 1 * *"):
        create_schedule(suite=suite, wanted=ScheduleSpec(line, "Europe/Berlin"), now=now)
    Schedule.objects.create(suite=suite, cron="0 5 * * 1", is_paused=True, is_from_suite_file=True)
    long_name = "test_" + "a_name_that_goes_on_" * 20
    for day in range(6):
        run = make_run(
            suite,
            status=RunStatus.FAILED if day == 5 else RunStatus.PASSED,
            queued_at=now - timedelta(hours=6 - day),
            started_at=now - timedelta(hours=6 - day),
            branch="feat/" + "x" * 200 if day == 4 else "main",
            commit_message="Split shipments per warehouse",
        )
        results = add_results(
            run,
            {
                "test_create": Outcome.PASSED,
                long_name: Outcome.FLAKY if day == 2 else Outcome.PASSED,
                "test_refund": Outcome.FAILED if day == 5 else Outcome.PASSED,
                "test_later": Outcome.SKIPPED,
            },
            text="E   " + "assert 201 == 503 " * 40,
        )
    quarantine_case(case=results[2].case, reason="SHOP-231", days=14, owner="Ada", now=run.run_at)
    add_environment(run, {"postgres": (0.2, 0.3, 1.1), "order-service": (0.3, 1.2, 2.5)}, ready_after=2.5)
    add_log(run, "order-service", "INFO started", "WARN slow", "ERROR no stock " + "x" * 3000)
    make_event(run, "queued", message="Queued.", at=now)
    create_hook(project=project, provider="gitlab")
    make_member(project, Role.ADMIN)
    make_member(project, Role.VIEWER, username="x" * 150)
    ended = create_token(project=project, scopes=list(Scope), name="y" * 120).token
    revoke_token(token_id=ended.pk)
    create_token(project=project, scopes=[Scope.UPLOAD], name="Jenkins")
    delivery = add_delivery(run)
    live = make_run(suite, status=RunStatus.RUNNING, queued_at=now, started_at=now)
    errored = make_run(
        suite, status=RunStatus.ERRORED, queued_at=now, error_message="never ready\nlast log: x"
    )
    return [
        "/sign-in/",
        "/",
        "/projects/new/",
        "/p/empty/start/",
        "/p/empty/runs/",
        "/p/empty/tests/",
        "/p/empty/suites/",
        "/p/shop/",
        "/p/shop/runs/",
        "/p/shop/runs/?q=nothing-is-called-so",
        f"/p/shop/runs/{run.number}/",
        f"/p/shop/runs/{run.number}/?show=all",
        f"/p/shop/runs/{live.number}/",
        f"/p/shop/runs/{errored.number}/",
        "/p/empty/flaky/",
        "/p/empty/grid/",
        "/p/shop/flaky/",
        "/p/shop/flaky/?q=nothing-is-called-so",
        "/p/shop/grid/",
        "/p/shop/grid/?rows=now&order=similarity",
        "/p/shop/tests/",
        f"/p/shop/tests/{results[0].case_id}/",
        f"/p/shop/tests/{results[1].case_id}/",
        f"/p/shop/tests/{results[2].case_id}/",
        "/p/shop/suites/",
        "/p/shop/suites/checkout/",
        "/p/empty/webhooks/",
        "/p/shop/webhooks/",
        f"/p/shop/webhooks/{delivery.pk}/",
        "/p/empty/settings/",
        "/p/shop/settings/",
        "/p/shop/jump/?q=refund",
        "/p/nothing/",
    ]


@pytest.fixture
def addresses(site: str, transactional_db: None) -> list[str]:
    make_user("priya", is_superuser=True)
    return fill_pages()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_every_page_can_be_used_by_everyone(
    browser: Browser, site: str, addresses: list[str], width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(
        base_url=site, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    complaints = watch(page)
    found = []
    for address in addresses:
        page.goto(address)
        if address == "/sign-in/":
            found += violations(page, address)
            page.get_by_label("User name").fill("priya")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(lambda url: "sign-in" not in url)
            continue
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        found += violations(page, address)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.append(f"{address} is {wide} px wide")
    context.close()

    assert not found, "\n".join(found)
    assert complaints == []


def violations(page: Page, address: str) -> list[str]:
    answer = Axe().run(page, options={"runOnly": RULES}).response
    return [
        f"{address} {rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in answer["violations"]
        for node in rule["nodes"][:2]
    ]
