"""Screenshots of every page of a running demonstration, light and dark, wide and narrow.

Start `make demo` in another terminal, then `make screens`; the pictures are in `.cache/screens`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from itdash.embedded import find_running
from tests.conftest import ROOT, chromium

FOLDER = ROOT / ".cache" / "screens"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
#: Numbers are taken out of an address to tell its kind; so many of a kind are enough.
ENOUGH_OF_A_KIND = 2
#: Streams never end, downloads are no pages.
NOT_A_PAGE = re.compile(r"/(stream|live|log|files|sign-out|metrics|recent|waiting)/")


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
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".itdash")
    options = parser.parse_args()
    running = find_running(options.data_dir)
    password = options.data_dir / "demo" / "password"
    if running is None or not password.exists() or not chromium():
        sys.stderr.write("Start `make demo` first, in another terminal. Chromium is needed too.\n")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        for look in LOOKS:
            count = take_all(browser, look, running.public_url, password.read_text())
            sys.stdout.write(f"{look.name}: {count} pages in {FOLDER / look.name}\n")
        browser.close()
    return 0


def take_all(browser: Browser, look: Look, url: str, password: str) -> int:
    """Follow links from the home page; returns how many pages were taken."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height}, color_scheme=look.scheme
    )
    page = context.new_page()
    take(page, f"{url}/sign-in/", look)
    page.fill("input[name=username]", "demo")
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda address: "/sign-in/" not in address)
    waiting, seen, kinds = deque([f"{url}/"]), {f"{url}/"}, dict[str, int]()
    while waiting:
        address = waiting.popleft()
        take(page, address, look)
        for link in page.eval_on_selector_all("a[href]", "all => all.map(one => one.getAttribute('href'))"):
            target = urljoin(address, str(link)).split("#")[0].split("?")[0]
            kind = re.sub(r"\d+", "N", urlsplit(target).path)
            new = target.startswith(f"{url}/") and target not in seen and not NOT_A_PAGE.search(target)
            if new and kinds.get(kind, 0) < ENOUGH_OF_A_KIND:
                kinds[kind] = kinds.get(kind, 0) + 1
                seen.add(target)
                waiting.append(target)
    context.close()
    return len(seen) + 1


def take(page: Page, address: str, look: Look) -> None:
    page.goto(address, wait_until="load")
    name = urlsplit(address).path.strip("/").replace("/", "_") or "home"
    page.screenshot(path=FOLDER / look.name / f"{name}.png", full_page=True)


if __name__ == "__main__":
    sys.exit(main())
