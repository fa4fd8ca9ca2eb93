"""What all tests share: skips by name and reason (failures in CI), the corpus, plain static files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from pytest_django import DjangoDbBlocker, Settings

from environments.errors import DeadlineExceededError
from environments.probes import wait_until

ROOT = Path(__file__).resolve().parent.parent
#: `make fuzz`: long, and anew each time.
hypothesis.settings.register_profile("fuzz", max_examples=20_000, deadline=None, derandomize=False)
IN_CI = os.environ.get("CI", "").lower() == "true"
if not IN_CI:
    # As Hypothesis does in CI by itself: a busy machine is no failure.
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")

#: These files take longest. They begin first, or the end would be spent waiting for one of them alone.
LONGEST = (
    "tests/test_production_compose.py",
    "tests/browser/test_accessibility.py",
    "tests/itdash/test_cli.py",
    "tests/chaos/test_killed_workers.py",
    "tests/runs/test_sample_actions.py",
    "tests/environments/test_lifecycle.py",
    "tests/examples/test_shop.py",
    "tests/chaos/test_environment_kills.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make docs-access` write what the tests compare."""
    parser.addoption("--write-docs", action="store_true", help="write the tables of docs/ that tests make")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the others stay in their order."""
    places = {ROOT / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def missing(reason: str) -> None:
    """Skip because this machine lacks something; in CI that is a failure."""
    if IN_CI:
        pytest.fail(f"CI must have what this test needs: {reason}", pytrace=False)
    pytest.skip(reason)


@cache
def engine_complaint() -> str:
    """Why container tests cannot run here; empty when they can."""
    if shutil.which("docker") is None:
        return "no docker command"
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if asked.returncode != 0:
        return f"no container engine answers: {asked.stderr.strip().splitlines()[-1:]}"
    images = subprocess.run(
        [
            "docker",
            "image",
            "inspect",
            "itdash-lab/python:3.13",
            "itdash-lab/postgres:17",
            "itdash-lab/valkey:8",
        ],
        capture_output=True,
        timeout=20,
        check=False,
    )
    return "" if images.returncode == 0 else "the local base images are not built: run .ci/images"


@cache
def chromium() -> str:
    """The browser's path, empty when there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("engine") and (complaint := engine_complaint()):
        missing(complaint)
    if request.node.get_closest_marker("browser") and not chromium():
        missing("Chromium is not installed")


@pytest.fixture
def own_files(tmp_path: Path, settings: Settings) -> None:
    """What is stored goes into a folder of the test's own."""
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real inputs with known answers, beside the checkout or named by ITDASH_CORPUS."""
    folder = Path(os.environ.get("ITDASH_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        missing(f"no corpus at {folder}; name it with ITDASH_CORPUS")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _quick_settings() -> Iterator[None]:
    """Pages in tests name static files without a manifest, so that nothing has to be collected first.

    Passwords are hashed in one round: each would take a third of a second. A server of its own process knows
    them still, as rounds are part of what is kept. Overridden the way Django's own tests do it: that also
    forgets what somebody looked at before.
    """
    from django.conf import settings  # noqa: PLC0415 - settings are not read before the servers are up
    from django.test import override_settings  # noqa: PLC0415

    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    hashers = ["tests.factories.OneRound"]
    with override_settings(STORAGES=settings.STORAGES | {"staticfiles": plain}, PASSWORD_HASHERS=hashers):
        yield


def others_at_work() -> int:
    """How many other connections to the tests' database are in a transaction: processes beside the tests."""
    from django.db import connection  # noqa: PLC0415 - settings are not read before the servers are up

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        row = cursor.fetchone()
    return int(row[0])


@pytest.fixture(scope="session", autouse=True)
def _emptied_whoever_is_at_work() -> Iterator[None]:
    """Tables are emptied after a test though a process beside it, a worker say, may be using them still.

    Emptying locks one table after the other, in an order that nobody else keeps: whoever meets it in a circle
    is waited for, and if the server ended the emptying, it is done again.
    """
    from django.core.management.base import CommandError  # noqa: PLC0415 - as above
    from django.db import OperationalError  # noqa: PLC0415
    from django.test import TransactionTestCase  # noqa: PLC0415

    empty: Callable[[TransactionTestCase], None] = TransactionTestCase.__dict__["_fixture_teardown"]

    def empty_in_peace(case: TransactionTestCase) -> None:
        with suppress(DeadlineExceededError):
            wait_until(lambda: not others_at_work(), deadline_seconds=5)
        for _ in range(4):
            try:
                empty(case)
            except CommandError as error:
                if not isinstance(error.__cause__, OperationalError):
                    raise
            else:
                return
        empty(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_in_peace)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Whoever still holds a connection to the tests' database at the end is put out, so that it can go."""
    yield
    from django.db import connection  # noqa: PLC0415 - settings are not read before the servers are up

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
