"""What every engine promises of a service's life; the same tests hold all of them."""

from __future__ import annotations

import threading

import pytest

from environments.engine import Engine, EngineEvent, EngineEventKind, Health, ServiceStatus
from environments.errors import EnvironmentsError, ServiceNotFoundError
from environments.probes import steadily, wait_until
from environments.spec import HealthCheck
from tests.contract.conftest import PATIENCE_SECONDS, Place
from tests.contract.services import FOREVER, service, spec_of


def test_it_says_what_it_is(engine: Engine) -> None:
    known = engine.capabilities()

    assert known.engine == engine.name
    assert known.version
    assert known.cpus >= 1
    assert known.memory_bytes > 100 * 1024 * 1024


def test_a_service_is_created_started_and_ends_with_its_own_exit_code(place: Place) -> None:
    one = service("one", "import sys; sys.exit(7)")
    place.create(spec_of(one))
    assert place.state("one").status is ServiceStatus.GONE

    place.engine.prepare_image(place.ref, one)
    place.engine.create_service(place.ref, place.spec, one)
    assert place.state("one").status is ServiceStatus.CREATED
    assert place.state("one").exit_code is None

    place.engine.start_service(place.ref, "one")
    ended = place.until_ended("one")
    assert ended.exit_code == 7
    assert ended.out_of_memory is False
    assert ended.created_at is not None
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at


def test_creating_the_same_again_adopts_what_is_there(place: Place) -> None:
    one = service("one", "print('once')")
    spec = spec_of(one, volumes=("data",))
    place.create(spec)
    place.create(spec)

    place.engine.create_service(place.ref, spec, one)
    place.engine.create_service(place.ref, spec, one)
    place.engine.start_service(place.ref, "one")
    place.until_ended("one")

    assert place.texts("one") == ["once"]


def test_a_service_that_is_not_there_is_said_so(place: Place) -> None:
    place.create(spec_of(service("one")))

    assert place.state("nobody").status is ServiceStatus.GONE
    with pytest.raises(ServiceNotFoundError):
        place.engine.start_service(place.ref, "nobody")
    with pytest.raises(ServiceNotFoundError):
        list(place.engine.logs(place.ref, "nobody"))
    with pytest.raises(EnvironmentsError):
        place.engine.execute(place.ref, "nobody", ["true"], timeout_seconds=5)


def test_stopping_lets_a_service_tidy_up(place: Place) -> None:
    program = """
import signal, sys
def end(*_):
    print("tidied", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    signal.pause()
"""
    place.up(spec_of(service("one", program)))
    place.until_said("one", "up")

    place.engine.stop_service(place.ref, "one", grace_seconds=10)

    assert place.until_ended("one").exit_code == 0
    assert place.texts("one") == ["up", "tidied"]


def test_stopping_ends_a_service_that_does_not_listen(place: Place) -> None:
    program = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""
    place.up(spec_of(service("one", program)))
    place.until_said("one", "up")

    place.engine.stop_service(place.ref, "one", grace_seconds=1)

    assert place.until_ended("one").exit_code == 137


def test_killing_ends_it_at_once(place: Place) -> None:
    place.up(spec_of(service("one")))
    place.until_said("one", "up")

    place.engine.kill_service(place.ref, "one")

    assert place.until_ended("one").exit_code == 137


def test_a_service_starts_again_and_its_log_goes_on(place: Place) -> None:
    place.up(spec_of(service("one")))
    place.until_said("one", "up")
    first = place.state("one").started_at
    place.engine.stop_service(place.ref, "one")
    place.until_ended("one")

    place.engine.start_service(place.ref, "one")
    state = place.until("one", lambda now: now.status is ServiceStatus.RUNNING)
    wait_until(lambda: len(place.lines("one")) == 2, deadline_seconds=PATIENCE_SECONDS)

    assert place.texts("one") == ["up", "up"]
    assert state.started_at is not None
    assert first is not None
    assert state.started_at > first
    assert state.exit_code is None


def test_changes_that_are_so_already_are_fine(place: Place) -> None:
    place.up(spec_of(service("one", "pass")))
    place.until_ended("one")

    place.engine.stop_service(place.ref, "one")
    place.engine.kill_service(place.ref, "one")

    assert place.state("one").status is ServiceStatus.EXITED


def test_a_paused_service_does_nothing_until_it_goes_on(place: Place) -> None:
    program = "import time\nn = 0\nwhile True:\n    print(n, flush=True)\n    n += 1\n    time.sleep(0.02)"
    place.up(spec_of(service("one", program)))
    place.until_said("one", "3")

    place.engine.pause_service(place.ref, "one")
    assert place.state("one").status is ServiceStatus.PAUSED
    frozen = len(place.lines("one"))
    assert threading.Event().wait(0.4) is False
    assert len(place.lines("one")) - frozen <= 1

    place.engine.unpause_service(place.ref, "one")
    place.until_said("one", str(frozen + 3))
    assert place.state("one").status is ServiceStatus.RUNNING


def test_events_tell_the_life_of_a_service_in_order(place: Place, heard: list[EngineEvent]) -> None:
    place.up(spec_of(service("one")))
    place.until_said("one", "up")
    place.engine.pause_service(place.ref, "one")
    place.engine.unpause_service(place.ref, "one")
    place.engine.stop_service(place.ref, "one")
    place.engine.start_service(place.ref, "one")
    place.until_said("one", "up")
    place.engine.kill_service(place.ref, "one")

    wait_until(
        lambda: [event.kind for event in heard].count(EngineEventKind.DIED) == 2,
        deadline_seconds=PATIENCE_SECONDS,
    )
    assert [event.kind for event in heard] == [
        EngineEventKind.CREATED,
        EngineEventKind.STARTED,
        EngineEventKind.PAUSED,
        EngineEventKind.UNPAUSED,
        EngineEventKind.DIED,
        EngineEventKind.STARTED,
        EngineEventKind.DIED,
    ]
    assert [event.at for event in heard] == sorted(event.at for event in heard)
    assert [event.exit_code for event in heard if event.kind is EngineEventKind.DIED] == [0, 137]


def test_a_health_check_is_asked_by_the_engine(place: Place, heard: list[EngineEvent]) -> None:
    check = HealthCheck(
        test=("CMD-SHELL", "test -e /tmp/itdash-healthy-$MARK"),
        interval_seconds=0.2,
        timeout_seconds=5,
        retries=2,
    )
    mark = place.ref.name
    program = f"import time\ntime.sleep(0.1)\nopen('/tmp/itdash-healthy-{mark}', 'w').close()\n{FOREVER}"
    one = service("one", program, healthcheck=check, environment={"MARK": mark})
    place.up(spec_of(one))

    place.until("one", lambda state: state.health is Health.HEALTHY)
    wait_until(
        lambda: EngineEventKind.HEALTHY in [event.kind for event in heard],
        deadline_seconds=PATIENCE_SECONDS,
        pauses=steadily(0.05),
    )

    place.engine.execute(place.ref, "one", ["rm", f"/tmp/itdash-healthy-{mark}"], timeout_seconds=10)
    place.until("one", lambda state: state.health is Health.UNHEALTHY)
    found = place.engine.healthcheck(place.ref, "one")
    assert found is not None
    assert found.test == check.test


def test_a_service_without_a_check_has_no_health(place: Place) -> None:
    place.up(spec_of(service("one")))

    assert place.state("one").health is Health.NONE
    assert place.engine.healthcheck(place.ref, "one") is None
