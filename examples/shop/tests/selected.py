"""A pytest plugin: run only the tests that itdash asks for, when it asks for some.

"Run the failed tests again" hands their names over in ``ITDASH_TESTS``, one a line: pytest's node ids where
the report tells the file, else the class name of the report, a dot and the test's name.
"""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = set(filter(None, os.environ.get("ITDASH_TESTS", "").split("\n")))
    if not wanted:
        return
    left_out = [item for item in items if not wanted & {item.nodeid, reported_name(item.nodeid)}]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def reported_name(node_id: str) -> str:
    """``tests/test_a.py::TestB::test_c[1.5]`` as the report has it: ``tests.test_a.TestB.test_c[1.5]``."""
    path, _, rest = node_id.partition("::")
    names, bracket, parameters = rest.partition("[")
    return f"{path.removesuffix('.py').replace('/', '.')}.{names.replace('::', '.')}{bracket}{parameters}"
