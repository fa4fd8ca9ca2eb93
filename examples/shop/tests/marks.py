"""A pytest plugin: tell itdash when each test starts and ends.

With these marks a failure is compared with what the services said and suffered in exactly that window.
Outside itdash the plugin does nothing. In another language the recipe is the same: before and after each test
``POST $ITDASH_CONTROL_URL/marks`` with ``{"test": "…", "phase": "start"}`` or ``"end"``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.control import Control


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    control = Control.from_environment(os.environ)
    if control is None:
        return (yield)
    control.mark(item.nodeid, "start")
    try:
        return (yield)
    finally:
        control.mark(item.nodeid, "end")
