"""What only the local engine must hold, with real processes; what every engine must is in tests/contract."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from environments.engine import EngineEventKind, Health, ServiceState, ServiceStatus
from environments.errors import (
    DeadlineExceededError,
    EnvironmentFailedError,
    FailureKind,
    ServiceNotFoundError,
)
from environments.labels import EnvironmentRef
from environments.local_engine import LocalEngine
from environments.local_engine.folders import EnvironmentFolder
from environments.local_engine.processes import FOLDER_VARIABLE, Identity
from environments.probes import probe_command, steadily, wait_until
from environments.spec import (
    Build,
    EnvironmentSpec,
    HealthCheck,
    Mount,
    MountKind,
    ServiceSpec,
    VolumeSpec,
)

REF = EnvironmentRef(name="itd-0000002a-1", instance="tests", owner="run:42", fence=1, expires=2_000_000_000)
ROOT = Path(__file__).parents[2]


def python(name: str, code: str, **rest: object) -> ServiceSpec:
    """A service that runs a few lines of Python."""
    return ServiceSpec(name=name, command=("python3", "-c", textwrap.dedent(code)), image="python", **rest)  # type: ignore[arg-type]


@dataclass
class Local:
    """An engine with one environment."""

    root: Path
    directory: Path
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.engine = LocalEngine(self.root)

    @property
    def spec(self) -> EnvironmentSpec:
        return EnvironmentSpec(
            services=self.services,
            volumes={name: VolumeSpec(name) for name in self.volumes},
            directory=self.directory,
        )

    def up(self, *services: ServiceSpec) -> None:
        self.services |= {service.name: service for service in services}
        self.engine.create_environment(REF, self.spec)
        for service in services:
            self.engine.create_service(REF, self.spec, service)
            self.engine.start_service(REF, service.name)

    def state(self, service: str) -> ServiceState:
        return self.engine.inspect_service(REF, service)

    def log(self, service: str) -> list[str]:
        return [line.text for line in self.engine.logs(REF, service)]

    def ended(self, service: str) -> ServiceState:
        self.until(lambda: self.state(service).status is ServiceStatus.EXITED)
        return self.state(service)

    def says(self, service: str, text: str) -> None:
        self.until(lambda: any(text in line for line in self.log(service)))

    def ready(self, service: str) -> None:
        check = self.engine.healthcheck(REF, service)
        assert check is not None
        command = probe_command(check)
        try:
            self.until(lambda: self.engine.execute(REF, service, command, timeout_seconds=5).exit_code == 0)
        except (DeadlineExceededError, EnvironmentFailedError) as error:
            error.add_note("\n".join(self.log(service)))
            raise

    def until(self, check: Callable[[], object]) -> None:
        wait_until(check, deadline_seconds=20, pauses=steadily(0.02))

    def processes(self) -> list[psutil.Process]:
        return belonging_to(self.root / REF.name)


def belonging_to(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(FOLDER_VARIABLE) == str(folder) and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    directory = tmp_path / "checkout"
    directory.mkdir()
    environment = Local(tmp_path / "environments", directory)
    try:
        yield environment
    finally:
        assert environment.engine.remove_environment(REF) == []


def test_a_service_gets_a_clean_environment_and_the_addresses_of_its_peers(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD_OF_THE_WORKER", "secret")
    show = "import os, json; print(json.dumps(dict(os.environ)))"
    local.up(
        python("user-service", show, ports=(8000,)),
        python("tests", show, environment={"URL": "http://user-service:8000/", "CI": "true"}),
    )
    local.ended("tests")
    local.ended("user-service")
    (seen,) = (json.loads(line) for line in local.log("tests"))
    (own,) = (json.loads(line) for line in local.log("user-service"))

    assert (own["HOST"], seen["USER_SERVICE_HOST"]) == ("127.0.0.1", "127.0.0.1")
    assert seen["USER_SERVICE_PORT"] == own["PORT"]
    assert seen["URL"] == f"http://127.0.0.1:{own['PORT']}/"
    assert seen["CI"] == "true"
    assert "PORT" not in seen
    assert not any("secret" in value for value in seen.values())


def test_python_is_the_one_that_itdash_runs_on(local: Local) -> None:
    local.up(
        python("word", "import sys; print(sys.executable)"),
        ServiceSpec(
            name="shell", image="x", command=("sh", "-c", "python -c 'import sys; print(sys.executable)'")
        ),
    )
    local.ended("word")
    local.ended("shell")

    assert local.log("word") == [sys.executable]
    assert Path(local.log("shell")[0]).resolve() == Path(sys.executable).resolve()


def test_a_command_for_this_machine_takes_the_place_of_an_image(local: Local) -> None:
    (local.directory / "api").mkdir()
    service = ServiceSpec(
        name="api",
        image="ghcr.io/acme/api:7",
        command=("java", "-jar", "api.jar"),
        extension={
            "local": {
                "command": "python3 -c 'import os; print(os.getcwd(), os.environ[\"MODE\"])'",
                "working_dir": "api",
                "environment": {"MODE": "local"},
            }
        },
    )
    local.up(service)
    local.ended("api")

    assert local.log("api") == [f"{local.directory / 'api'} local"]


def test_an_image_that_nothing_stands_for_is_missing_and_the_message_says_what_to_do(local: Local) -> None:
    service = ServiceSpec(name="search", image="opensearch:2")

    with pytest.raises(EnvironmentFailedError, match=r"'search'.*no container images.*x-itdash") as failure:
        local.engine.prepare_image(REF, service)

    assert failure.value.kind is FailureKind.IMAGE_MISSING
    assert failure.value.service == "search"


def test_a_built_service_runs_its_dockerfiles_command_in_the_build_context(local: Local) -> None:
    (local.directory / "greet.py").write_text("import os; print(os.getcwd(), os.environ['GREETING'])")
    (local.directory / "Dockerfile").write_text(
        "# a comment\nFROM python:3.13 AS base\nWORKDIR /app\nENV GREETING=hello\n"
        'FROM base\nCOPY . .\nCMD ["python3", \\\n  "/app/greet.py"]\n'
    )
    local.up(ServiceSpec(name="greeter", build=Build(context=local.directory)))
    local.ended("greeter")

    assert local.log("greeter") == [f"{local.directory} hello"]


def test_volumes_are_shared_and_tmpfs_and_results_are_not(local: Local) -> None:
    local.volumes = ("shared",)
    places = "--shared=/shared/x --results=/results/x --scratch=/scratch/x"
    code = "import sys; [open(word.split('=')[1], 'a').write('.') for word in sys.argv[1:]]"
    mounts = (Mount(MountKind.VOLUME, "/shared", "shared"), Mount(MountKind.TMPFS, "/scratch"))
    for name in ("one", "two"):
        local.up(
            ServiceSpec(
                name=name, image="python", command=("python3", "-c", code, *places.split()), mounts=mounts
            )
        )
        local.ended(name)

    sizes = {
        file.path: file.size
        for file in local.engine.collect(REF, "two", ["/shared/*", "/results/**", "/scratch/x"])
    }
    assert sizes == {"/shared/x": 2, "/results/x": 1, "/scratch/x": 1}


def test_a_bind_mount_is_the_checkouts_own_folder(local: Local) -> None:
    (local.directory / "data").mkdir()
    (local.directory / "data" / "a.txt").write_text("from the checkout")
    mount = Mount(MountKind.BIND, "/data", str(local.directory / "data"), read_only=True)
    local.up(
        ServiceSpec(name="reader", image="busybox", command=("cat", "/data/a.txt"), mounts=(mount,)),
    )
    local.ended("reader")

    assert local.log("reader") == ["from the checkout"]


def test_a_link_out_of_the_service_is_not_collected(local: Local, tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("secret")
    local.up(
        ServiceSpec(
            name="tests",
            image="sh",
            command=("sh", "-c", f"ln -s {tmp_path}/secret.xml /results/out.xml; echo hi > /results/in.xml"),
        )
    )
    local.ended("tests")

    collected = [file.path for file in local.engine.collect(REF, "tests", ["/results/*.xml"])]

    assert collected == ["/results/in.xml"]


def test_ports_and_data_survive_a_restart(local: Local) -> None:
    count = """
        import os, signal, time
        open("count", "a").write(".")
        print(os.environ["PORT"], os.path.getsize("count"), flush=True)
        signal.pause()
    """
    local.up(python("counter", count, ports=(80,)))
    local.says("counter", " 1")
    local.engine.stop_service(REF, "counter")
    local.engine.start_service(REF, "counter")
    local.says("counter", " 2")

    ports = {line.split()[0] for line in local.log("counter")}
    assert len(ports) == 1
    assert 20_000 <= int(ports.pop()) <= 32_767


def test_two_environments_never_share_a_port(local: Local) -> None:
    other = EnvironmentRef("itd-0000002b-1", "tests", "run:43", 1, 2_000_000_000)
    services = {name: ServiceSpec(name=name, ports=tuple(range(8000, 8020))) for name in ("a", "b")}
    spec = EnvironmentSpec(services=services)
    try:
        local.engine.create_environment(REF, spec)
        LocalEngine(local.root).create_environment(other, spec)

        chosen = [
            port
            for ref in (REF, other)
            for ports in EnvironmentFolder.of(local.root, ref.name).ports().values()
            for port in ports.values()
        ]
        assert len(chosen) == len(set(chosen)) == 80
    finally:
        local.engine.remove_environment(other)


def test_a_port_taken_by_a_stranger_is_said_at_the_start(local: Local) -> None:
    service = python("web", "pass", ports=(80,))
    local.services["web"] = service
    local.engine.create_environment(REF, local.spec)
    local.engine.create_service(REF, local.spec, service)
    port = EnvironmentFolder.of(local.root, REF.name).ports()["web"]["80"]
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(EnvironmentFailedError, match=rf"Port {port}.*used by another program") as failure,
    ):
        local.engine.start_service(REF, "web")
    assert failure.value.kind is FailureKind.PORT


def test_a_program_that_is_not_there_is_said_with_its_name(local: Local) -> None:
    service = ServiceSpec(name="web", build=Build(context=local.directory), command=("no-such-program",))

    with pytest.raises(EnvironmentFailedError, match="no-such-program") as failure:
        local.up(service)

    assert failure.value.kind is FailureKind.SERVICE_EXITED
    assert failure.value.evidence[0].exit_code == 127
    assert local.state("web").status is ServiceStatus.EXITED


def test_what_a_service_leaves_in_the_background_ends_with_it(local: Local) -> None:
    hide = """
        import os, subprocess, sys, time
        # A daemon by the book: twice forked, a session of its own, nothing of its environment kept.
        daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", daemon], env={}, start_new_session=True).wait()
        print("hidden", flush=True)
        time.sleep(600)
    """
    local.up(python("parent", hide))
    local.says("parent", "hidden")
    keeper = keeper_of(local, "parent")
    tree = keeper.children(recursive=True)
    assert len(tree) == 2

    local.engine.kill_service(REF, "parent")

    assert local.state("parent").exit_code == 137
    assert not [process for process in tree if process.is_running()]


def test_a_service_that_ignores_the_request_to_stop_is_ended(local: Local) -> None:
    stubborn = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up", flush=True)
        time.sleep(600)
    """
    local.up(python("stubborn", stubborn))
    local.says("stubborn", "up")

    local.engine.stop_service(REF, "stubborn", grace_seconds=0.2)

    assert local.state("stubborn").exit_code == 137


def test_a_paused_service_can_be_stopped(local: Local) -> None:
    local.up(python("sleeper", "import time; print('up', flush=True); time.sleep(600)"))
    local.says("sleeper", "up")
    local.engine.pause_service(REF, "sleeper")
    assert local.state("sleeper").status is ServiceStatus.PAUSED

    local.engine.stop_service(REF, "sleeper")

    assert local.state("sleeper").exit_code == 143


def test_pausing_freezes_the_whole_tree(local: Local) -> None:
    local.up(ServiceSpec(name="tree", image="sh", command=("sh", "-c", "sleep 600 & sleep 600 & wait")))
    keeper = keeper_of(local, "tree")
    local.until(lambda: len(keeper.children(recursive=True)) == 3)

    local.engine.pause_service(REF, "tree")
    frozen = {process.status() for process in keeper.children(recursive=True)}
    local.engine.unpause_service(REF, "tree")
    local.until(lambda: psutil.STATUS_STOPPED not in {p.status() for p in keeper.children(recursive=True)})

    assert frozen == {psutil.STATUS_STOPPED}


def test_output_is_kept_line_by_line_whoever_writes_it(local: Local) -> None:
    write = """
        import os
        os.write(1, b"one\\ntwo\\nhal")
        os.write(1, b"f\\n\\n\\xff\\n")
        os.write(2, b"wrong\\n")
        os.write(1, b"x" * 200_000 + b"\\n" + b"no newline at the end")
    """
    local.up(python("writer", write))
    local.ended("writer")
    lines = list(local.engine.logs(REF, "writer"))

    assert [line.text for line in lines if not line.is_stderr] == [
        "one",
        "two",
        "half",
        "",
        "\N{REPLACEMENT CHARACTER}",
        "x" * 200_000,
        "no newline at the end",
    ]
    assert [line.text for line in lines if line.is_stderr] == ["wrong"]


def test_a_flood_of_lines_is_kept_whole(local: Local) -> None:
    local.up(python("flood", "for number in range(100_000): print(number)"))
    lines = list(local.engine.logs(REF, "flood", follow=True))
    late = next(line for line in lines if line.text == "77777")

    assert [int(line.text) for line in lines] == list(range(100_000))
    again = list(local.engine.logs(REF, "flood", since=late.at))
    assert again == [line for line in lines if line.at >= late.at]


def test_following_begins_before_the_start_and_ends_with_the_service(local: Local) -> None:
    service = python("late", "print('now')")
    local.services["late"] = service
    local.engine.create_environment(REF, local.spec)
    local.engine.create_service(REF, local.spec, service)
    heard: list[str] = []

    def follow() -> None:
        heard.extend(line.text for line in local.engine.logs(REF, "late", follow=True))

    follower = threading.Thread(target=follow)
    follower.start()
    local.engine.start_service(REF, "late")
    follower.join(10)

    assert heard == ["now"]


def test_only_lines_since_a_moment_are_read(local: Local) -> None:
    local.up(python("clock", "import time; print('a', flush=True); time.sleep(0.05); print('b')"))
    local.ended("clock")
    first, second = local.engine.logs(REF, "clock")

    def since(moment: object) -> list[str]:
        return [line.text for line in local.engine.logs(REF, "clock", since=moment)]  # type: ignore[arg-type]

    assert since(first.at) == ["a", "b"]
    assert since(second.at) == ["b"]
    assert since(second.at + timedelta(microseconds=1)) == []


def test_health_is_asked_at_the_interval_and_told(local: Local) -> None:
    check = HealthCheck(test=("CMD-SHELL", "test -f up"), interval_seconds=0.05, timeout_seconds=5, retries=2)
    stop = threading.Event()
    service = python("web", "import time; time.sleep(600)", healthcheck=check)
    local.services["web"] = service
    local.engine.create_environment(REF, local.spec)
    events = local.engine.events(REF, stop=stop)
    local.up(service)

    local.until(lambda: local.state("web").health is Health.UNHEALTHY)
    local.engine.execute(REF, "web", ["touch", "up"], timeout_seconds=5)
    local.until(lambda: local.state("web").health is Health.HEALTHY)
    local.engine.kill_service(REF, "web")
    stop.set()

    kinds = [event.kind for event in events]
    assert kinds == [
        EngineEventKind.CREATED,
        EngineEventKind.STARTED,
        EngineEventKind.UNHEALTHY,
        EngineEventKind.HEALTHY,
        EngineEventKind.DIED,
    ]
    assert local.state("web").health is Health.UNHEALTHY


def test_a_probe_asked_from_outside_makes_a_service_healthy_at_once(local: Local) -> None:
    check = HealthCheck(test=("CMD", "true"), interval_seconds=600)
    local.up(python("web", "import time; time.sleep(600)", healthcheck=check))
    assert local.state("web").health is Health.STARTING

    local.engine.execute(REF, "web", ["true"], timeout_seconds=5)

    assert local.state("web").health is Health.HEALTHY


def test_a_service_that_fails_is_started_again_when_the_file_says_so(local: Local) -> None:
    third_time = """
        import os, sys, time
        open("tries", "a").write(".")
        print("try", os.path.getsize("tries"), flush=True)
        if os.path.getsize("tries") < 3:
            sys.exit(9)
        time.sleep(600)
    """
    stop = threading.Event()
    service = python("web", third_time, restart="on-failure")
    local.services["web"] = service
    local.engine.create_environment(REF, local.spec)
    events = local.engine.events(REF, stop=stop)
    local.up(service)
    local.says("web", "try 3")

    assert local.log("web") == ["try 1", "try 2", "try 3"]
    assert (local.state("web").status, local.state("web").restart_count) == (ServiceStatus.RUNNING, 2)

    local.engine.stop_service(REF, "web")
    stop.set()

    assert local.state("web").status is ServiceStatus.EXITED
    assert [(event.kind.value, event.exit_code) for event in events] == [
        ("created", None),
        ("started", None),
        ("died", 9),
        ("started", None),
        ("died", 9),
        ("started", None),
        ("died", 143),
    ]


def test_a_service_that_waits_to_be_restarted_can_be_stopped_and_started(local: Local) -> None:
    local.up(python("web", "print('up')", restart="always"))
    # Four pauses have doubled the fifth to 1.6 s: time enough to stop it in one.
    local.until(
        lambda: (
            local.state("web").restart_count == 4 and local.state("web").status is ServiceStatus.RESTARTING
        )
    )

    local.engine.stop_service(REF, "web")
    stopped_at = local.state("web")
    local.engine.start_service(REF, "web")
    local.until(lambda: local.state("web").restart_count >= 1)
    local.engine.kill_service(REF, "web")

    assert (stopped_at.status, stopped_at.exit_code) == (ServiceStatus.EXITED, 0)
    assert local.state("web").status is ServiceStatus.EXITED


def test_a_command_in_a_service_knows_its_paths_and_ports(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)", ports=(8000,)))

    shown = local.engine.execute(REF, "web", ["echo", "http://web:8000", "/results/x"], timeout_seconds=5)
    missing = local.engine.execute(REF, "web", ["no-such-program"], timeout_seconds=5)

    port = EnvironmentFolder.of(local.root, REF.name).ports()["web"]["8000"]
    place = local.root / REF.name / "services/s-web/root/results/x"
    assert shown.output == f"http://127.0.0.1:{port} {place}\n"
    assert missing.exit_code == 127


def test_a_command_that_takes_too_long_is_ended_with_its_children(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)"))
    before = len(local.processes())

    result = local.engine.execute(REF, "web", ["sh", "-c", "sleep 600 & sleep 600"], timeout_seconds=0.3)

    assert result.timed_out
    local.until(lambda: len(local.processes()) == before)


def test_a_command_that_leaves_a_child_with_its_output_still_ends(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)"))

    result = local.engine.execute(REF, "web", ["sh", "-c", "sleep 600 & echo done"], timeout_seconds=10)

    assert (result.exit_code, result.output, result.timed_out) == (0, "done\n", False)


def test_more_output_than_is_kept_does_not_hold_a_command_up(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)"))

    result = local.engine.execute(REF, "web", ["python3", "-c", "print('x' * 5_000_000)"], timeout_seconds=10)

    assert (result.exit_code, len(result.output)) == (0, 65_536)


@pytest.mark.parametrize("depth", [0, 3])
def test_postgres_is_set_up_as_its_image_would_be(local: Local, depth: int) -> None:
    # A socket's path may hold 107 bytes; an environment's may not be held to that.
    local.root = local.root.joinpath(*["a-folder-with-a-rather-long-name"] * depth)
    local.engine = LocalEngine(local.root)
    scripts = local.directory / "sql"
    scripts.mkdir()
    (scripts / "1-tables.sql").write_text("CREATE TABLE users (id int);\nINSERT INTO users\nVALUES (7);")
    (scripts / "2-more.sh").write_text('psql -c "INSERT INTO users VALUES (8)"')
    db = ServiceSpec(
        name="db",
        image="docker.io/library/postgres:17-alpine",
        command=("postgres", "-c", "max_connections=33"),
        environment={
            "POSTGRES_USER": "shop-owner",
            "POSTGRES_PASSWORD": "it's p@ss",
            "POSTGRES_DB": "my shop",
        },
        mounts=(Mount(MountKind.BIND, "/docker-entrypoint-initdb.d", str(scripts)),),
        healthcheck=HealthCheck(test=("CMD", "pg_isready", "-U", "somebody")),
    )
    local.up(db)
    local.ready("db")
    port = EnvironmentFolder.of(local.root, REF.name).ports()["db"]["5432"]
    login = {"host": "127.0.0.1", "port": port, "user": "shop-owner", "dbname": "my shop"}

    with psycopg.connect(**login, password="it's p@ss") as connection:  # type: ignore[arg-type]
        rows = connection.execute("SELECT id FROM users ORDER BY id").fetchall()
        limit = connection.execute("SHOW max_connections").fetchone()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**login, password="wrong")  # type: ignore[arg-type]
    inside = local.engine.execute(REF, "db", ["psql", "-tAc", "SELECT 1"], timeout_seconds=10)

    assert (rows, limit) == ([(7,), (8,)], ("33",))
    assert (inside.exit_code, inside.output) == (0, "1\n")


def test_postgres_keeps_its_data_over_a_kill(local: Local) -> None:
    local.up(ServiceSpec(name="db", image="postgres"))
    local.ready("db")
    sql = ["psql", "-tAc", "CREATE TABLE kept (id int); SELECT count(*) FROM kept"]
    assert local.engine.execute(REF, "db", sql, timeout_seconds=10).output.endswith("0\n")

    local.engine.kill_service(REF, "db")
    local.engine.start_service(REF, "db")
    local.ready("db")

    again = local.engine.execute(REF, "db", ["psql", "-tAc", "SELECT count(*) FROM kept"], timeout_seconds=10)
    assert again.output == "0\n"


def test_valkey_takes_its_files_options(local: Local) -> None:
    cache = ServiceSpec(name="cache", image="redis:7", command=("redis-server", "--requirepass", "hush"))
    local.up(cache)
    local.ready("cache")
    port = EnvironmentFolder.of(local.root, REF.name).ports()["cache"]["6379"]

    with redis.Redis(port=port, password="hush") as client:
        assert client.ping()
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_a_keeper_that_is_killed_takes_its_service_along(local: Local) -> None:
    stop = threading.Event()
    events = None
    local.services["web"] = python("web", "import time; time.sleep(600)")
    local.engine.create_environment(REF, local.spec)
    events = local.engine.events(REF, stop=stop)
    local.up(local.services["web"])
    keeper = keeper_of(local, "web")
    (main,) = keeper.children()

    keeper.kill()

    local.until(lambda: not main.is_running())
    assert local.ended("web").exit_code == 137
    local.until(lambda: local.state("web").finished_at)
    stop.set()
    assert [event.kind for event in events][-1] is EngineEventKind.DIED


def test_what_a_killed_worker_has_left_is_found_and_removed_by_another_process(local: Local) -> None:
    program = f"""
        import signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from environments.labels import EnvironmentRef
        from environments.local_engine import LocalEngine
        from environments.spec import EnvironmentSpec, ServiceSpec
        ref = EnvironmentRef({REF.name!r}, "tests", "run:42", 1, 2_000_000_000)
        words = ("sh", "-c", "sleep 600 & sleep 600 & echo up; wait")
        loop = ServiceSpec(name="loop", image="sh", command=words)
        db = ServiceSpec(name="db", image="postgres")
        spec = EnvironmentSpec(services={{"loop": loop, "db": db}})
        engine = LocalEngine(Path({str(local.root)!r}))
        engine.create_environment(ref, spec)
        for service in (loop, db):
            engine.create_service(ref, spec, service)
            engine.start_service(ref, service.name)
        print("started", flush=True)
        signal.pause()
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, start_new_session=True
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"started\n"
        os.kill(worker.pid, signal.SIGKILL)
    local.says("loop", "up")
    local.ready("db")
    left = local.processes()
    assert len(left) >= 6  # two keepers, a shell and two sleeps, PostgreSQL's main process

    began = time.monotonic()
    assert local.engine.environments("tests") == [REF]
    assert local.engine.environments("another installation") == []
    assert local.engine.remove_environment(REF) == []

    assert time.monotonic() - began < 5
    assert local.processes() == []
    assert not [process for process in left if process.is_running() and process.status() != "zombie"]
    assert not (local.root / REF.name).exists()
    assert local.engine.environments("tests") == []
    assert local.engine.remove_environment(REF) == []


def name_of(process: psutil.Process) -> str:
    """Its name; empty when it has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def test_an_orphan_of_a_killed_keeper_is_found_by_its_environment(local: Local) -> None:
    local.up(ServiceSpec(name="tree", image="sh", command=("sh", "-c", "setsid sleep 600 & echo up; wait")))
    local.says("tree", "up")
    keeper = keeper_of(local, "tree")
    local.until(lambda: len(keeper.children(recursive=True)) == 2)
    keeper.kill()
    (orphan,) = (process for process in local.processes() if name_of(process) == "sleep")

    assert local.engine.remove_environment(REF) == []

    assert not orphan.is_running() or orphan.status() == "zombie"


def test_a_number_that_is_another_process_by_now_is_left_alone() -> None:
    here = psutil.Process()
    tick = int(Path(f"/proc/{here.pid}/stat").read_text().rpartition(")")[2].split()[19])

    assert Identity(here.pid, tick).process() == here
    assert Identity(here.pid, tick + 1).process() is None


def test_a_half_removed_environment_is_still_found(local: Local) -> None:
    local.up(python("web", "pass"))
    local.ended("web")
    shutil.rmtree(local.root / REF.name / "services")

    assert local.engine.environments("tests") == [REF]
    assert local.engine.remove_environment(REF) == []


@pytest.mark.parametrize("name", ["../elsewhere", "..", "", "/etc", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(local: Local, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        local.engine.remove_environment(EnvironmentRef(name, "tests", "run:1", 1, 0))


def test_a_service_that_was_not_created_is_gone_and_cannot_be_started(local: Local) -> None:
    local.engine.create_environment(REF, local.spec)

    assert local.state("nobody").status is ServiceStatus.GONE
    with pytest.raises(ServiceNotFoundError, match="no service 'nobody'"):
        local.engine.start_service(REF, "nobody")


def test_creating_and_starting_twice_adopts_what_is_there(local: Local) -> None:
    service = python("web", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    local.up(service)
    local.up(service)
    local.says("web", "")

    assert len(local.log("web")) == 1
    assert len(keeper_of(local, "web").children()) == 1


def test_it_says_what_it_cannot_do(local: Local) -> None:
    capabilities = local.engine.capabilities()

    assert capabilities.engine == local.engine.name == "local"
    assert "trust" in capabilities.limits["isolation"]
    assert set(capabilities.limits) >= {"networks", "images", "resources"}
    assert local.engine.host_address(REF) == "127.0.0.1"


def keeper_of(local: Local, service: str) -> psutil.Process:
    state = EnvironmentFolder.of(local.root, REF.name).service(service).state()
    assert state is not None
    keeper = state.keeper.process()
    assert keeper is not None
    return keeper
