from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.control import Control

type Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="session")
def database_url() -> str:
    return os.environ["DATABASE_URL"]


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def control() -> Control:
    found = Control.from_environment(os.environ)
    if found is None:
        pytest.skip("needs itdash's control API, which stops and starts services during a run")
    return found
