"""Fixtures of the tests of environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments.checkout import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return Checkout(folder)
