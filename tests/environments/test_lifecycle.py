"""An environment's life on real engines: readiness, failure, stopping, and nothing left behind."""

from __future__ import annotations

import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings

from environments.engine import Engine
from environments.errors import (
    DeadlineExceededError,
    EnvironmentFailedError,
    FailureKind,
    ServiceNotFoundError,
    StoppedError,
)
from environments.lifecycle import HappeningKind, renew
from environments.models import Environment, EnvironmentState
from environments.spec import Condition, HealthCheck
from tests.contract.services import FOREVER, needs, service, slow_service, spec_of
from tests.environments.lab import Lab

pytestmark = pytest.mark.django_db(transaction=True)

PASSING = "print('one passed'); open('/tmp/report.xml', 'w').write('<testsuite/>')"


def test_tests_run_once_everything_they_depend_on_is_ready(lab: Lab) -> None:
    spec = spec_of(
        slow_service("db", ready_after=0.3),
        service("migrate", "print('migrated')", depends_on=needs("db")),
        slow_service("api", depends_on=needs("migrate", condition=Condition.COMPLETED)),
        service("tests", PASSING, depends_on=needs("api")),
    )

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        state = environment.wait_for_tests(deadline_seconds=20)
        collected = [(file.path, file.stream.read()) for file in environment.collect("tests", ["/tmp/*.xml"])]

    assert state.exit_code == 0
    assert ("/tmp/report.xml", b"<testsuite/>") in collected
    rows = {row.name: row for row in environment.record.services.all()}
    assert rows["db"].ready_at <= rows["migrate"].started_at  # type: ignore[operator]
    assert rows["migrate"].finished_at <= rows["api"].started_at  # type: ignore[operator]
    assert rows["api"].ready_at <= rows["tests"].started_at  # type: ignore[operator]
    assert rows["migrate"].exit_code == 0
    assert lab.texts("migrate") == ["migrated"]
    assert lab.texts("tests") == ["one passed"]


def test_the_timeline_tells_the_life_in_order(lab: Lab) -> None:
    spec = spec_of(slow_service("db"), service("tests", PASSING, depends_on=needs("db")))

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=20)

    told = lab.kinds()
    landmarks = [
        HappeningKind.CREATING,
        HappeningKind.IMAGE_READY,
        HappeningKind.READY,
        HappeningKind.TESTS_STARTED,
        HappeningKind.TESTS_FINISHED,
        HappeningKind.REMOVING,
        HappeningKind.REMOVED,
    ]
    assert [kind for kind in dict.fromkeys(told) if kind in landmarks] == landmarks
    assert lab.kinds("db")[:3] == [
        HappeningKind.IMAGE_READY,
        HappeningKind.SERVICE_CREATED,
        HappeningKind.SERVICE_STARTED,
    ]
    assert HappeningKind.SERVICE_READY in lab.kinds("db")


def test_readiness_does_not_wait_for_the_engines_interval(lab: Lab) -> None:
    spec = spec_of(slow_service("db", ready_after=0.2), service("tests", PASSING, depends_on=needs("db")))

    began = time.monotonic()
    with lab.provisioned(spec):
        seconds = time.monotonic() - began

    # The file's interval is 30 s, and the engine's first probe one interval away.
    assert seconds < 8


def test_the_row_is_written_first_and_closed_last(lab: Lab) -> None:
    spec = spec_of(service("db"), service("tests", PASSING))

    with lab.provisioned(spec) as environment:
        row = Environment.objects.get()
        assert row.state == EnvironmentState.READY
        assert row.ready_at is not None
        assert row.lease_expires_at > datetime.now(tz=UTC)

    row.refresh_from_db()
    assert row.state == EnvironmentState.REMOVED
    assert row.removed_at is not None
    assert environment.ref not in lab.engine.environments(settings.INSTANCE)


def test_tests_that_name_no_dependency_wait_for_all(lab: Lab) -> None:
    spec = spec_of(slow_service("db"), service("tests", PASSING))

    with lab.provisioned(spec) as environment:
        row = environment.record.services.get(name="db")
        assert row.ready_at is not None


def test_a_service_that_ends_before_it_is_healthy_is_an_error_with_its_last_lines(lab: Lab) -> None:
    broken = service(
        "api",
        "import sys; print('cannot find the database'); sys.exit(3)",
        healthcheck=HealthCheck(test=("CMD", "test", "-e", "/nowhere"), interval_seconds=30),
    )
    spec = spec_of(broken, service("tests", PASSING, depends_on=needs("api")))

    with pytest.raises(EnvironmentFailedError) as caught, lab.provisioned(spec):
        pass

    assert caught.value.kind is FailureKind.SERVICE_EXITED
    assert caught.value.service == "api"
    assert "exit code 3" in str(caught.value)
    [evidence] = caught.value.evidence
    assert evidence.exit_code == 3
    assert evidence.log_tail == ("cannot find the database",)
    assert Environment.objects.get().failure_kind == FailureKind.SERVICE_EXITED


def test_a_service_that_is_never_healthy_names_the_unmet_condition_and_its_probes(lab: Lab) -> None:
    sick = service(
        "api",
        healthcheck=HealthCheck(
            test=("CMD-SHELL", "echo not yet; exit 1"), interval_seconds=30, timeout_seconds=5
        ),
    )
    spec = spec_of(sick, service("tests", PASSING, depends_on=needs("api")))

    with (
        pytest.raises(EnvironmentFailedError) as caught,
        lab.provisioned(spec, start_timeout_seconds=4.0),
    ):
        pass

    assert caught.value.kind is FailureKind.NEVER_HEALTHY
    assert "tests waits for api (service_healthy)" in str(caught.value)
    assert caught.value.evidence[0].probe_outputs[-1] == "not yet"


def test_waiting_for_the_health_of_a_service_without_a_check_is_a_clear_error(lab: Lab) -> None:
    spec = spec_of(service("api"), service("tests", PASSING, depends_on=needs("api")))

    with pytest.raises(EnvironmentFailedError, match="have no health check"), lab.provisioned(spec):
        pass


def test_a_one_shot_that_fails_keeps_the_tests_from_starting(lab: Lab) -> None:
    spec = spec_of(
        service("migrate", "raise SystemExit(4)"),
        service("tests", PASSING, depends_on=needs("migrate", condition=Condition.COMPLETED)),
    )

    with (
        pytest.raises(EnvironmentFailedError, match="migrate: it ended with exit code 4"),
        lab.provisioned(spec),
    ):
        pass


def test_a_service_that_keeps_crashing_is_never_ready(lab: Lab) -> None:
    # Its check passes whenever it is asked in time; only the restarts give it away.
    loop = service(
        "api",
        "import time; print('crashing'); time.sleep(0.2); raise SystemExit(1)",
        restart="always",
        healthcheck=HealthCheck(test=("CMD", "true"), interval_seconds=0.5),
    )
    spec = spec_of(loop, service("tests", PASSING, depends_on=needs("api")))

    with pytest.raises(EnvironmentFailedError) as caught, lab.provisioned(spec):
        pass

    assert "it ended 3 times, last with exit code 1" in str(caught.value)
    assert caught.value.kind is FailureKind.SERVICE_EXITED


def test_a_service_that_comes_up_at_its_second_try_is_ready(lab: Lab) -> None:
    # The usual reason for a restart policy: it starts before what it needs, and crashes once.
    program = """
import pathlib, sys
seen = pathlib.Path("/tmp/itdash-second-try")
if not seen.exists():
    seen.touch()
    sys.exit(1)
print("up", flush=True)
import signal
signal.pause()
"""
    again = service(
        "api",
        program,
        restart="on-failure",
        healthcheck=HealthCheck(test=("CMD", "test", "-e", "/tmp/itdash-second-try"), interval_seconds=30),
    )
    spec = spec_of(again, service("tests", PASSING, depends_on=needs("api")))

    with lab.provisioned(spec) as environment:
        row = environment.record.services.get(name="api")

    assert row.restart_count == 1
    assert lab.texts("api") == ["up"]


def test_a_command_that_does_not_exist_is_said_with_the_services_name(lab: Lab) -> None:
    spec = spec_of(
        service("api", command=("/bin/sh", "-c", "exec no-such-program")),
        service("tests", PASSING, depends_on=needs("api", condition=Condition.COMPLETED)),
    )

    with pytest.raises(EnvironmentFailedError) as caught, lab.provisioned(spec):
        pass

    assert caught.value.service == "api"
    said = [str(caught.value), *(line for one in caught.value.evidence for line in one.log_tail)]
    assert any("no-such-program" in text for text in said)


def test_a_stop_while_waiting_ends_it_within_a_second_and_removes_everything(lab: Lab) -> None:
    spec = spec_of(slow_service("db", ready_after=60), service("tests", PASSING, depends_on=needs("db")))
    threading.Timer(1.5, lab.stop.set).start()

    began = time.monotonic()
    with pytest.raises(StoppedError), lab.provisioned(spec):
        pass

    assert time.monotonic() - began < 6
    assert Environment.objects.get().state == EnvironmentState.REMOVED


def test_tests_that_overrun_raise_and_can_still_be_collected_from(lab: Lab) -> None:
    program = f"open('/tmp/half.xml', 'w').write('<testsuite/>')\n{FOREVER}"
    spec = spec_of(service("tests", program))

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        with pytest.raises(DeadlineExceededError):
            environment.wait_for_tests(deadline_seconds=1.0)
        paths = [file.path for file in environment.collect("tests", ["/tmp/half.xml"])]

    assert paths == ["/tmp/half.xml"]


def test_variables_reach_the_services_they_are_for(lab: Lab) -> None:
    show = (
        "import os; print({k: os.environ.get(k) for k in ('CI', 'ITDASH', 'A', 'B', 'ITDASH_CONTROL_URL')})"
    )
    spec = spec_of(
        service("other", show, environment={"A": "file"}),
        service("tests", show, depends_on=needs("other", condition=Condition.COMPLETED)),
    )
    variables = {"*": {"A": "every"}, "tests": {"B": "only"}}

    with lab.provisioned(spec, variables=variables) as environment:
        environment.start_tests({"A": "last"})
        environment.wait_for_tests(deadline_seconds=20)
        url = environment.control_url

    base = {"CI": "true", "ITDASH": "true"}
    assert lab.texts("other") == [str({**base, "A": "every", "B": None, "ITDASH_CONTROL_URL": None})]
    assert lab.texts("tests") == [str({**base, "A": "last", "B": "only", "ITDASH_CONTROL_URL": url})]


def test_a_hook_runs_in_a_ready_service_and_says_how_it_ended(lab: Lab) -> None:
    spec = spec_of(slow_service("db"), service("tests", PASSING, depends_on=needs("db")))

    with lab.provisioned(spec) as environment:
        result = environment.run_in("db", ["/bin/sh", "-c", "echo hooked; exit 5"], timeout_seconds=10)
        with pytest.raises(ServiceNotFoundError):
            environment.run_in("nobody", ["true"], timeout_seconds=10)

    assert (result.exit_code, result.output.strip()) == (5, "hooked")
    assert HappeningKind.COMMAND_RUN in lab.kinds("db")


CALLS = """
import json, os, urllib.request
def call(method, path):
    request = urllib.request.Request(
        os.environ["ITDASH_CONTROL_URL"] + path,
        method=method,
        headers={"Authorization": "Bearer " + os.environ["ITDASH_CONTROL_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
print(call("POST", "/services/api/stop")["status"])
print(call("POST", "/services/api/start")["status"])
"""


def test_tests_stop_and_start_a_service_through_the_control_api(lab: Lab) -> None:
    spec = spec_of(slow_service("api"), service("tests", CALLS, depends_on=needs("api")))

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        state = environment.wait_for_tests(deadline_seconds=30)

    assert state.exit_code == 0, lab.texts("tests")
    assert lab.texts("tests") == ["exited", "running"]
    # Both lives of the service are in the log, each line once.
    assert lab.texts("api") == ["starting", "ready", "starting", "ready"]
    actions = [one.data["action"] for one in lab.happenings if one.kind is HappeningKind.CONTROL]
    assert actions == ["stop", "start"]


def test_the_control_api_knows_its_own_token_only(lab: Lab) -> None:
    spec = spec_of(service("tests", PASSING))

    with lab.provisioned(spec) as environment:
        request = urllib.request.Request(
            f"{environment.control_url}/services", headers={"Authorization": "Bearer guessed"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        caught.value.close()

    assert caught.value.code == 401


def test_a_newer_try_removes_the_older_and_the_older_notices(lab: Lab, engine: Engine) -> None:
    spec = spec_of(service("db"), service("tests", FOREVER))
    newer = Lab(engine)

    with lab.provisioned(spec) as old, newer.provisioned(spec) as new:
        old.record.refresh_from_db()
        assert old.record.state == EnvironmentState.REMOVED
        assert (old.record.fence, new.record.fence) == (1, 2)
        assert renew(old.record.pk, datetime.now(tz=UTC) + timedelta(minutes=1)) is False
        assert [state.status for state in old.states()] == ["gone", "gone"]
        assert new.states()[0].status == "running"


def test_an_owner_that_breaks_does_not_break_the_environment(engine: Engine, lab: Lab, caplog: Any) -> None:
    def broken(_: object) -> None:
        message = "the owner is broken"
        raise RuntimeError(message)

    lab.happenings = type("Broken", (list,), {"append": lambda self, _: broken(_)})()
    spec = spec_of(service("tests", PASSING))

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        assert environment.wait_for_tests(deadline_seconds=20).exit_code == 0

    assert "could not take" in caplog.text
