"""Pictures of every page, light and dark, wide and narrow, with the sample data and a real run in it.

`make screens` starts a demonstration in a folder of its own, follows every link from its home page, and
writes each kind of page to `.cache/screens`; the ones that the documentation shows go to `docs/screens`.
With `--data-dir` a demonstration that runs already is taken instead.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

import django
from django.urls import Resolver404, resolve
from playwright.sync_api import Browser, Page, sync_playwright

from environments.probes import wait_until
from itdash.embedded import Running, find_running
from tests.conftest import ROOT, chromium

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FOLDER = ROOT / ".cache" / "screens"
SHOWN = ROOT / "docs" / "screens"
#: Which pictures the documentation shows: the page's name, and how it is looked at.
CHOSEN = {
    ("overview", "wide-light"),
    ("overview", "narrow-dark"),
    ("run", "wide-light"),
    ("test", "wide-light"),
    ("test", "wide-dark"),
    ("flaky", "wide-light"),
    ("durations", "wide-light"),
    ("services", "wide-light"),
    ("grid", "wide-dark"),
    ("compare", "wide-light"),
    ("environment", "wide-dark"),
    ("suite", "narrow-light"),
    ("run", "narrow-light"),
    ("runs", "wide-dark"),
}
#: Sixty days of reports are stored and judged, and a run of three services is made.
START_SECONDS = 900
#: Pages of a kind that are taken: a passed and a failed run differ.
OF_A_KIND = 3
#: Streams never end, downloads are no pages.
NOT_A_PAGE = re.compile(r"/(stream|live|log|files|sign-out|metrics|recent|waiting)/|[.](svg|xml)$")
#: Nothing is cut in the cache; a picture in the documentation is no longer than this.
SHOWN_HEIGHT = 1500


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]


LOOKS = [Look("wide-light", 1440, 900, "light"), Look("wide-dark", 1440, 900, "dark")]
LOOKS += [Look("narrow-light", 390, 844, "light"), Look("narrow-dark", 390, 844, "dark")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="of a demonstration that runs already")
    options = parser.parse_args()
    if not chromium():
        sys.stderr.write("Chromium is needed.\n")
        return 1
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itdash.settings")
    django.setup()
    with demonstration(options.data_dir) as (running, password), sync_playwright() as playwright:
        shutil.rmtree(FOLDER, ignore_errors=True)
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        for look in LOOKS:
            count = take_all(browser, look, running.public_url, password)
            sys.stdout.write(f"{look.name}: {count} pages in {FOLDER / look.name}\n")
        browser.close()
    return 0


@contextmanager
def demonstration(folder: Path | None) -> Iterator[tuple[Running, str]]:
    """The demonstration of that folder, or one of our own that is ended afterwards."""
    if folder is not None:
        running = find_running(folder)
        if running is None:
            raise SystemExit(f"Nothing runs in {folder}: start `make demo` in another terminal.")
        yield running, (folder / "demo" / "password").read_text()
        return
    with tempfile.TemporaryDirectory(prefix="itdash-screens-") as name:
        log = Path(name) / "demo.log"
        command = [sys.executable, "-m", "itdash", "demo", "--data-dir", name, "--port", "0"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            wait_until(lambda: is_played(log, process), deadline_seconds=START_SECONDS)
            running = find_running(Path(name))
            assert running is not None
            yield running, (Path(name) / "demo" / "password").read_text()
        finally:
            process.terminate()
            process.wait(timeout=60)


def is_played(log: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether the demonstration's own run has ended; it says so in one line."""
    told = log.read_text(errors="replace")
    if process.poll() is not None:
        raise SystemExit(f"The demonstration ended:\n{told[-3000:]}")
    return re.search(r"^  (passed|failed|errored|timed_out)$", told, re.MULTILINE) is not None


def take_all(browser: Browser, look: Look, url: str, password: str) -> int:
    """Follow links from the home page; returns how many pages were taken."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height}, color_scheme=look.scheme
    )
    page = context.new_page()
    taken: Counter[str] = Counter()
    take(page, f"{url}/sign-in/", look, taken)
    page.fill("input[name=username]", "demo")
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda address: "/sign-in/" not in address)
    waiting, seen = deque([f"{url}/", f"{url}/kit/", f"{url}/no-such-page/"]), set[str]()
    while waiting:
        address = waiting.popleft()
        if address in seen or taken[name_of(address)] >= OF_A_KIND:
            continue
        seen.add(address)
        take(page, address, look, taken)
        for link in page.eval_on_selector_all("a[href]", "all => all.map(one => one.getAttribute('href'))"):
            target = urljoin(address, str(link)).split("#")[0]
            # A query is another look at a page, but two runs are compared by nothing else.
            target = target if "/compare/" in target else target.split("?")[0]
            if target.startswith(f"{url}/") and not NOT_A_PAGE.search(target):
                waiting.append(target)
    context.close()
    return taken.total()


def name_of(address: str) -> str:
    """What the page is called in the code."""
    try:
        return resolve(urlsplit(address).path).url_name or "page"
    except Resolver404:
        return "not-found"


def take(page: Page, address: str, look: Look, taken: Counter[str]) -> None:
    page.goto(address, wait_until="load")
    name = name_of(address)
    taken[name] += 1
    number = "" if taken[name] == 1 else f"-{taken[name]}"
    # Charts are drawn anew once they are near: everything is, at this height.
    height: int = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": look.width, "height": min(max(height, look.height), 6000)})
    page.wait_for_timeout(400)
    page.screenshot(path=FOLDER / look.name / f"{name}{number}.png", full_page=True)
    if taken[name] == 1 and (name, look.name) in CHOSEN:
        shown = {"x": 0, "y": 0, "width": look.width, "height": min(height, SHOWN_HEIGHT)}
        page.screenshot(path=SHOWN / f"{name}-{look.name}.png", clip=shown, full_page=True)  # type: ignore[arg-type]  # a typed dict
    page.set_viewport_size({"width": look.width, "height": look.height})


if __name__ == "__main__":
    sys.exit(main())
