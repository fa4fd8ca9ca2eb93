"""Fixtures of the tests of environments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environments.checkout import Checkout
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
