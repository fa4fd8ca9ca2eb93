"""An environment that failed and is held for a person: it goes on, nobody waits for it, and its time ends."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from pytest_django.fixtures import Settings

from environments.docker_engine.inside import command_line
from environments.engine import Engine, ServiceStatus
from environments.errors import EnvironmentFailedError
from environments.labels import EnvironmentRef
from environments.lifecycle import HappeningKind, Keep
from environments.lifecycle.records import extend, release, renew
from environments.local_engine import LocalEngine
from environments.models import Environment, EnvironmentState
from environments.reaper import reap, reap_expired
from environments.spec import Condition, ServiceSpec
from tests.contract.services import FOREVER, needs, service, slow_service, spec_of
from tests.environments.lab import Lab

pytestmark = pytest.mark.django_db(transaction=True)

FAILING = "print('one failed'); open('/tmp/report.xml', 'w').write('<testsuite/>'); raise SystemExit(1)"
FIVE_MINUTES = Keep(seconds=300, share="project:1", most_of_share=2, most=3)
BECAUSE = "1 test failed."


@pytest.fixture(autouse=True)
def _instance(settings: Settings) -> None:
    """The reaper takes what has no row here: on an engine that others use, only what this process made."""
    settings.INSTANCE = f"keeping-{os.getpid()}"


@pytest.fixture
def local(tmp_path: Path) -> Engine:
    return LocalEngine(tmp_path / "environments")


@pytest.fixture
def labs() -> Iterator[list[Lab]]:
    """Whatever the test holds is removed after it, by names that are its own."""
    labs: list[Lab] = []
    yield labs
    for lab in labs:
        for ref in mine(lab.engine):
            lab.engine.remove_environment(ref)


@pytest.fixture
def lab(engine: Engine, labs: list[Lab]) -> Lab:
    labs.append(Lab(engine))
    return labs[0]


def mine(engine: Engine) -> list[EnvironmentRef]:
    names = set(Environment.objects.values_list("name", flat=True))
    return [ref for ref in engine.environments(settings.INSTANCE) if ref.name in names]


def held(lab: Lab, *, owner: str = "run:1", keep: Keep | None = FIVE_MINUTES) -> Environment:
    """An environment that its owner wants held, and leaves."""
    spec = spec_of(service("db", FOREVER), service("tests", FAILING))
    with lab.provisioned(spec, owner=owner, keep=keep) as environment:
        environment.hold(BECAUSE)
    return Environment.objects.get(pk=environment.record.pk)


def failed(lab: Lab) -> Environment:
    """The same once its tests ran, and failed."""
    spec = spec_of(slow_service("db"), service("tests", FAILING, depends_on=needs("db")))
    with lab.provisioned(spec, keep=FIVE_MINUTES) as environment:
        environment.start_tests()
        assert environment.wait_for_tests(deadline_seconds=20).exit_code == 1
        environment.hold(BECAUSE)
    return Environment.objects.get(pk=environment.record.pk)


def test_services_go_on_and_the_tests_files_and_log_stay_until_its_time_is_up(lab: Lab) -> None:
    row = failed(lab)

    assert (row.state, row.held_because, row.held_for) == (EnvironmentState.HELD, BECAUSE, "project:1")
    assert row.held_at is not None
    assert row.held_until == row.lease_expires_at == row.held_at + timedelta(minutes=5)
    assert lab.engine.inspect_service(row.ref, "db").status is ServiceStatus.RUNNING
    assert lab.engine.inspect_service(row.ref, "tests").exit_code == 1
    assert [line.text for line in lab.engine.logs(row.ref, "tests")] == ["one failed"]
    assert [file.stream.read() for file in lab.engine.collect(row.ref, "tests", ["/tmp/*.xml"])] == [
        b"<testsuite/>"
    ]
    assert lab.engine.execute(row.ref, "db", ["true"], timeout_seconds=10).exit_code == 0
    assert lab.kinds()[-1] is HappeningKind.HELD
    assert HappeningKind.REMOVING not in lab.kinds()

    assert row.name not in reap([lab.engine], now=row.held_until - timedelta(seconds=1)).removed
    assert row.name in reap([lab.engine], now=row.held_until + timedelta(seconds=1)).removed

    row.refresh_from_db()
    assert row.state == EnvironmentState.REMOVED
    assert mine(lab.engine) == []


def shell(line: str, *, given: str = "", folder: Path) -> str:
    """What a person sees who pastes the line; its end must be a good one."""
    done = subprocess.run(
        ["sh", "-c", line], input=given, capture_output=True, text=True, cwd=folder, timeout=30, check=False
    )
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def test_every_command_that_is_shown_runs_as_it_is_shown(lab: Lab, tmp_path: Path) -> None:
    row = failed(lab)

    commands = {(one.name, what): line for one in row.services.all() for what, line in one.commands or ()}

    # Those that go on until a person ends them, and those that need a terminal, which no test has.
    endless = {key for key in commands if "as it comes" in key[1] or "uses now" in key[1]}
    shells = {key for key in commands if "shell" in key[1].lower()}
    said = {key: shell(commands[key], folder=tmp_path) for key in commands.keys() - endless - shells}
    assert said["tests", "What it printed"].rstrip().endswith("one failed")
    line = commands["db", next(what for name, what in shells if name == "db")]
    assert "here=true" in shell(line.replace(" -it ", " -i "), given="echo here=$ITDASH\n", folder=tmp_path)


def test_a_held_database_is_asked_by_the_command_that_is_shown(lab: Lab, tmp_path: Path) -> None:
    database = ServiceSpec(name="db", image="itdash-lab/postgres:17", extension={"preset": "postgres"})
    spec = spec_of(database, service("tests", FAILING, depends_on=needs("db")))

    with lab.provisioned(spec, keep=FIVE_MINUTES) as environment:
        environment.hold(BECAUSE)

    ways = environment.record.services.get(name="db").commands or []
    psql = next(line for what, line in ways if what.startswith("psql"))
    assert "42" in shell(psql.replace(" -it ", " -i "), given="select 41 + 1;\n", folder=tmp_path)


def test_what_it_may_cost_is_written_down(lab: Lab) -> None:
    row = held(lab)

    db = row.services.get(name="db")
    if lab.engine.name == "docker":
        assert db.memory_limit_bytes == 1024**3
        assert db.cpu_limit == 1.0
    else:
        assert (db.memory_limit_bytes, db.cpu_limit) == (None, None)


def test_one_that_never_became_ready_is_held_as_it_stands(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    spec = spec_of(
        service("cache", FOREVER),
        service("db", "print('no disk'); raise SystemExit(3)"),
        service("tests", FAILING, depends_on=needs("db", condition=Condition.COMPLETED)),
    )

    with pytest.raises(EnvironmentFailedError), lab.provisioned(spec, keep=FIVE_MINUTES):
        pytest.fail("it is not ready")

    row = Environment.objects.get()
    assert row.state == EnvironmentState.HELD
    assert row.held_because.startswith("db")
    assert local.inspect_service(row.ref, "db").exit_code == 3
    assert [one.name for one in row.services.filter(commands__isnull=False).order_by("name")] == [
        "cache",
        "db",
    ]


def test_without_the_wish_a_failed_one_is_removed(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))

    row = held(lab, keep=None)

    assert row.state == EnvironmentState.REMOVED
    assert mine(local) == []


def test_nobody_renews_or_shortens_the_lease_of_one_that_is_held(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    row = held(lab)

    assert renew(row.pk, datetime.now(tz=UTC) + timedelta(seconds=30)) is False

    row.refresh_from_db()
    assert row.lease_expires_at == row.held_until


def test_when_a_projects_places_are_taken_the_next_one_is_removed_and_says_why(
    local: Engine, labs: list[Lab]
) -> None:
    labs.append(lab := Lab(local))
    one_place = Keep(seconds=300, share="project:1", most_of_share=1, most=5)
    first = held(lab, owner="run:1", keep=one_place)

    second = held(lab, owner="run:2", keep=one_place)
    other_project = held(
        lab, owner="run:3", keep=Keep(seconds=300, share="project:2", most_of_share=1, most=5)
    )

    first.refresh_from_db()
    assert first.state == EnvironmentState.HELD
    assert second.state == EnvironmentState.REMOVED
    assert other_project.state == EnvironmentState.HELD
    (refusal,) = [one.message for one in lab.happenings if one.kind is HappeningKind.NOTICE]
    assert refusal == (
        "The environment is not held for a look: 1 of this project is held already, and no more may be at"
        " once. Let go of one on the Environments page, then run it again."
    )


def test_when_the_installations_places_are_taken_nobody_gets_another(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    held(lab, owner="run:1", keep=Keep(seconds=300, share="project:1", most_of_share=3, most=1))

    second = held(lab, owner="run:2", keep=Keep(seconds=300, share="project:2", most_of_share=3, most=1))

    assert second.state == EnvironmentState.REMOVED


def test_two_that_fail_at_once_do_not_both_take_the_last_place(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    last_place = Keep(seconds=300, share="project:1", most_of_share=1, most=5)
    together = threading.Barrier(2)
    states: list[str] = []

    def fail(owner: str) -> None:
        spec = spec_of(service("db", FOREVER), service("tests", FAILING))
        with lab.provisioned(spec, owner=owner, keep=last_place) as environment:
            together.wait(30)
            environment.hold(BECAUSE)
        states.append(Environment.objects.get(pk=environment.record.pk).state)

    threads = [threading.Thread(target=fail, args=(f"run:{number}",)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(states) == [EnvironmentState.HELD, EnvironmentState.REMOVED]


def test_one_that_is_let_go_is_the_reapers_next_work(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    row = held(lab)
    now = datetime.now(tz=UTC)

    assert release(row.pk, now) is True
    assert release(row.pk, now) is False
    assert reap([local], now=now).removed == (row.name,)
    assert mine(local) == []


def test_it_can_be_held_longer_but_never_past_the_end_on_its_labels(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    row = held(lab, keep=Keep(seconds=60, share="project:1", most_of_share=2, most=3))
    now = datetime.now(tz=UTC)

    assert extend(row.pk, now + timedelta(minutes=5), now) is True
    row.refresh_from_db()
    assert row.held_until == row.lease_expires_at == now + timedelta(minutes=5)

    assert extend(row.pk, now + timedelta(days=1), now) is True
    row.refresh_from_db()
    assert row.held_until == row.expires_at


def test_without_a_database_it_goes_at_the_end_on_its_labels(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    row = held(lab)
    Environment.objects.all().delete()

    before = reap_expired([local], now=row.expires_at - timedelta(seconds=2), instance=settings.INSTANCE)
    after = reap_expired([local], now=row.expires_at + timedelta(seconds=1), instance=settings.INSTANCE)

    assert before.removed == ()
    assert after.removed == (row.name,)


def test_the_next_try_of_the_same_shard_takes_its_place(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    first = held(lab)

    second = held(lab)

    first.refresh_from_db()
    assert (first.fence, first.state) == (1, EnvironmentState.REMOVED)
    assert (second.fence, second.state) == (2, EnvironmentState.HELD)
    assert [ref.name for ref in mine(local)] == [second.name]


def test_the_held_one_of_another_run_stays_beside_a_rerun(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))

    held(lab, owner="run:1")
    held(lab, owner="run:2")

    assert sorted(row.owner for row in Environment.objects.filter(state="held")) == ["run:1", "run:2"]


def test_one_whose_owner_was_asked_to_stop_is_removed(local: Engine, labs: list[Lab]) -> None:
    labs.append(lab := Lab(local))
    spec = spec_of(service("db", FOREVER), service("tests", FAILING))

    with lab.provisioned(spec, keep=FIVE_MINUTES) as environment:
        lab.stop.set()
        assert environment.hold(BECAUSE) is False

    assert Environment.objects.get().state == EnvironmentState.REMOVED


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("", "docker"),
        ("unix:///var/run/docker.sock", "docker"),
        ("unix:///run/user/1000/docker.sock", "docker -H unix:///run/user/1000/docker.sock"),
        ("tcp://10.0.0.5:2375", "docker -H tcp://10.0.0.5:2375"),
        ("http://10.0.0.5:2375", "docker -H tcp://10.0.0.5:2375"),
        ("https://engine.example:2376", "docker --tlsverify -H tcp://engine.example:2376"),
        ("ssh://build@engine.example", "docker -H ssh://build@engine.example"),
    ],
)
def test_a_command_names_the_engine_where_it_is_not_the_usual_one(address: str, command: str) -> None:
    assert command_line(address) == command
    assert shlex.split(command)[0] == "docker"
