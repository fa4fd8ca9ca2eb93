"""Presets started from nothing, five at once: a first question is answered the moment one is healthy.

The images are made of Debian's packages, since CI has no registry; presets for which there are none are held
by `test_presets.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from environments.docker_engine import DockerEngine
from environments.engine import ExecResult
from environments.lifecycle import EnvironmentRequest, Happening, HappeningKind, provisioned
from environments.models import Environment
from environments.presets import presets
from environments.spec import HealthCheck, ServiceSpec
from tests.contract.services import service, spec_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

COLD_STARTS = 5
SERVERS = "itdash-lab/servers:1"

#: A client for protocols whose tools are not at hand: says something and waits for what it should hear.
SAY = """python3 -c '
import socket, sys
host, port, said, wanted = sys.argv[1:]
with socket.create_connection((host, int(port)), timeout=2) as server:
    server.sendall(said.encode().decode("unicode_escape").encode())
    heard = ""
    while wanted not in heard and (chunk := server.recv(4096)):
        heard += chunk.decode()
print(heard)
'"""
JETSTREAM = r"CONNECT {}\r\nSUB reply 1\r\nPUB $JS.API.INFO reply 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Cold:
    """How a preset is started here, and what a client asks it, at the address that dependants get."""

    image: str
    asked: str
    answer: str
    #: Said after the preset's own command: what the official image has built in.
    options: tuple[str, ...] = ()


CASES = {
    "postgres": Cold(
        "itdash-lab/postgres:17",
        "PGPASSWORD=postgres psql -XqAt -h $NAME -U postgres"
        ' -c "CREATE TABLE kept AS SELECT 7 AS n" -c "TABLE kept"',
        "7",
    ),
    "valkey": Cold("itdash-lab/valkey:8", "valkey-cli -h $NAME SET kept 7", "OK", ("--protected-mode", "no")),
    "redis": Cold(SERVERS, "redis-cli -h $NAME SET kept 7", "OK", ("--protected-mode", "no")),
    "mariadb": Cold(
        SERVERS,
        "mariadb --protocol=tcp -h $NAME -u test -ptest test"
        ' -Ne "CREATE TABLE kept AS SELECT 7 AS n; SELECT n FROM kept"',
        "7",
    ),
    "memcached": Cold(SERVERS, rf"{SAY} $NAME 11211 'set kept 0 0 1\r\n7\r\n' STORED", "STORED"),
    "nats": Cold(SERVERS, f"{SAY} $NAME 4222 '{JETSTREAM}' io.nats.jetstream", "account_info_response"),
}


@dataclass
class Client:
    """Asks a service the moment that it is called healthy."""

    engine: DockerEngine
    question: str
    environment: Environment | None = None
    answers: dict[str, ExecResult] = field(default_factory=dict)

    def hear(self, happening: Happening) -> None:
        if happening.kind is HappeningKind.CREATING:
            self.environment = Environment.objects.get(pk=happening.data["environment_id"])
        if happening.kind is HappeningKind.SERVICE_READY and self.environment:
            name = happening.service
            command = ["/bin/bash", "-c", self.question.replace("$NAME", name)]
            self.answers[name] = self.engine.execute(self.environment.ref, name, command, timeout_seconds=10)


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


def cold(name: str, number: int) -> ServiceSpec:
    case, preset = CASES[name], presets()[name]
    return ServiceSpec(
        name=f"{name}-{number}",
        image=case.image,
        command=(*preset.command, *case.options) if case.options and preset.command else None,
        networks={"default": ()},
        extension={"preset": name},
    )


@pytest.mark.parametrize("name", CASES)
def test_a_cold_start_is_usable_the_moment_it_is_called_healthy(engine: DockerEngine, name: str) -> None:
    services = [cold(name, number) for number in range(COLD_STARTS)]

    answers = answers_of(engine, CASES[name].asked, *services)

    assert [who for who, answer in answers.items() if CASES[name].answer not in answer.output] == [], answers
    assert {answer.exit_code for answer in answers.values()} == {0}


def test_a_check_that_asks_on_the_socket_believes_the_server_that_only_sets_up(engine: DockerEngine) -> None:
    check = HealthCheck(("CMD", "mariadb", "--socket=/run/mysqld/mysqld.sock", "-e", "SELECT 1"))
    fooled = replace(cold("mariadb", 0), healthcheck=check, environment={"SETUP_SECONDS": "5"})

    [answer] = answers_of(engine, CASES["mariadb"].asked, fooled).values()

    assert answer.exit_code == 1
    assert "ERROR 2002" in answer.output


def answers_of(engine: DockerEngine, question: str, *services: ServiceSpec) -> dict[str, ExecResult]:
    """Bring the services up and ask each as soon as it is called healthy."""
    client = Client(engine, question)
    request = EnvironmentRequest(
        owner="run:1",
        shard=1,
        spec=spec_of(*services, service("tests", "pass")),
        tests="tests",
        expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
    )
    with provisioned(request, engine=engine, tell=client.hear, log=lambda _: None, stop=threading.Event()):
        return {one.name: client.answers[one.name] for one in services}
