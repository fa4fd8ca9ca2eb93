"""The project whose suite the executor's tests run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from runs.models import Project
from tests.executing import COMPOSE, PASSED, SUITE_FILE, writing
from tests.factories import make_project
from tests.repositories import make_repository


@pytest.fixture
def project(tmp_path: Path, settings: Settings) -> Iterator[Project]:
    settings.DATA_DIR = tmp_path / "data"
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.ENGINE = "local"
    make_repository(
        tmp_path / "repository",
        {"itdash.yml": SUITE_FILE, "docker-compose.test.yml": COMPOSE, "suite.py": writing(PASSED)},
    )
    yield make_project(
        "shop", repository_url=str(tmp_path / "repository"), allow_local_engine=True, default_branch="main"
    )
    assert list((tmp_path / "data" / "checkouts").glob("*")) == []
    assert list((tmp_path / "data" / "environments").glob("itd-*")) == []
