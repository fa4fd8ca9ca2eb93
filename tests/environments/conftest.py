"""Fixtures of the tests of environments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from environments.docker_engine import DockerEngine
from environments.engine import Engine
from environments.local_engine import LocalEngine
from tests.contract.conftest import HELPER
from tests.environments.checkout import Checkout
from tests.environments.lab import Lab
from tests.environments.local import REF, Local


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return Checkout(folder)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    directory = tmp_path / "checkout"
    directory.mkdir()
    environment = Local(tmp_path / "environments", directory)
    try:
        yield environment
    finally:
        assert environment.engine.remove_environment(REF) == []


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "local"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """What is promised of both engines is tested on both."""
    if request.param == "local":
        yield LocalEngine(tmp_path / "environments")
        return
    docker = DockerEngine(helper_image=HELPER)
    yield docker
    docker.close()


@pytest.fixture
def lab(engine: Engine, settings: Settings) -> Iterator[Lab]:
    """Environments of runs, of which nothing may be left."""
    yield Lab(engine)
    left = [ref for ref in engine.environments(settings.INSTANCE) if ref.owner.startswith("run:")]
    for ref in left:
        engine.remove_environment(ref)
    assert left == []
