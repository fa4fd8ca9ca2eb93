"""Recipes, snapshots, faults and commands, asked for over real sockets of environments on real engines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from environments.docker_engine import DockerEngine
from environments.docker_engine.helper import HelperImage
from environments.engine import Engine, ServiceStatus
from environments.lifecycle import HappeningKind, LiveEnvironment, Recipe
from environments.probes import steadily, wait_until
from environments.spec import EnvironmentSpec, HealthCheck, ServiceSpec
from tests.contract.services import needs, service, slow_service, spec_of
from tests.environments.lab import Lab
from tests.environments.test_control import Answer, Client

pytestmark = pytest.mark.django_db(transaction=True)

DATABASE = "my shop"
ASK = 'psql -X -At -U owner -d "$POSTGRES_DB" -v ON_ERROR_STOP=1 -c {sql}'
SAY_ARGUMENTS = "python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
PASSING = "print('one passed')"


@dataclass
class Site:
    """An environment of services, seen from its tests."""

    lab: Lab
    environment: LiveEnvironment
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.environment.control_url, self.environment.control_token)

    def post(self, path: str, body: object = None) -> Answer:
        return self.client.ask("POST", path, body)

    def status(self, service: str) -> str:
        return str(self.client.ask("GET", f"/services/{service}").document["status"])

    def actions(self, service: str) -> list[Any]:
        kind = HappeningKind.CONTROL
        return [
            one.data["action"] for one in self.lab.happenings if (one.kind, one.service) == (kind, service)
        ]


@contextmanager
def standing(lab: Lab, spec: EnvironmentSpec, **recipes: Recipe) -> Iterator[Site]:
    with lab.provisioned(spec, recipes=recipes) as environment:
        yield Site(lab, environment)


def postgres(engine: Engine) -> ServiceSpec:
    return ServiceSpec(
        name="db",
        image="postgres:17" if engine.name == "local" else "itdash-lab/postgres:17",
        environment={"POSTGRES_USER": "owner", "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": DATABASE},
        healthcheck=HealthCheck(
            test=("CMD", "pg_isready", "-h", "127.0.0.1", "-q"), interval_seconds=1, retries=60
        ),
        networks={"default": ()},
    )


def test_a_snapshot_puts_a_database_back_whoever_is_connected(lab: Lab, engine: Engine) -> None:
    spec = spec_of(postgres(engine), service("web"), service("tests", PASSING, depends_on=needs("db")))
    with standing(lab, spec, sql=Recipe("db", ASK)) as site:

        def sql(text: str) -> Answer:
            return site.post("/data/sql", {"sql": text})

        wait_until(lambda: sql("SELECT 1").status == 201, deadline_seconds=30, pauses=steadily(0.1))
        sql("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id")
        assert sql('CREATE DATABASE "sec""ond"').status == 409  # what it prints is no JSON, and it is done
        assert sql('ALTER DATABASE "my ""shop""" SET search_path = \'$user\', public').status == 409
        taken = site.post("/snapshots", {"service": "db"})
        snapshot = taken.document["id"]
        sql("DELETE FROM orders; CREATE TABLE extra (id int)")
        sleeper = [
            "/bin/sh",
            "-c",
            'psql -U owner -d "$POSTGRES_DB" -c "SELECT pg_sleep(60)" >/dev/null 2>&1 &',
        ]
        engine.execute(site.environment.ref, "db", sleeper, timeout_seconds=10)

        began = time.monotonic()
        first = site.post(f"/snapshots/{snapshot}/restore")
        seconds = time.monotonic() - began
        count, extra = sql("SELECT count(*) FROM orders"), sql("SELECT count(to_regclass('extra'))")
        sql("DROP TABLE orders")
        again = site.post(f"/snapshots/{snapshot}/restore")

        assert (taken.status, first.status, again.status) == (201, 200, 200)
        assert (count.document, extra.document) == (1000, 0)
        assert sql("SELECT count(*) FROM orders").document == 1000
        assert sql("SELECT to_json(current_setting('search_path'))").document == '"$user", public'
        # Measured at a fifth of a second; a machine that does much else is allowed more.
        assert seconds < 5
        assert [one for one in site.actions("db") if one != "data"] == ["snapshot", "restore", "restore"]

        kept = sql("SELECT json_agg(datname) FROM pg_database WHERE datname LIKE 'itdash.%'").document
        assert len(kept) == 2
        for name in kept:
            sql(f'DROP DATABASE "{name}"')
        gone = site.post(f"/snapshots/{snapshot}/restore")
        assert gone.status == 409
        assert "begun anew" in gone.document["detail"]
        assert sql("SELECT count(*) FROM orders").document == 1000

        other = site.post("/snapshots", {"service": "web"})
        unknown = site.post("/snapshots/none/restore")
        assert (unknown.status, unknown.document["known"]) == (404, [snapshot])
        # On the local engine a service may find this machine's own psql.
        assert other.status == 422 if engine.name == "docker" else other.status in {409, 422}


def test_a_recipe_runs_in_its_service_and_says_what_went_wrong(lab: Lab) -> None:
    spec = spec_of(service("api"), service("tests", PASSING, depends_on=()))
    recipes = {
        "orders": Recipe(
            "api", "python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' {count} '{name}'"
        ),
        "broken": Recipe("api", "echo no such table >&2; exit 3"),
        "elsewhere": Recipe("nowhere", "true"),
    }
    with standing(lab, spec, **recipes) as site:
        hostile = "x'; touch owned; echo '$(id)"
        made = site.post("/data/orders", {"count": 3, "name": hostile})
        missing = site.post("/data/orders", {"count": 3})
        broken = site.post("/data/broken")
        unknown = site.post("/data/order")

        assert (made.status, made.document) == (201, ["3", hostile])
        assert (missing.status, missing.document["arguments"]) == (422, ["count", "name"])
        assert (broken.status, broken.document["exit_code"]) == (409, 3)
        assert broken.document["output"] == "no such table"
        assert (unknown.status, unknown.document["known"]) == (404, ["broken", "elsewhere", "orders"])
        assert site.post("/data/elsewhere").status == 404
        assert site.actions("api") == ["data", "data"]


def test_lifecycle_faults_are_undone_when_asked_by_themselves_and_with_the_tests(lab: Lab) -> None:
    spec = spec_of(
        slow_service("api", ready_after=0.1),
        service("db"),
        service("tests", PASSING, depends_on=needs("api")),
    )
    with standing(lab, spec) as site:
        paused = site.post("/faults", {"service": "db", "kind": "pause", "seconds": 0.2})
        stopped = site.post("/faults", {"service": "api", "kind": "stop"})
        assert site.status("api") == "exited"
        second = site.post("/faults", {"service": "api", "kind": "kill"})
        undone = site.client.ask("DELETE", f"/faults/{stopped.document['id']}")
        assert (paused.status, stopped.status, second.status, undone.status) == (201, 201, 422, 200)
        assert site.status("api") == "running"
        wait_until(lambda: site.status("db") == "running", deadline_seconds=20, pauses=steadily(0.05))
        assert site.post("/faults", {"service": "db", "kind": "restart"}).status == 201

        unknown = site.post("/faults", {"service": "db", "kind": "gremlins"})
        assert unknown.status == 422
        assert set(unknown.document["kinds"]) >= {"stop", "kill", "pause", "restart"}
        assert site.post("/faults", {"service": "tests", "kind": "stop"}).status == 422
        assert site.post("/faults", {"service": "dbs", "kind": "stop"}).status == 404

        site.post("/faults", {"service": "db", "kind": "pause"})
        site.environment.start_tests()
        site.environment.wait_for_tests(deadline_seconds=20)
        state = next(one for one in site.environment.states() if one.service == "db")
        assert state.status is ServiceStatus.RUNNING
        assert site.actions("api") == ["stop", "start"]
        assert site.actions("db") == ["pause", "unpause", "stop", "start", "pause", "unpause"]


LISTEN = """
import socket
with socket.create_server(("0.0.0.0", 8000)) as server:
    print("listening", flush=True)
    while True:
        server.accept()[0].close()
"""
KNOCK = "import socket; socket.create_connection(('api', 8000), timeout=0.3).close()"


def test_a_service_is_taken_off_its_networks_and_put_back_under_its_name_and_address(
    lab: Lab, engine: Engine
) -> None:
    spec = spec_of(
        service("api", LISTEN, ports=(8000,)), service("client"), service("tests", PASSING, depends_on=())
    )
    if engine.name == "local":
        with standing(lab, spec) as site:
            refused = site.post("/faults", {"service": "api", "kind": "disconnect"})
        assert refused.status == 422
        assert "no networks" in refused.document["detail"]
        return
    with standing(lab, spec) as site:
        ref = site.environment.ref

        def can_reach() -> bool:
            command = ["python3", "-c", KNOCK]
            return engine.execute(ref, "client", command, timeout_seconds=10).exit_code == 0

        def address() -> str:
            command = ["python3", "-c", "import socket; print(socket.gethostbyname('api'))"]
            return engine.execute(ref, "client", command, timeout_seconds=10).output

        wait_until(can_reach, deadline_seconds=20, pauses=steadily(0.1))
        before = address()
        fault = site.post("/faults", {"service": "api", "kind": "disconnect"})
        assert fault.status == 201
        assert not can_reach()
        site.client.ask("DELETE", f"/faults/{fault.document['id']}")

        assert can_reach()
        assert address() == before
        assert site.actions("api") == ["disconnect", "connect"]


def test_services_are_kept_apart_until_asked_by_itself_and_with_the_tests(lab: Lab, engine: Engine) -> None:
    spec = spec_of(
        service("api", LISTEN, ports=(8000,)),
        service("client"),
        service("other"),
        service("tests", PASSING, depends_on=()),
    )
    with standing(lab, spec) as site:
        if engine.name == "local":
            refused = site.post("/faults", {"service": "api", "kind": "partition", "from": ["client"]})
            assert refused.status == 422
            assert "no networks to keep services from each other" in refused.document["detail"]
            assert "partition" not in refused.document["kinds"]
            return

        def reach() -> list[str]:
            return [
                name
                for name in ("client", "other")
                if engine.execute(
                    site.environment.ref, name, ["python3", "-c", KNOCK], timeout_seconds=10
                ).exit_code
                == 0
            ]

        wait_until(lambda: len(reach()) == 2, deadline_seconds=20, pauses=steadily(0.1))
        asked = {"service": "api", "kind": "partition", "from": "client", "mode": "reject"}
        fault = site.post("/faults", asked)
        assert fault.status == 201, fault.body
        assert reach() == ["other"]
        assert site.post("/services/api/restart").status == 200
        wait_until(lambda: reach() == ["other"], deadline_seconds=20, pauses=steadily(0.1))
        assert site.client.ask("DELETE", f"/faults/{fault.document['id']}").status == 200
        assert len(reach()) == 2

        groups = {"kind": "partition", "groups": [["api"], ["client", "other"]], "seconds": 0.2}
        assert site.post("/faults", groups).status == 201
        wait_until(lambda: len(reach()) == 2, deadline_seconds=20, pauses=steadily(0.1))

        assert site.post("/faults", {"service": "api", "kind": "partition"}).status == 201
        assert reach() == []
        site.environment.start_tests()
        site.environment.wait_for_tests(deadline_seconds=20)
        assert len(reach()) == 2
        assert site.actions("client") == ["partition", "heal"]
        assert site.actions("api") == [
            *("partition", "stop", "start", "heal"),
            *("partition", "heal", "partition", "heal"),
        ]
        told = [one for one in lab.happenings if one.data.get("action") == "partition"]
        assert told[0].message == "The tests cut api off from client."
        assert (told[0].data["mode"], told[0].data["peers"]) == ("reject", ["client"])
        assert told[-1].data["peers"] == ["client", "other", "tests"]


@pytest.mark.parametrize("engine", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True)
def test_a_partition_that_cannot_be_is_refused_and_nothing_is_told_of_it(lab: Lab) -> None:
    spec = spec_of(service("api"), service("job", "pass"), service("tests", PASSING, depends_on=()))
    asked = {"service": "api", "kind": "partition", "from": ["job"]}
    with standing(lab, spec) as site:
        wait_until(lambda: site.status("job") == "exited", deadline_seconds=20, pauses=steadily(0.1))
        nobody = site.post("/faults", asked)

        assert (nobody.status, nobody.document["kind"]) == (409, "service_exited")
        assert site.post("/faults", asked | {"from": ["jobs"]}).status == 404
        assert site.actions("api") == []


@pytest.mark.engine
@pytest.mark.parametrize(
    ("image", "why"),
    [("", "ITDASH_FAULT_BASE_IMAGE"), ("itdash-lab/valkey:8", "none of iptables iptables-legacy")],
)
def test_without_an_image_that_can_a_partition_is_refused_with_the_mend(image: str, why: str) -> None:
    docker = DockerEngine(helper_image=HelperImage(image=image))
    lab = Lab(docker)
    spec = spec_of(service("api"), service("web"), service("tests", PASSING, depends_on=()))
    with standing(lab, spec) as site:
        refused = site.post("/faults", {"service": "api", "kind": "partition", "from": ["web"]})

        assert refused.status == 422
        assert why in refused.document["detail"]
        assert site.actions("api") == []
        assert site.post("/faults", {"service": "api", "kind": "pause"}).status == 201
    docker.close()


def test_commands_run_only_where_the_file_allows_them(lab: Lab) -> None:
    spec = spec_of(
        service("api", extension={"exec": True}), service("db"), service("tests", PASSING, depends_on=())
    )
    with standing(lab, spec) as site:
        done = site.post("/services/api/exec", {"command": ["python3", "-c", "print('a b'); exit(3)"]})
        shell = site.post("/services/api/exec", {"command": "echo $((1 + 1))"})
        slow = site.post("/services/api/exec", {"command": "sleep 20", "seconds": 0.1})
        refused = site.post("/services/db/exec", {"command": "id"})

        assert (done.status, done.document) == (200, {"exit_code": 3, "output": "a b\n"})
        assert shell.document["output"] == "2\n"
        assert slow.status == 504
        assert refused.status == 422
        assert "x-itdash: {exec: true}" in refused.document["detail"]
        assert (site.actions("api"), site.actions("db")) == (["exec", "exec", "exec"], [])


SAYING = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
print("first", flush=True)
while signal.sigwait({signal.SIGUSR1, signal.SIGTERM}) == signal.SIGUSR1:
    print("later", flush=True)
"""


def test_logs_from_a_moment_on_and_marks_come_from_a_real_service(lab: Lab, engine: Engine) -> None:
    spec = spec_of(service("api", SAYING), service("tests", PASSING, depends_on=()))
    with standing(lab, spec) as site:

        def said(query: str = "") -> list[str]:
            return site.client.ask("GET", f"/services/api/logs{query}").body.decode().splitlines()

        wait_until(lambda: said() == ["first"], deadline_seconds=20, pauses=steadily(0.05))
        [first] = said("?timestamps=1")
        engine.kill_service(site.environment.ref, "api", signal="SIGUSR1")
        wait_until(lambda: said() == ["first", "later"], deadline_seconds=20, pauses=steadily(0.05))
        later = said("?timestamps=1")[1].split()[0]

        assert first.split()[1] == "first"
        assert said(f"?since={later}") == ["later"]
        assert said("?since=4000000000") == []
        assert site.post("/marks", {"test": "tests/a.py::test_b", "phase": "start"}).status == 201
        marks = [one for one in lab.happenings if one.kind is HappeningKind.MARK]
        assert [one.data for one in marks] == [{"test": "tests/a.py::test_b", "phase": "start"}]
