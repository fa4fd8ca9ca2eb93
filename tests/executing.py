"""A suite of the local engine's, and a run of it from its claim to its end."""

from __future__ import annotations

import sys
from pathlib import Path

from runs.actions.runs import claim_run, queue_run
from runs.execution.executor import execute
from runs.models import Project, Run
from runs.vocabulary import Trigger
from tests.repositories import commit

SUITE_FILE = """
version: 1
suites:
  checkout:
    compose: docker-compose.test.yml
    tests: integration-tests
    results: [/results/**/*.xml]
    timeout: 1m
"""

COMPOSE = """
services:
  integration-tests:
    image: python:3.13
    command: ["python3", "/src/suite.py", "/results"]
    volumes: [".:/src"]
"""

PASSED = '<testsuite><testcase classname="orders" name="create"/></testsuite>'

FAILED = (
    '<testsuite><testcase classname="orders" name="create"/>'
    '<testcase classname="orders" name="conflict"><failure message="409 expected"/></testcase></testsuite>'
)


def writing(report: str, *, then: str = "") -> str:
    """A suite that writes a report and does something more."""
    return (
        "import pathlib, sys, time\n"
        "results = pathlib.Path(sys.argv[1])\n"
        f"(results / 'junit.xml').write_text({report!r})\n"
        "print('the tests ran')\n"
        f"{then}\n"
    )


def write(project: Project, files: dict[str, str]) -> str:
    return commit(Path(project.repository_url), files)


def executed(project: Project, **values: str) -> Run:
    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON, **values)  # type: ignore[arg-type]  # the test's own words
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None
    execute(claim)
    run.refresh_from_db()
    tell(run)
    return run


def tell(run: Run) -> None:
    """Print the story: pytest shows it when the test fails."""
    story = [f"{event.at.time()} {event.kind} {event.message}" for event in run.events.order_by("at", "pk")]
    log = [f"{chunk.service}: {chunk.text}" for chunk in run.log_chunks.order_by("pk")]
    sys.stdout.write("\n".join([run.status, run.error_message, *story, *log]))


def kinds(run: Run) -> list[str]:
    return list(run.events.order_by("at", "pk").values_list("kind", flat=True))
