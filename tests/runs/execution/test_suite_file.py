"""What the suite file at the commit says is what is run; what it cannot mean is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.actions.runs import claim_run, rerun_run
from runs.actions.webhooks import create_hook, handle_delivery, receive_delivery
from runs.execution.executor import execute
from runs.models import Delivery, LogChunk, Project, Run, Schedule
from runs.vocabulary import DeliveryStatus, RunStatus
from tests.executing import COMPOSE, FAILED, PASSED, SUITE_FILE, executed, write, writing
from tests.hooks import sample
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


def pushed(project: Project, commit: str) -> Delivery:
    """The host has told of a push to the default branch, and a worker heard it."""
    hook = project.hooks.first() or create_hook(project=project, provider="gitea")
    payload = sample("gitea_push") | {"ref": "refs/heads/main", "after": commit}
    delivery = receive_delivery(hook=hook, key=commit, event="push", payload=payload)
    handle_delivery(delivery.pk)
    delivery.refresh_from_db()
    return delivery


def execute_queued(project: Project) -> None:
    for run in project.runs.filter(status=RunStatus.QUEUED).order_by("pk"):
        claim = claim_run(run.pk, owner="worker-a")
        assert claim is not None
        execute(claim)


TWO_SUITES = (
    SUITE_FILE
    + """    on: {push: {branches: [main]}}
  smoke:
    compose: docker-compose.test.yml
    tests: integration-tests
    results: [/results/**/*.xml]
    on: {push: {branches: [main]}, schedule: [{cron: "0 4 * * *"}]}
  nightly:
    compose: docker-compose.test.yml
    tests: integration-tests
"""
)


def test_a_suite_that_never_ran_starts_with_the_push_that_brought_it(project: Project) -> None:
    write(project, {"itdash.yml": f"{SUITE_FILE}    on: {{push: {{branches: [main]}}}}\n"})
    executed(project)
    delivery = pushed(project, write(project, {"itdash.yml": TWO_SUITES}))
    assert [run.suite.name for run in delivery.runs.all()] == ["checkout"]

    execute_queued(project)
    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.RECEIVED
    handle_delivery(delivery.pk)
    execute_queued(project)

    delivery.refresh_from_db()
    assert delivery.reason.splitlines() == [
        "Handled again: its suite file has smoke, nightly, which nobody knew.",
        "checkout: queued before, as run #2.",
        "smoke: queued as run #3.",
        "nightly: its suite file has no on.push.",
    ]
    known = delivery.runs.order_by("number").values_list("suite__name", "commit", "status")
    assert list(known) == [
        ("checkout", delivery.payload["after"], "passed"),
        ("smoke", delivery.payload["after"], "passed"),
    ]
    assert delivery.status == DeliveryStatus.ACCEPTED
    assert list(Schedule.objects.values_list("suite__name", "cron")) == [("smoke", "0 4 * * *")]
    assert Run.objects.count() == 3


def test_no_other_branch_and_no_other_file_makes_suites_known(project: Project) -> None:
    project.suites.create(name="nightly", path="other/itdash.yml")
    new = write(project, {"itdash.yml": TWO_SUITES})

    executed(project, commit=new, branch="feat/smoke")
    executed(project, commit=new, branch="main", pull_request="7")
    assert set(project.suites.values_list("name", flat=True)) == {"checkout", "nightly"}

    executed(project)
    assert project.suites.get(name="smoke").definition["on"] == {
        "push": {"branches": ["main"]},
        "schedule": [{"cron": "0 4 * * *"}],
    }
    assert project.suites.get(name="nightly").definition == {}


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
