"""A run from its claim to its end: real git, real processes of the local engine, a real database."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from environments.probes import wait_until
from runs.actions.errors import NotPossibleError
from runs.actions.runs import cancel_run, claim_run, queue_run, rerun_run
from runs.execution.executor import execute
from runs.models import Artifact, LogChunk, Project, Run, Shard
from runs.vocabulary import RunStatus, Trigger
from tests.executing import COMPOSE, FAILED, PASSED, SUITE_FILE, executed, kinds, write, writing

pytestmark = pytest.mark.django_db(transaction=True)


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
