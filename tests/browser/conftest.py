"""A real server of the built site on the tests' database, and Chromium that reports every refusal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, Request, Response, sync_playwright

from environments.probes import wait_until
from runs.models import User
from tests.conftest import ROOT, chromium
from tests.factories import make_user
from tests.ports import free_ports
from tests.sign_in_servers import Servers, sign_in_servers

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery"
START_SECONDS = 60
_NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
#: A page is loaded so often until all of it came.
_LOADS = 5


@pytest.fixture(scope="session")
def providers() -> Iterator[Servers]:
    """The servers that people sign in with beside their passwords."""
    with sign_in_servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def variables(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory, providers: Servers
) -> dict[str, str]:
    """What the site's processes are told: the tests' database and broker, a folder of their own."""
    return os.environ | {
        "DATABASE_URL": database_url(),
        "ITDASH_DATA_DIR": str(tmp_path_factory.mktemp("site")),
        "ITDASH_PUBLIC_URL": f"http://127.0.0.1:{free_ports(1)[0]}",
        "ITDASH_ENGINE": "local",
        "DJANGO_SETTINGS_MODULE": "itdash.settings",
        **providers.variables(),
    }


@pytest.fixture(scope="session")
def site(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with collected, hashed, compressed static files."""
    address = variables["ITDASH_PUBLIC_URL"]
    port = address.rpartition(":")[2]
    manage = [sys.executable, str(ROOT / "manage.py"), "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(manage, env=variables, check=True, timeout=120)
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "uvicorn", "itdash.asgi:application", "--port", port]
        command += ["--timeout-graceful-shutdown=1"]  # left pages stream on without end
        server = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
    try:
        wait_until(lambda: answers(address), deadline_seconds=START_SECONDS)
        yield address
    finally:
        end(server)


@pytest.fixture(scope="module")
def worker(site: str, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real worker of the site that does all kinds of work, one after the other.

    Of a module and no longer: other tests ring and want to do the work themselves. What they rang is purged.
    """
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    command = [sys.executable, "-m", "celery", "--app=itdash.celery", "worker", "--pool=solo"]
    command += [
        "--purge",
        "--queues=default,ingest,runs,send,judge",
        "--without-gossip",
        "--without-mingle",
        "--loglevel=INFO",
    ]
    with log.open("wb") as output:
        told = variables | {"ITDASH_LOG_LEVEL": "INFO"}  # it is ready when it says so
        process = subprocess.Popen(command, cwd=ROOT, env=told, stdout=output, stderr=output)
    try:
        wait_until(lambda: b" ready." in log.read_bytes(), deadline_seconds=START_SECONDS)
        yield
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def database_url() -> str:
    """The tests' database, as the driver knows it."""
    from django.db import connection  # noqa: PLC0415 - settings are not read before the servers are up

    known = connection.settings_dict
    return f"postgresql://{known['USER']}@/{known['NAME']}?host={known['HOST']}&port={known['PORT'] or 5432}"


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/sign-in/", timeout=2).status_code < 500
    except httpx.TransportError:
        return False


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, closed before the tests of other packages: they may want an event loop of their own.

    Playwright's synchronous interface keeps a loop in this thread while it is open. The rows written beside
    it are ours alone, so Django may be told that this is safe.
    """
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        found = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, site: str, transactional_db: None) -> Iterator[Page]:
    """A page of its own; any refusal by the content policy or error of a script fails the test."""
    context = browser.new_context(base_url=site, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(10_000)
    opened = patient(context.new_page())
    complaints = watch(opened)
    yield opened
    opened.close()
    context.close()
    assert complaints == []


def watch(page: Page) -> list[str]:
    """What the page complains about, gathered from now on."""
    complaints: list[str] = []
    page.expose_function("__refused", lambda text: complaints.append(text))  # noqa: PLW0108 - Playwright marks what it is given
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation', event =>"
        " window.__refused(`${event.effectiveDirective} ${event.blockedURI}`))"
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def patient(page: Page) -> Page:
    """Let `goto` load a page again of which something was lost because the machine's networks changed.

    Chromium drops what it is loading when an interface comes or goes, and containers' do all the time: a
    page without its styles says nothing of itself.
    """
    load = page.goto
    lost: list[str] = []

    def note(request: Request) -> None:
        if _NETWORK_CHANGED in (request.failure or ""):
            lost.append(request.url)

    def goto(url: str, **options: Any) -> Response | None:
        for _ in range(_LOADS - 1):
            lost.clear()
            try:
                answer = load(url, **options)
            except Error as error:
                if _NETWORK_CHANGED not in error.message:
                    raise
                continue
            if not lost:
                return answer
        return load(url, **options)

    page.on("requestfailed", note)
    page.goto = goto  # type: ignore[method-assign]
    return page


type SignIn = Callable[..., User]


@pytest.fixture
def sign_in(page: Page) -> SignIn:
    """Sign somebody in through the page itself."""

    def as_user(user: User | None = None) -> User:
        user = user or make_user()
        page.goto("/sign-in/")
        page.get_by_label("User name").fill(user.username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        return user

    return as_user
