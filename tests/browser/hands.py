"""Two ways to use a page: by mouse, and by the keyboard alone as somebody does who has no mouse.

The keyboard's hand reaches everything with Tab, in the page's own order: what cannot be reached so fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from playwright.sync_api import Locator, Page, expect

#: More stops than any page has between two things that a person wants.
MOST_TABS = 250


class Hand(Protocol):
    """What a person does with the controls of a page."""

    def press(self, control: Locator) -> None:
        """Follow a link, push a button, open what is folded."""

    def write(self, field: Locator, text: str) -> None:
        """Replace what stands in a field."""

    def choose(self, field: Locator, value: str) -> None:
        """Take one of the options of a list, by its value."""

    def tick(self, box: Locator) -> None:
        """Turn a box on or off."""


class Mouse:
    """Clicks; the keys are for letters only."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def press(self, control: Locator) -> None:
        control.click()

    def write(self, field: Locator, text: str) -> None:
        field.click()
        field.fill(text)

    def choose(self, field: Locator, value: str) -> None:
        field.select_option(value)

    def tick(self, box: Locator) -> None:
        box.click()


class Keyboard:
    """Tab, Enter, arrows and letters. Nothing is focused by the test itself."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def press(self, control: Locator) -> None:
        self._reach(control)
        self._page.keyboard.press("Enter")

    def write(self, field: Locator, text: str) -> None:
        self._reach(field)
        self._page.keyboard.press("ControlOrMeta+a")
        self._page.keyboard.type(text)

    def choose(self, field: Locator, value: str) -> None:
        self._reach(field)
        options: list[str] = field.evaluate("list => [...list.options].map(option => option.value)")
        at: int = field.evaluate("list => list.selectedIndex")
        wanted = options.index(value)
        for _ in range(abs(wanted - at)):
            self._page.keyboard.press("ArrowDown" if wanted > at else "ArrowUp")
        expect(field).to_have_value(value)

    def tick(self, box: Locator) -> None:
        self._reach(box)
        self._page.keyboard.press("Space")

    def _reach(self, control: Locator) -> None:
        expect(control).to_be_visible()
        for _ in range(MOST_TABS):
            if control.evaluate("one => one === document.activeElement"):
                return
            self._page.keyboard.press("Tab")
        raise AssertionError(f"Tab never came to {control}.")


HANDS: Mapping[str, Callable[[Page], Hand]] = {"mouse": Mouse, "keyboard": Keyboard}
