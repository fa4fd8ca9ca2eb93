"""Presets without images, without a container engine: the tests reach what they are told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from environments.local_engine import LocalEngine
from environments.spec import load_environment
from tests.environments.lab import Lab

pytestmark = pytest.mark.django_db(transaction=True)

FILE = """
services:
  db: {x-itdash: {preset: postgres}}
  cache: {x-itdash: {preset: redis}}
  tests:
    image: python:3.13
    command: [python3, ask.py]
    x-itdash: {local: {command: [python3, ask.py], working_dir: .}}
"""
ASK = """
import os, psycopg, redis
for how in (os.environ["DATABASE_URL"], os.environ["DB_URL"], ""):
    with psycopg.connect(how) as connection:
        print(connection.execute("SELECT 7").fetchone())
print(redis.Redis.from_url(os.environ["REDIS_URL"]).ping())
"""


def test_tests_reach_presets_by_what_they_are_told(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "compose.yaml").write_text(FILE)
    (checkout / "ask.py").write_text(ASK)
    lab = Lab(LocalEngine(tmp_path / "environments"))
    spec = load_environment([checkout / "compose.yaml"], directory=checkout, variables={})

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        state = environment.wait_for_tests(deadline_seconds=20)

    assert lab.texts("tests") == ["(7,)", "(7,)", "(7,)", "True"]
    assert state.exit_code == 0
