"""An engine of the tests' own, made once for all that stop it or count what is on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.private_engine import PrivateEngine, private_engine
from tests.conftest import engine_complaint, missing


@pytest.fixture(scope="session")
def own_engine() -> Iterator[PrivateEngine]:
    if complaint := engine_complaint():
        missing(complaint)
    with private_engine() as engine:
        yield engine
