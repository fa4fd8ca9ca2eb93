"""The example that newcomers run first does what its README says: by hand, with Compose, in pieces."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree as ET

import pytest

from environments.control import MarkPhase
from itdash import cli
from tests.conftest import missing
from tests.examples.shop_processes import SHOP, ShopProcesses, running_shop

FLAKY = "test_flaky_on_purpose_the_notification_arrives_within_a_second"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopProcesses]:
    with running_shop(tmp_path_factory.mktemp("shop")) as processes:
        yield processes


def cases_in(report: Path) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in ET.parse(report).iter("testcase")}


def kinds_in(case: ET.Element) -> list[str]:
    return [child.tag for child in case]


def test_the_checkout_suite_passes_on_plain_processes_and_stops_services_on_the_way(
    shop: ShopProcesses, tmp_path: Path
) -> None:
    report = tmp_path / "checkout.xml"
    shop.marks.clear()

    suite = shop.run("pytest", "tests/checkout", "--junitxml", str(report))

    assert suite.returncode == 0, suite.stdout
    cases = cases_in(report)
    assert [name for name, case in cases.items() if kinds_in(case)] == []
    assert "test_without_user_service_an_order_is_refused_and_works_again_afterwards" in cases
    # One window for each test, marked at both ends.
    assert Counter(phase for _, phase in shop.marks) == {
        MarkPhase.START: len(cases),
        MarkPhase.END: len(cases),
    }
    assert f"tests/checkout/test_notifications.py::{FLAKY}" in {test for test, _ in shop.marks}


def test_only_the_tests_that_are_asked_for_run(shop: ShopProcesses, tmp_path: Path) -> None:
    report = tmp_path / "selected.xml"
    asked = (
        "tests.checkout.test_users.test_an_unknown_user_is_missing\ntests/checkout/test_orders.py::nothing"
    )

    suite = shop.run("pytest", "tests/checkout", "--junitxml", str(report), ITDASH_TESTS=asked)

    assert suite.returncode == 0, suite.stdout
    assert list(cases_in(report)) == ["test_an_unknown_user_is_missing"]


def test_the_database_suite_passes_on_a_plain_server(shop: ShopProcesses, tmp_path: Path) -> None:
    report = tmp_path / "database.xml"

    suite = shop.run("pytest", "tests/database", "--junitxml", str(report))

    assert suite.returncode == 0, suite.stdout
    assert [name for name, case in cases_in(report).items() if kinds_in(case)] == []


def test_the_flaky_test_fails_once_passes_then_and_its_failed_attempt_is_in_the_report(
    shop: ShopProcesses, tmp_path: Path
) -> None:
    report = tmp_path / "flaky.xml"

    suite = shop.run("pytest", "tests/checkout", "-k", FLAKY, "--junitxml", str(report), SHOP_FLAKE_RATE="1")

    assert suite.returncode == 0, suite.stdout
    case = cases_in(report)[FLAKY]
    assert kinds_in(case) == ["flakyFailure"]
    assert "no notification for" in case[0].attrib["message"]
    assert "test_notifications.py" in (case[0].findtext("stackTrace") or "")


def test_a_test_that_never_passes_is_red_and_keeps_every_attempt(shop: ShopProcesses, tmp_path: Path) -> None:
    (tmp_path / "test_never.py").write_text(
        textwrap.dedent(
            """
            import pytest

            @pytest.mark.retry(times=2)
            def test_never(attempt):
                raise AssertionError(f"attempt {attempt}")
            """
        )
    )
    report = tmp_path / "never.xml"

    suite = shop.run(
        "pytest", str(tmp_path), "--rootdir", str(tmp_path), "-p", "tests.retries", "--junitxml", str(report)
    )

    assert suite.returncode == 1, suite.stdout
    case = cases_in(report)["test_never"]
    assert [(child.tag, child.attrib["message"].split(": ")[-1]) for child in case] == [
        ("failure", "attempt 1"),
        ("rerunFailure", "attempt 2"),
        ("rerunFailure", "attempt 3"),
    ]


def test_its_suite_file_and_compose_files_are_good_without_a_notice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SHOP)

    names = ["itdash.yml", "docker-compose.test.yml", "docker-compose.database.yml"]
    exit_code = cli.main(["check", "--json", *names])

    found = json.loads(capsys.readouterr().out)
    assert exit_code == 0
    assert [(file["file"], file["problems"], file["notices"]) for file in found] == [
        (name, [], []) for name in names
    ]


@pytest.mark.engine
@pytest.mark.parametrize("file", ["docker-compose.test.yml", "docker-compose.database.yml"])
def test_the_suite_passes_as_people_run_it_with_compose(file: str) -> None:
    compose = Compose(file)

    try:
        suite = compose("run", "--build", "--rm", "-T", "integration-tests")
    finally:
        compose("down", "--volumes", "--rmi", "local", "--timeout", "2")

    assert suite.returncode == 0, suite.stdout[-4000:]
    assert "passed" in suite.stdout


class Compose:
    """The reference implementation on one file, in a project of its own, on the local base images."""

    def __init__(self, file: str) -> None:
        self.program = os.environ.get("ITDASH_COMPOSE_BINARY", "")
        if not self.program:
            missing("ITDASH_COMPOSE_BINARY does not name a Compose binary")
        self.file = file
        self.project = f"shop-{uuid4().hex[:8]}"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, "-p", self.project, "-f", self.file, *arguments],
            cwd=SHOP,
            env={
                **os.environ,
                # The classic builder, which every Engine since 20.10 has.
                "DOCKER_BUILDKIT": "0",
                "PYTHON_IMAGE": "itdash-lab/python:3.13",
                "PYTHON_INSTALL": "",
                "POSTGRES_IMAGE": "itdash-lab/postgres:17",
                "VALKEY_IMAGE": "itdash-lab/valkey:8",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
