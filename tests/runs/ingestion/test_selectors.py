"""A test's name as its tool is told it."""

from __future__ import annotations

import pytest

from runs.ingestion.selectors import selector


@pytest.mark.parametrize(
    ("class_name", "name", "file", "told"),
    [
        ("tests.test_orders", "test_pay", "tests/test_orders.py", "tests/test_orders.py::test_pay"),
        (
            "tests.test_orders.TestRefund",
            "test_twice[eur-3]",
            "tests/test_orders.py",
            "tests/test_orders.py::TestRefund::test_twice[eur-3]",
        ),
        ("pkg.test_a.TestB.TestC", "test_d", "sub/pkg/test_a.py", "sub/pkg/test_a.py::TestB::TestC::test_d"),
        ("elsewhere", "test_d", "test_a.py", "test_a.py::test_d"),
        ("tests.test_orders.TestRefund", "test_twice", "", "tests.test_orders.TestRefund.test_twice"),
        ("com.shop.OrderTest", "refunds", "OrderTest.java", "com.shop.OrderTest.refunds"),
        ("", "refunds an order", "", "refunds an order"),
    ],
)
def test_the_tools_own_name_is_made_of_what_the_report_tells(
    class_name: str, name: str, file: str, told: str
) -> None:
    assert selector(class_name=class_name, name=name, file=file) == told
