"""A suite's shards are planned from its files before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.execution.plans import plan_shards
from runs.suitefile import SuiteFileError, read_suite

SUITE = """\
version: 1
suites:
  checkout:
    compose: compose.yaml
    tests: tests
    before:
      - {service: %s, run: make data}
    results: [/results/*.xml]
"""
COMPOSE = """\
services:
  tests: {image: tests, scale: 2}
  store: {image: store, scale: 2}
"""


def planned(folder: Path, hook: str) -> None:
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / "itdash.yml").write_text(SUITE % hook)
    suite = read_suite(folder, name="checkout")
    plan_shards(suite, folder, run_id=1, variables={}, path="itdash.yml")


def test_a_hook_runs_in_one_of_a_services_containers(tmp_path: Path) -> None:
    planned(tmp_path, "store-2")

    with pytest.raises(SuiteFileError) as caught:
        planned(tmp_path, "store")

    assert str(caught.value.problems[0]) == (
        "itdash.yml:6: there is no service 'store' in compose.yaml; it has tests, store-1, store-2. "
        "Did you mean 'store-2'?"
    )
