"""What the suite file at the commit says is what is run; what it cannot mean is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.actions.runs import claim_run, rerun_run
from runs.execution.executor import execute
from runs.models import LogChunk, Project, Schedule
from runs.vocabulary import RunStatus
from tests.executing import COMPOSE, FAILED, PASSED, SUITE_FILE, executed, write, writing
from tests.repositories import git

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_suite_file_that_cannot_be_read_is_named_with_its_line(project: Project) -> None:
    write(project, {"itdash.yml": "version: 1\nsuites:\n  checkout:\n   compose: a.yml\n  tests: [\n"})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "suite_file")
    assert run.error_message.startswith("itdash.yml:")


def test_an_unknown_key_of_the_suite_file_is_named_with_the_nearest_known_one(project: Project) -> None:
    write(project, {"itdash.yml": SUITE_FILE.replace("results:", "result:")})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "suite_file")
    assert "itdash.yml:7: " in run.error_message
    assert "results" in run.error_message


def test_an_unknown_service_is_named_with_those_that_are_there(project: Project) -> None:
    write(project, {"itdash.yml": SUITE_FILE.replace("integration-tests", "integration-test")})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "suite_file")
    assert run.error_message == (
        "itdash.yml:6: there is no service 'integration-test' in docker-compose.test.yml; it has "
        "integration-tests. Did you mean 'integration-tests'?"
    )


def test_a_compose_file_that_cannot_be_used_is_named_with_its_line(project: Project) -> None:
    write(project, {"docker-compose.test.yml": COMPOSE + "    imagee: x\n"})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "compose_file")
    assert run.error_message.startswith("docker-compose.test.yml:7: unknown key")


def test_a_compose_file_that_asks_for_too_much_is_refused(project: Project) -> None:
    write(project, {"docker-compose.test.yml": COMPOSE + "    privileged: true\n"})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "policy")
    assert "privileged" in run.error_message


def test_the_suite_is_the_one_at_the_commit(project: Project) -> None:
    first = git(Path(project.repository_url), "rev-parse", "HEAD")
    write(project, {"itdash.yml": "version: 1\nsuites: {}\n"})

    assert executed(project, commit=first).status == RunStatus.PASSED


def test_without_a_suite_file_a_compose_file_with_tests_is_a_suite(project: Project) -> None:
    (Path(project.repository_url) / "itdash.yml").unlink()
    write(project, {})

    assert executed(project).status == RunStatus.PASSED


def test_the_gates_are_those_of_the_commit_and_kept_with_the_run(project: Project) -> None:
    write(project, {"itdash.yml": SUITE_FILE + "    gates: {new_failures: 0, duration_increase: 50%}\n"})

    first = executed(project)
    write(project, {"suite.py": writing(FAILED)})
    second = executed(project)

    assert first.gates == second.gates == {"new_failures": 0, "duration_increase": 0.5}
    assert (second.status, second.verdict, second.verdict_base) == (RunStatus.FAILED, "fail", first)
    assert second.verdict_reasons[0] == "Fails: 1 new failure against #1 on main, at most 0 allowed."


def test_the_default_branchs_suite_file_decides_about_schedules_and_no_other(project: Project) -> None:
    """Read by a run of the default branch; neither another branch's file nor one that is run again."""

    def scheduled(line: str) -> str:
        return f'{SUITE_FILE}    on: {{schedule: [{{cron: "{line}", timezone: Europe/Berlin}}]}}\n'

    def lines() -> list[str]:
        return list(Schedule.objects.values_list("cron", flat=True))

    old = write(project, {"itdash.yml": scheduled("0 2 * * *")})
    first = executed(project)
    assert lines() == ["0 2 * * *"]

    write(project, {"itdash.yml": scheduled("0 3 * * *")})
    executed(project)
    assert lines() == ["0 3 * * *"]

    again = rerun_run(run_id=first.pk, by=None)
    assert again.commit == old
    claim = claim_run(again.pk, owner="worker-a")
    assert claim is not None
    execute(claim)
    executed(project, commit=old, branch="feat/nights")
    executed(project, commit=old, branch="main", pull_request="7")
    assert lines() == ["0 3 * * *"]

    write(project, {"itdash.yml": SUITE_FILE})
    executed(project)
    assert lines() == []


SEEDING = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["ITDASH_CONTROL_URL"] + "/data/user-with-orders",
    data=json.dumps({"count": 3, "name": "O'Hara; exit 1"}).encode(),
    headers={"Authorization": "Bearer " + os.environ["ITDASH_CONTROL_TOKEN"]},
)
with urllib.request.urlopen(request, timeout=20) as answer:
    print(answer.status, json.load(answer))
"""


def test_tests_call_the_recipes_of_their_suite_file_and_the_run_tells_so(project: Project) -> None:
    recipe = """
    data:
      user-with-orders: {service: users, run: "echo '[{count}, \\"{name}\\"]'"}
"""
    users = """
  users:
    image: python:3.13
    command: ["python3", "-c", "import time; time.sleep(600)"]
"""
    files = {
        "itdash.yml": SUITE_FILE.rstrip() + recipe,
        "docker-compose.test.yml": COMPOSE.rstrip() + users,
        "suite.py": writing(PASSED, then=SEEDING),
    }
    write(project, files)

    run = executed(project)

    assert run.status == RunStatus.PASSED
    log = "".join(chunk.text for chunk in LogChunk.objects.filter(run=run, service="integration-tests"))
    assert """201 [3, "O'Hara; exit 1"]""" in log
    event = run.events.get(kind="control")
    assert (event.service, event.data) == ("users", {"action": "data", "recipe": "user-with-orders"})
