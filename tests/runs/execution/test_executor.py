"""A run from its claim to its end: real git, real processes of the local engine, a real database."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from environments.probes import wait_until
from runs.actions.errors import NotPossibleError
from runs.actions.runs import cancel_run, claim_run, queue_run, rerun_run
from runs.execution.executor import execute
from runs.models import Artifact, LogChunk, Project, Run, Schedule, Shard
from runs.vocabulary import RunStatus, Trigger
from tests.factories import make_project
from tests.repositories import commit, git, make_repository

pytestmark = pytest.mark.django_db(transaction=True)

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


@pytest.fixture
def project(tmp_path: Path, settings: Settings) -> Iterator[Project]:
    settings.DATA_DIR = tmp_path / "data"
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.ENGINE = "local"
    make_repository(
        tmp_path / "repository",
        {"itdash.yml": SUITE_FILE, "docker-compose.test.yml": COMPOSE, "suite.py": writing(PASSED)},
    )
    yield make_project(
        "shop", repository_url=str(tmp_path / "repository"), allow_local_engine=True, default_branch="main"
    )
    assert list((tmp_path / "data" / "checkouts").glob("*")) == []
    assert list((tmp_path / "data" / "environments").glob("itd-*")) == []


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
    story = [f"{event.at.time()} {event.kind} {event.message}" for event in run.events.order_by("pk")]
    log = [f"{chunk.service}: {chunk.text}" for chunk in run.log_chunks.order_by("pk")]
    sys.stdout.write("\n".join([run.status, run.error_message, *story, *log]))


def kinds(run: Run) -> list[str]:
    return list(run.events.order_by("pk").values_list("kind", flat=True))


def test_a_run_whose_tests_pass_is_passed_and_tells_its_story(project: Project) -> None:
    run = executed(project)

    assert (run.status, run.verdict, run.error_message) == (RunStatus.PASSED, "pass", "")
    assert (run.branch, run.commit_message, run.commit_author) == ("main", "Begin", "Ada Lovelace")
    assert len(run.commit) == 40
    assert (run.test_count, run.passed_count, run.engine) == (1, 1, "local")
    assert run.suite.definition["tests"] == "integration-tests"
    told = [kind for kind in kinds(run) if not kind.startswith(("service_", "image_", "notice"))]
    assert told[:13] == [
        "queued",
        "claimed",
        "checkout_started",
        "checked_out",
        "suite_read",
        "engine_chosen",
        "environment_creating",
        "environment_ready",
        "tests_started",
        "tests_finished",
        "reports_collected",
        "ingested",
        "shard_finished",
    ]
    # The environment is left while the run is finished: whichever is first.
    assert sorted(told[13:]) == ["environment_removed", "environment_removing", "finished"]
    assert "the tests ran" in LogChunk.objects.get(run=run, service="integration-tests").text
    shard = Shard.objects.get(run=run)
    assert (shard.status, shard.exit_code, shard.test_count) == (RunStatus.PASSED, 0, 1)


def test_a_run_with_a_failing_test_is_failed(project: Project) -> None:
    write(project, {"suite.py": writing(FAILED, then="sys.exit(1)")})

    run = executed(project)

    assert (run.status, run.verdict, run.error_message) == (RunStatus.FAILED, "fail", "1 test failed.")
    assert (run.test_count, run.passed_count, run.failed_count) == (2, 1, 1)


def test_a_failing_test_fails_the_run_even_when_the_process_says_all_is_well(project: Project) -> None:
    write(project, {"suite.py": writing(FAILED)})

    assert executed(project).status == RunStatus.FAILED


def test_tests_that_pass_in_a_process_that_fails_say_which_it_was(project: Project) -> None:
    write(project, {"suite.py": writing(PASSED, then="sys.exit(3)")})

    run = executed(project)

    assert run.status == RunStatus.FAILED
    assert run.error_message == (
        "All 1 reported tests passed, but integration-tests ended with exit code 3: something outside of a "
        "test failed. Its log says what."
    )


def test_tests_that_write_no_report_name_where_it_was_looked_for(project: Project) -> None:
    write(project, {"suite.py": "import sys\nprint('no such fixture')\nsys.exit(4)\n"})

    run = executed(project)

    assert (run.status, run.error_reason, run.verdict) == (RunStatus.ERRORED, "no_report", "none")
    assert run.error_message == (
        "integration-tests ended with exit code 4 and left no report: nothing in it matches "
        "/results/**/*.xml. Let the test command write JUnit XML there (with pytest: --junitxml=PATH), or "
        "correct `results` in the suite file. Its log says what it did."
    )


def test_a_report_without_a_test_is_no_report(project: Project) -> None:
    write(project, {"suite.py": writing("<testsuites/>", then="sys.exit(5)")})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "no_report")
    assert "its report holds no test case" in run.error_message


def test_a_report_that_is_no_xml_is_named_with_its_line(project: Project) -> None:
    write(project, {"suite.py": writing("<testsuite>\n<testcase name='a'>\nTraceback")})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "report_unreadable")
    assert run.error_message.startswith("A report could not be read: /results/junit.xml:3: ")
    assert run.reports.get().status == "rejected"


def test_a_commit_that_does_not_exist_is_named_with_its_repository(project: Project) -> None:
    run = executed(project, ref="feature/none")

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "checkout")
    assert run.error_message == (
        f"feature/none of {project.repository_url} could not be checked out: no such commit, branch or tag. "
        "Check the name; was it pushed, and not removed since?"
    )


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


def test_a_service_that_is_never_ready_is_shown_with_what_it_said(project: Project) -> None:
    compose = """
services:
  store:
    image: python:3.13
    command: ["python3", "-c", "print('cannot open the ledger'); raise SystemExit(7)"]
    healthcheck: {test: ["CMD", "false"], interval: 1s}
  integration-tests:
    image: python:3.13
    command: ["python3", "/src/suite.py", "/results"]
    volumes: [".:/src"]
    depends_on:
      store: {condition: service_healthy}
"""
    write(project, {"docker-compose.test.yml": compose})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "service_exited")
    assert "store" in run.error_message
    assert "cannot open the ledger" in run.error_message
    assert run.events.filter(kind="environment_failed").exists()


def test_a_project_that_may_not_use_the_local_engine_is_told_how_it_may(project: Project) -> None:
    Project.objects.update(allow_local_engine=False)

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "engine_unavailable")
    assert "allow the local engine in the project's settings" in run.error_message


def test_tests_that_run_out_of_time_keep_what_they_reported(project: Project) -> None:
    write(
        project,
        {
            "itdash.yml": SUITE_FILE.replace("timeout: 1m", "timeout: 2s"),
            "suite.py": writing(PASSED, then="time.sleep(60)"),
        },
    )

    run = executed(project)

    assert (run.status, run.verdict, run.error_reason) == (RunStatus.TIMED_OUT, "fail", "")
    assert run.error_message == (
        "integration-tests was still running after 2 s, the suite's `timeout`. "
        "1 reported until then are kept."
    )
    assert run.passed_count == 1


def test_before_commands_run_in_order_and_a_failing_one_ends_the_run(project: Project) -> None:
    suite_file = (
        SUITE_FILE
        + """
    before:
      - {service: store, run: "echo first"}
      - {service: store, run: "echo no such table; exit 3"}
      - {service: store, run: "echo never"}
"""
    )
    compose = """
services:
  store:
    image: python:3.13
    command: ["python3", "-c", "import time; time.sleep(600)"]
  integration-tests:
    image: python:3.13
    command: ["python3", "/src/suite.py", "/results"]
    volumes: [".:/src"]
    depends_on: [store]
"""
    write(project, {"itdash.yml": suite_file, "docker-compose.test.yml": compose})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "hook")
    assert run.error_message == (
        "The `before` command `echo no such table; exit 3` in store ended with 3.\nno such table"
    )
    log = "".join(chunk.text for chunk in LogChunk.objects.filter(run=run, service="store"))
    assert "first" in log
    assert "never" not in log


def test_every_shard_gets_an_environment_and_the_run_the_gravest_ending(project: Project) -> None:
    suite_file = SUITE_FILE + "    shards: 2\n    matrix: {COLOUR: [red, blue]}\n"
    compose = COMPOSE + "    environment: {COLOUR: $COLOUR}\n"
    suite = (
        "import os, pathlib, sys\n"
        "shard, colour = os.environ['ITDASH_SHARD'], os.environ['COLOUR']\n"
        "assert os.environ['ITDASH_SHARDS'] == '2'\n"
        "broken = '<failure/>' if (shard, colour) == ('2', 'blue') else ''\n"
        'case = f\'<testcase classname="{colour}" name="t{shard}">{broken}</testcase>\'\n'
        "pathlib.Path(sys.argv[1], 'junit.xml').write_text(f'<testsuite>{case}</testsuite>')\n"
        "sys.exit(bool(broken))\n"
    )
    write(project, {"itdash.yml": suite_file, "docker-compose.test.yml": compose, "suite.py": suite})

    run = executed(project)

    shards = list(Shard.objects.filter(run=run).order_by("number"))
    assert [shard.status for shard in shards] == ["passed", "passed", "passed", "failed"]
    assert [shard.variables for shard in shards] == [
        {"COLOUR": "red"},
        {"COLOUR": "red"},
        {"COLOUR": "blue"},
        {"COLOUR": "blue"},
    ]
    assert len({shard.environment_name for shard in shards}) == 4
    assert (run.status, run.test_count, run.failed_count) == (RunStatus.FAILED, 4, 1)


def test_a_shard_that_errs_does_not_cost_the_others_their_results(project: Project) -> None:
    suite_file = (
        SUITE_FILE
        + """
    matrix: {COLOUR: [red, blue]}
    before: [{service: store, run: "test $COLOUR = red"}]
"""
    )
    compose = (
        COMPOSE
        + """
    depends_on: [store]
  store:
    image: python:3.13
    command: ["python3", "-c", "import time; time.sleep(600)"]
    environment: {COLOUR: $COLOUR}
"""
    )
    write(project, {"itdash.yml": suite_file, "docker-compose.test.yml": compose})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "hook")
    assert list(Shard.objects.order_by("number").values_list("status", flat=True)) == ["passed", "errored"]
    assert run.passed_count == 1


def test_one_unreadable_report_among_good_ones_is_no_pass(project: Project) -> None:
    write(project, {"suite.py": writing(PASSED, then="(results / 'second.xml').write_text('<testsuite>')")})

    run = executed(project)

    assert (run.status, run.error_reason) == (RunStatus.ERRORED, "report_unreadable")
    assert "/results/second.xml:1: " in run.error_message
    assert run.passed_count == 1


def test_artifacts_are_kept_and_reports_are_not_kept_twice(project: Project) -> None:
    suite = writing(PASSED, then="(results / 'screen.png').write_bytes(b'PNG' * 100)")
    write(project, {"itdash.yml": SUITE_FILE + "    artifacts: [/results/**]\n", "suite.py": suite})

    run = executed(project)

    artifact = Artifact.objects.get(run=run)
    assert (artifact.path, artifact.size, artifact.content_type) == ("/results/screen.png", 300, "image/png")


def test_the_suite_is_the_one_at_the_commit(project: Project) -> None:
    first = git(Path(project.repository_url), "rev-parse", "HEAD")
    write(project, {"itdash.yml": "version: 1\nsuites: {}\n"})

    assert executed(project, commit=first).status == RunStatus.PASSED


def test_without_a_suite_file_a_compose_file_with_tests_is_a_suite(project: Project) -> None:
    (Path(project.repository_url) / "itdash.yml").unlink()
    write(project, {})

    assert executed(project).status == RunStatus.PASSED


@pytest.mark.parametrize("moment", ["service_started", "environment_ready", "tests_started"])
def test_a_run_is_cancelled_at_any_moment_within_seconds(project: Project, moment: str) -> None:
    compose = """
services:
  store:
    image: python:3.13
    command: ["python3", "-c", "import time; time.sleep(600)"]
    healthcheck: {test: ["CMD", "test", "%s", "!=", "service_started"], interval: 1s}
  integration-tests:
    image: python:3.13
    command: ["python3", "-c", "import time; time.sleep(600)"]
    depends_on:
      store: {condition: service_healthy}
"""
    # A `before` command, once everything is ready, where that is the moment.
    hook = "    before: [{service: store, run: sleep 600}]\n" if moment == "environment_ready" else ""
    write(project, {"docker-compose.test.yml": compose % moment, "itdash.yml": SUITE_FILE + hook})
    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON)
    claim = claim_run(run.pk, owner="worker-a")
    assert claim is not None

    def work() -> None:
        execute(claim)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: run.events.filter(kind=moment).exists(), deadline_seconds=30)
    cancel_run(run_id=run.pk, by=None)
    wait_until(lambda: Run.objects.get(pk=run.pk).status == RunStatus.CANCELLED, deadline_seconds=5)
    worker.join(timeout=30)

    assert not worker.is_alive()
    run.refresh_from_db()
    assert (run.error_message, run.verdict) == ("Cancelled while it ran.", "none")
    assert set(run.shards.values_list("status", flat=True)) == {"cancelled"}


def test_the_gates_are_those_of_the_commit_and_kept_with_the_run(project: Project) -> None:
    write(project, {"itdash.yml": SUITE_FILE + "    gates: {new_failures: 0, duration_increase: 50%}\n"})

    first = executed(project)
    write(project, {"suite.py": writing(FAILED)})
    second = executed(project)

    assert first.gates == second.gates == {"new_failures": 0, "duration_increase": 0.5}
    assert (second.status, second.verdict, second.verdict_base) == (RunStatus.FAILED, "fail", first)
    assert second.verdict_reasons[0] == "Fails: 1 new failure against #1 on main, at most 0 allowed."


def test_only_the_failed_tests_run_again_when_that_is_asked(project: Project) -> None:
    write(project, {"suite.py": writing(FAILED)})
    run = executed(project)
    tell_names = "print('asked for', os.environ['ITDASH_TESTS'])\nsys.exit(0)"
    write(project, {"suite.py": "import os\n" + writing(PASSED, then=tell_names)})

    again = rerun_run(run_id=run.pk, by=None, failed_only=True)
    Run.objects.filter(pk=again.pk).update(commit="")
    claim = claim_run(again.pk, owner="worker-a")
    assert claim is not None
    execute(claim)

    again.refresh_from_db()
    assert again.selection == [run.results.get(outcome="failed").case_id]
    assert "asked for orders.conflict" in "".join(chunk.text for chunk in again.log_chunks.all())
    with pytest.raises(NotPossibleError, match="No test failed in run"):
        rerun_run(run_id=again.pk, by=None, failed_only=True)


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
