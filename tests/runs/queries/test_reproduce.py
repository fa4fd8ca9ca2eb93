"""The command that runs a test again, for each tool that can be told, and none for what cannot."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from runs.models import TestCase
from runs.queries.reproduce import command


def make(**values: Any) -> TestCase:
    return TestCase(**values)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {
                "name": "test_pay",
                "parameters": "[a b]",
                "file": "tests/test_shop.py",
                "class_name": "tests.test_shop",
            },
            "pytest 'tests/test_shop.py::test_pay[a b]'",
        ),
        (
            {"name": "test_pay", "class_name": "tests.checkout.test_shop.TestCard"},
            "pytest tests/checkout/test_shop.py::TestCard::test_pay",
        ),
        (
            {"name": "pays (by card)", "file": "e2e/pay.spec.ts"},
            r"npx playwright test e2e/pay.spec.ts -g 'pays\ \(by\ card\)'",
        ),
        ({"name": "pays", "file": "src/pay.test.ts"}, "npx jest src/pay.test.ts -t pays"),
        (
            {"name": "TestPay/by_card", "class_name": "example.org/shop/pay"},
            "go test example.org/shop/pay -run '^TestPay$/^by_card$'",
        ),
        (
            {"name": "pays", "class_name": "org.example.shop.PayTest"},
            "mvn test '-Dtest=org.example.shop.PayTest#pays'",
        ),
        ({"name": "pays", "class_name": "Payment"}, ""),
        ({"name": "step 3", "path": "suite"}, ""),
        ({"name": "test_\n; rm -rf ~", "file": "tests/test_a.py"}, ""),
        ({"name": "x" * 10_000, "file": "tests/test_a.py"}, ""),
    ],
)
def test_a_tool_is_told_by_what_its_reports_say(values: dict[str, str], line: str) -> None:
    assert shlex.split(command(make(**values))) == shlex.split(line)


@pytest.mark.parametrize("name", ["test_$(rm -rf ~)", "test_`id`", "test_'; id; '", 'test_"; id #'])
def test_a_hostile_name_stays_one_word_for_the_shell(name: str) -> None:
    words = shlex.split(command(make(name=name, file="tests/test_a.py")))

    assert words == ["pytest", f"tests/test_a.py::{name}"]
