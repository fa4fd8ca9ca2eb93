"""How selected tests are named to their tool."""

from __future__ import annotations

from runs.models import TestCase
from runs.queries.selection import selector_of


def test_a_name_with_line_breaks_names_no_other_test() -> None:
    """The names are handed over one a line."""
    case = TestCase(class_name="tests.test_a", name="test_x\ntests/test_a.py::test_y", file="tests/test_a.py")

    assert selector_of(case) == "tests/test_a.py::test_x tests/test_a.py::test_y"
