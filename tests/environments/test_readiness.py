"""Ready by what the file says, on real engines: every kind of probe, and what must never count as ready."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from environments.docker_engine import DockerEngine
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef
from environments.lifecycle import HappeningKind
from environments.probes import SystemClock
from environments.spec import EnvironmentSpec, HealthCheck
from environments.spec.ready import AllOf, AnyOf, ExecProbe, FileProbe, HttpProbe, LogProbe, Probe, TcpProbe
from tests.contract.services import needs, python, service, spec_of
from tests.environments.lab import Lab

pytestmark = pytest.mark.django_db(transaction=True)

#: Says 503 to its first two questions, then 200; where it listens can be narrowed down.
SERVER = """
import http.server, itertools, os
asked = itertools.count(1)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_up = next(asked) > 2
        self.send_response(200 if is_up else 503)
        self.end_headers()
        self.wfile.write(b'{"status": "up"}' if is_up else b'{"status": "starting"}')
        print(self.path, self.headers["Host"], flush=True)
    def log_message(self, *_):
        pass
host = os.environ.get("LISTEN", os.environ.get("HOST", "0.0.0.0"))
http.server.HTTPServer((host, int(os.environ["PORT"])), Answer).serve_forever()
"""
STEPS = """
import pathlib, signal, time
for step in range(3):
    time.sleep(0.2)
    print("listening", step, flush=True)
pathlib.Path("/tmp/up").touch()
signal.pause()
"""
KNOCK = "import socket; socket.create_connection(('127.0.0.1', 8080)).close()"
CRASHES = """
import time
print("ready", flush=True)
time.sleep(0.1)
raise SystemExit(1)
"""


class Hurried(SystemClock):
    """A clock on which all time is up once two services were asked five times and more is so."""

    def __init__(self, is_so: Callable[[], bool]) -> None:
        self._is_so = is_so
        self._asked: Counter[str] = Counter()

    def monotonic(self) -> float:
        asked = sorted(self._asked.copy().values())
        is_over = len(asked) == 2 and asked[0] >= 5 and self._is_so()
        return super().monotonic() + (1000.0 if is_over else 0.0)

    def pause(self, event: threading.Event, seconds: float) -> bool:
        name = threading.current_thread().name
        if name.startswith("probes"):
            self._asked[name] += 1
        return super().pause(event, seconds)


@pytest.fixture
def docker_lab() -> Iterator[Lab]:
    docker = DockerEngine()
    yield Lab(docker)
    docker.close()


def server(ready: Probe, **environment: str) -> EnvironmentSpec:
    api = service("api", SERVER, environment={"PORT": "8080", **environment}, ready=ready)
    return spec_of(api, service("tests", depends_on=needs("api")))


def test_a_server_is_ready_when_it_answers_as_it_should(lab: Lab) -> None:
    is_up = HttpProbe(8080, "/health?deep=1", (200,), r'"status": "up"')

    with lab.provisioned(server(AllOf((TcpProbe(8080), is_up)))) as environment:
        row = environment.record.services.get(name="api")

    assert row.ready_at is not None
    asked = lab.texts("api")
    assert len(asked) == 3
    assert asked[0].split()[0] == "/health?deep=1"
    # Asked by the name that its peers use, which a server may insist on.
    assert lab.engine.name == "local" or asked[0].split()[1] == "api:8080"


def test_words_in_the_log_a_file_and_a_command_say_that_a_service_is_ready(lab: Lab) -> None:
    there = FileProbe("/tmp/up")
    talks = service("talks", STEPS, ready=LogProbe(r"^listening \d", times=3))
    writes = service("writes", STEPS, ready=AnyOf((LogProbe("never said"), there)))
    works = service("works", STEPS, ready=ExecProbe(("/bin/sh", "-c", "test -e /tmp/up")))
    spec = spec_of(talks, writes, works, service("tests", depends_on=needs("talks", "writes", "works")))

    with lab.provisioned(spec) as environment:
        rows = {row.name: row for row in environment.record.services.all()}

    third = [line.at for line in lab.lines if line.service == "talks"][2]
    assert rows["talks"].ready_at > third  # type: ignore[operator]
    for name in ("writes", "works"):
        last = [line.at for line in lab.lines if line.service == name][2]
        # The file comes right after the last line.
        assert rows[name].ready_at > last  # type: ignore[operator]


def test_what_an_earlier_life_said_does_not_make_a_crashing_service_ready(lab: Lab) -> None:
    loop = service("api", CRASHES, restart="always", ready=LogProbe("ready"))
    spec = spec_of(loop, service("tests", depends_on=needs("api")))

    with pytest.raises(EnvironmentFailedError, match="it ended 3 times") as caught, lab.provisioned(spec):
        pass

    assert caught.value.kind is FailureKind.SERVICE_EXITED
    [evidence] = caught.value.evidence
    assert evidence.log_tail[-1] == "ready"


def test_out_of_time_every_unmet_condition_is_said_with_the_last_five_answers_and_hundred_lines(
    lab: Lab,
) -> None:
    talk = "import signal\nfor n in range(120):\n    print('line', n, flush=True)\nsignal.pause()"
    quiet = service("quiet", talk, ready=FileProbe("/tmp/never"))
    sick = service(
        "sick", healthcheck=HealthCheck(("CMD-SHELL", "echo not yet; exit 1"), interval_seconds=30)
    )
    spec = spec_of(
        quiet,
        sick,
        service("worker", depends_on=needs("sick")),
        service("tests", depends_on=needs("quiet", "sick")),
    )
    # The file's own time counts, not the caller's.
    spec = replace(spec, start_timeout_seconds=300.0)
    hurried = Hurried(lambda: len(lab.texts("quiet")) == 120)

    with pytest.raises(EnvironmentFailedError) as caught, lab.provisioned(spec, clock=hurried):
        pass

    assert str(caught.value) == (
        "Not ready after 300 s: worker waits for sick (service_healthy), which is started; "
        "tests waits for quiet (service_healthy), which is started; "
        "tests waits for sick (service_healthy), which is started."
    )
    evidence = {one.service: one for one in caught.value.evidence}
    assert evidence["sick"].probe_outputs == ("not yet",) * 5
    assert evidence["quiet"].probe_outputs == ("file /tmp/never: not there",) * 5
    assert evidence["quiet"].log_tail == tuple(f"line {number}" for number in range(20, 120))


def test_a_service_has_as_long_as_its_own_file_says(lab: Lab) -> None:
    slow = service("api", ready=TcpProbe(8080), start_timeout_seconds=1.5)
    spec = spec_of(slow, service("tests", depends_on=needs("api")))

    with pytest.raises(EnvironmentFailedError) as caught, lab.provisioned(spec):
        pass

    assert "api: it was not ready 1.5 s after its start" in str(caught.value)
    assert caught.value.kind is FailureKind.NEVER_HEALTHY
    assert caught.value.evidence[0].probe_outputs[-1] == "tcp :8080: connection refused"


def test_after_a_restart_a_service_is_asked_again(lab: Lab) -> None:
    with lab.provisioned(server(HttpProbe(8080, "/health"))) as environment:
        lab.engine.stop_service(environment.ref, "api")
        lab.engine.start_service(environment.ref, "api")
        result = environment.run_in("api", ["true"], timeout_seconds=20)

    # Three questions each time: the new process begins anew with two refusals.
    assert result.exit_code == 0
    assert len(lab.texts("api")) == 6


@pytest.mark.engine
def test_a_server_that_only_its_own_loopback_reaches_is_not_ready(docker_lab: Lab) -> None:
    api = service("api", SERVER, environment={"PORT": "8080", "LISTEN": "127.0.0.1"}, ready=TcpProbe(8080))
    there = replace(api, name="there", ready=ExecProbe(python(KNOCK)))
    spec = spec_of(
        replace(api, start_timeout_seconds=2.0), there, service("tests", depends_on=needs("api", "there"))
    )

    with (
        pytest.raises(EnvironmentFailedError, match="api: it was not ready 2 s") as caught,
        docker_lab.provisioned(spec),
    ):
        pass

    assert caught.value.evidence[0].probe_outputs[-1] == "tcp :8080: connection refused"


#: As the official image starts: a server on its socket alone for as long as scripts run, then the real one.
SETS_UP_FIRST = """
initdb --pgdata=/tmp/data --auth=trust --no-sync >/dev/null
pg_ctl --pgdata=/tmp/data --options="-c listen_addresses='' -c fsync=off" --wait start >/dev/null
until [ -e /tmp/passed ]; do sleep 0.05; done
sleep 0.3 && pg_isready && echo "answers during its setup"
pg_ctl --pgdata=/tmp/data --mode=fast --wait stop >/dev/null
echo "is set up"
exec postgres -D /tmp/data -c listen_addresses='*' -c fsync=off
"""


@pytest.mark.engine
def test_a_postgres_that_only_sets_itself_up_fools_neither_us_nor_its_engine(docker_lab: Lab) -> None:
    # Its setup does not end before its engine, which asks on the socket, has called it healthy.
    db = service(
        "db",
        image="itdash-lab/postgres:17",
        entrypoint=("/bin/sh", "-c", SETS_UP_FIRST),
        command=(),
        user="postgres",
        healthcheck=HealthCheck(
            ("CMD-SHELL", "pg_isready -U postgres && touch /tmp/passed"), interval_seconds=0.4, retries=99
        ),
    )
    spec = spec_of(db, service("tests", depends_on=needs("db")))

    with docker_lab.provisioned(spec) as environment:
        row = environment.record.services.get(name="db")
        said = environment.run_in("db", ["psql", "-h", "127.0.0.1", "-Atc", "SELECT 7"], timeout_seconds=9)

    assert (said.exit_code, said.output.strip()) == (0, "7")
    assert "answers during its setup" in docker_lab.texts("db")
    [set_up_at] = [line.at for line in docker_lab.lines if line.text == "is set up"]
    [healthy_at] = [one.at for one in docker_lab.happenings if one.kind is HappeningKind.SERVICE_HEALTHY]
    assert healthy_at < set_up_at < row.ready_at  # type: ignore[operator]


class Elsewhere(DockerEngine):
    """An engine whose networks cannot be reached from here, as on another machine."""

    def reach(self, environment: EnvironmentRef, service: str, port: int) -> tuple[str, int] | None:
        del environment, service, port
        return None


@pytest.mark.engine
def test_ports_of_an_engine_elsewhere_are_asked_inside_and_files_without_any_program() -> None:
    engine = Elsewhere()
    lab = Lab(engine)
    is_up = HttpProbe(8080, "/health", (200,), "up")
    bare = service(
        "bare",
        command=("/usr/bin/env", "PATH=/usr/bin:/bin", *python(STEPS)),
        environment={"PATH": "/nowhere"},
        ready=FileProbe("/tmp/up"),
    )
    api = service("api", SERVER, environment={"PORT": "8080"}, ready=AllOf((TcpProbe(8080), is_up)))
    spec = spec_of(bare, api, service("tests", depends_on=needs("api", "bare")))

    with lab.provisioned(spec) as environment:
        rows = {row.name: row for row in environment.record.services.all()}
    engine.close()

    assert rows["bare"].ready_at is not None
    assert rows["api"].ready_at is not None
    assert len(lab.texts("api")) == 3
