"""What every engine promises; the same tests hold all of them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from environments.engine import Engine, EngineEvent, EngineEventKind, Health, ServiceStatus
from environments.errors import EnvironmentFailedError, EnvironmentsError, FailureKind, ServiceNotFoundError
from environments.probes import steadily, wait_until
from environments.spec import HealthCheck, Mount, MountKind
from tests.contract.conftest import PATIENCE_SECONDS, Place
from tests.contract.services import FOREVER, python, service, spec_of


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


def test_both_streams_are_logged_in_order_with_moments(place: Place) -> None:
    program = """
import sys, time
for number in range(5):
    print("out", number, flush=True)
    time.sleep(0.01)
    print("err", number, file=sys.stderr, flush=True)
    time.sleep(0.01)
"""
    place.up(spec_of(service("one", program)))
    place.until_ended("one")

    lines = place.lines("one")
    expected = [text for number in range(5) for text in (f"out {number}", f"err {number}")]
    assert [line.text for line in lines] == expected
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert {line.is_stderr for line in lines if line.text.startswith("out")} == {False}
    assert {line.service for line in lines} == {"one"}


def test_long_lines_arrive_whole(place: Place) -> None:
    program = "print('a' * 100_000); print('short'); print('b' * 16_384); print('c' * 16_385)"
    place.up(spec_of(service("one", program)))
    place.until_ended("one")

    assert place.texts("one") == ["a" * 100_000, "short", "b" * 16_384, "c" * 16_385]


def test_a_last_line_without_an_end_is_a_line(place: Place) -> None:
    place.up(spec_of(service("one", "print('whole'); print('half', end='')")))
    place.until_ended("one")

    assert place.texts("one") == ["whole", "half"]


def test_bytes_that_are_no_text_do_not_break_the_log(place: Place) -> None:
    program = r"import sys; sys.stdout.buffer.write(b'a\xff\xfeb\n\n\xc3\xa4\n')"
    place.up(spec_of(service("one", program)))
    place.until_ended("one")

    assert place.texts("one") == ["a\ufffd\ufffdb", "", "ä"]


def test_logs_from_a_moment_leave_out_what_was_before(place: Place) -> None:
    program = "import time\nfor n in range(4):\n    print(n, flush=True)\n    time.sleep(0.05)"
    place.up(spec_of(service("one", program)))
    place.until_ended("one")
    third = place.lines("one")[2]

    assert [line.text for line in place.engine.logs(place.ref, "one", since=third.at)] == ["2", "3"]


def test_following_a_log_gives_lines_as_they_come_and_ends_with_the_service(place: Place) -> None:
    program = (
        "import sys\nprint('asked', flush=True)\nimport time\ntime.sleep(0.6)\nprint('answered', flush=True)"
    )
    place.up(spec_of(service("one", program)))

    seen = [(line.text, time.monotonic()) for line in place.engine.logs(place.ref, "one", follow=True)]

    assert [text for text, _ in seen] == ["asked", "answered"]
    assert seen[1][1] - seen[0][1] > 0.2


def test_following_a_log_ends_within_a_second_of_being_told(place: Place) -> None:
    place.up(spec_of(service("one")))
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()

    began = time.monotonic()
    lines = [line.text for line in place.engine.logs(place.ref, "one", follow=True, stop=stop)]

    assert lines == ["up"]
    assert time.monotonic() - began < 2


def test_a_service_that_is_not_there_is_said_so(place: Place) -> None:
    place.create(spec_of(service("one")))

    assert place.state("nobody").status is ServiceStatus.GONE
    with pytest.raises(ServiceNotFoundError):
        place.engine.start_service(place.ref, "nobody")
    with pytest.raises(ServiceNotFoundError):
        list(place.engine.logs(place.ref, "nobody"))
    with pytest.raises(EnvironmentsError):
        place.engine.execute(place.ref, "nobody", ["true"], timeout_seconds=5)


def test_a_command_runs_inside_a_service(place: Place) -> None:
    one = service("one", environment={"COLOUR": "blue"})
    place.up(spec_of(one))

    command = ["/bin/sh", "-c", "echo $COLOUR $SIZE; echo no >&2; exit 3"]
    result = place.engine.execute(place.ref, "one", command, timeout_seconds=10, variables={"SIZE": "large"})

    assert result.exit_code == 3
    assert sorted(result.output.split()) == ["blue", "large", "no"]
    assert result.timed_out is False


def test_a_command_that_does_not_exist_is_exit_code_127(place: Place) -> None:
    place.up(spec_of(service("one")))

    result = place.engine.execute(place.ref, "one", ["no-such-program"], timeout_seconds=10)

    assert result.exit_code == 127
    assert "no-such-program" in result.output


def test_a_command_that_overruns_is_cut_off_in_time(place: Place) -> None:
    place.up(spec_of(service("one")))

    began = time.monotonic()
    result = place.engine.execute(
        place.ref, "one", ["/bin/sh", "-c", "echo begun; sleep 30"], timeout_seconds=0.7
    )

    assert result.timed_out is True
    assert result.output.strip() == "begun"
    assert time.monotonic() - began < 5


def test_a_commands_long_output_is_bounded(place: Place) -> None:
    place.up(spec_of(service("one")))

    result = place.engine.execute(place.ref, "one", python("print('x' * 1_000_000)"), timeout_seconds=20)

    assert result.exit_code == 0
    assert 60_000 < len(result.output) < 70_000


def test_a_command_in_an_ended_service_is_refused(place: Place) -> None:
    place.up(spec_of(service("one", "pass")))
    place.until_ended("one")

    with pytest.raises(EnvironmentFailedError) as caught:
        place.engine.execute(place.ref, "one", ["true"], timeout_seconds=5)
    assert caught.value.kind is FailureKind.SERVICE_EXITED


def test_variables_the_folder_and_the_command_are_as_asked(place: Place) -> None:
    show = "import os; print(os.environ['COLOUR'], os.getcwd())"
    one = service("one", show, environment={"COLOUR": "a b=c'd"}, working_dir="/tmp")
    place.up(spec_of(one))
    place.until_ended("one")

    [text] = place.texts("one")
    assert text.startswith("a b=c'd /")
    assert text.endswith("/tmp")


def test_an_entrypoint_stands_before_the_command(place: Place) -> None:
    one = service("one", entrypoint=("/bin/sh", "-c", 'echo "$0 $1"'), command=("first", "second"))
    place.up(spec_of(one))
    place.until_ended("one")

    assert place.texts("one") == ["first second"]


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


FILES = """
import os
for path in ("a.xml", "b.txt", "deep/c.xml", "deep/er/d.xml", "deep/er/.hidden.xml"):
    path = os.path.join(os.environ["OUT"], path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(path.rsplit("/", 1)[1])
os.symlink("a.xml", os.path.join(os.environ["OUT"], "link.xml"))
"""


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "ended"])
def test_files_are_collected_by_glob(place: Place, is_running: bool) -> None:
    out = f"/tmp/itdash-out-{place.ref.name}"
    program = FILES + ("print('written', flush=True)" + FOREVER if is_running else "")
    place.up(spec_of(service("one", program, environment={"OUT": out})))
    if is_running:
        place.until_said("one", "written")
    else:
        place.until_ended("one")

    def collected(*patterns: str) -> dict[str, bytes]:
        files = place.engine.collect(place.ref, "one", [f"{out}{pattern}" for pattern in patterns])
        return {file.path.removeprefix(out): file.stream.read() for file in files}

    assert collected("/**/*.xml") == {
        "/a.xml": b"a.xml",
        "/deep/c.xml": b"c.xml",
        "/deep/er/d.xml": b"d.xml",
        "/deep/er/.hidden.xml": b".hidden.xml",
        "/link.xml": b"a.xml",
    }
    assert collected("/*.txt", "/deep/*.xml") == {"/b.txt": b"b.txt", "/deep/c.xml": b"c.xml"}
    assert collected("/b.txt") == {"/b.txt": b"b.txt"}
    assert sorted(collected("/deep/**")) == ["/deep/c.xml", "/deep/er/.hidden.xml", "/deep/er/d.xml"]
    assert collected("/none/**/*.xml", "/nothing.txt") == {}


def test_a_collection_that_is_broken_off_leaves_the_service_usable(place: Place) -> None:
    out = f"/tmp/itdash-big-{place.ref.name}"
    program = f"""
import os
os.makedirs("{out}")
for n in range(3):
    open(f"{out}/{{n}}.bin", "wb").write(bytes(20_000_000))
print("written", flush=True)
{FOREVER}"""
    place.up(spec_of(service("one", program)))
    place.until_said("one", "written")

    files = place.engine.collect(place.ref, "one", [f"{out}/*.bin"])
    first = next(iter(files))
    assert first.size == 20_000_000
    assert len(first.stream.read(100)) == 100
    del first, files

    began = time.monotonic()
    assert place.state("one").status is ServiceStatus.RUNNING
    place.engine.stop_service(place.ref, "one", grace_seconds=3)
    assert time.monotonic() - began < 10


def test_services_share_a_volume(place: Place) -> None:
    mount = Mount(MountKind.VOLUME, "/shared", "data")
    writer = service("writer", "open('/shared/note', 'w').write('from writer')", mounts=(mount,))
    reader = service("reader", "print(open('/shared/note').read())", mounts=(mount,))
    place.create(spec_of(writer, reader, volumes=("data",)))
    place.start(writer)
    assert place.until_ended("writer").exit_code == 0, place.texts("writer")
    place.start(reader)
    place.until_ended("reader")

    assert place.texts("reader") == ["from writer"]


def test_a_folder_and_a_file_of_the_checkout_are_seen_inside(place: Place, tmp_path: Path) -> None:
    (tmp_path / "suite" / "deep").mkdir(parents=True)
    (tmp_path / "suite" / "deep" / "data.txt").write_text("from the checkout")
    (tmp_path / "settings.ini").write_text("[one]")
    mounts = (
        Mount(MountKind.BIND, "/suite", str(tmp_path / "suite"), read_only=True),
        Mount(MountKind.BIND, "/etc/itdash/settings.ini", str(tmp_path / "settings.ini"), read_only=True),
    )
    program = "print(open('/suite/deep/data.txt').read(), open('/etc/itdash/settings.ini').read())"
    place.up(spec_of(service("one", program, mounts=mounts), directory=tmp_path))
    place.until_ended("one")

    assert place.texts("one") == ["from the checkout [one]"]


def test_services_share_what_they_write_to_a_folder_of_the_checkout(place: Place, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    mount = Mount(MountKind.BIND, "/results", str(tmp_path / "results"))
    writer = service("writer", "open('/results/one.xml', 'w').write('<a/>')", mounts=(mount,))
    reader = service("reader", "print(open('/results/one.xml').read())", mounts=(mount,))
    place.create(spec_of(writer, reader, directory=tmp_path))
    place.start(writer)
    place.until_ended("writer")
    place.start(reader)
    place.until_ended("reader")

    assert place.texts("reader") == ["<a/>"]
    assert [file.path for file in place.engine.collect(place.ref, "writer", ["/results/**/*.xml"])] == [
        "/results/one.xml"
    ]


SERVER = """
import os, socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"hello from " + os.environ["WHO"].encode())
socketserver.TCPServer.allow_reuse_address = True
place = (os.environ.get("HOST", "0.0.0.0"), int(os.environ["PORT"]))
with socketserver.TCPServer(place, Handler) as server:
    print("listening", flush=True)
    server.serve_forever()
"""
ASK = """
import os, socket
host, _, port = os.environ["TARGET"].partition(":")
with socket.create_connection((host, int(port)), timeout=5) as connection:
    print(connection.recv(100).decode())
"""


def test_services_reach_each_other_by_name(place: Place) -> None:
    server = service("server", SERVER, environment={"WHO": "server", "PORT": "8000"}, ports=(8000,))
    client = service("client", ASK, environment={"TARGET": "server:8000"})
    place.create(spec_of(server, client))
    place.start(server)
    place.until_said("server", "listening")
    place.start(client)
    ended = place.until_ended("client")

    assert ended.exit_code == 0, place.texts("client")
    assert place.texts("client") == ["hello from server"]


def test_services_reach_a_server_of_ours_at_the_host_address(place: Place) -> None:
    import socket  # noqa: PLC0415 - only this test serves

    client = service("client", ASK)
    place.create(spec_of(client))
    address = place.engine.host_address(place.ref, ["default"])
    with socket.create_server((address, 0)) as server:
        server.settimeout(PATIENCE_SECONDS)
        target = f"{address}:{server.getsockname()[1]}"
        spec = spec_of(service("client", ASK, environment={"TARGET": target}))
        place.start(spec.services["client"])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello from the host")
    place.until_ended("client")

    assert place.texts("client") == ["hello from the host"]


def test_environments_of_one_installation_are_found_by_their_labels_alone(
    place: Place, other_place: Place, instance: str
) -> None:
    place.up(spec_of(service("one")))
    other_place.create(spec_of(service("two"), volumes=("data",)))

    found = place.engine.environments(instance)

    assert sorted(ref.name for ref in found) == sorted([place.ref.name, other_place.ref.name])
    assert place.ref in found
    assert place.engine.environments("somebody-else") == []


def test_environments_do_not_see_each_others_services(place: Place, other_place: Place) -> None:
    place.up(spec_of(service("one", "import sys; sys.exit(1)")))
    other_place.up(spec_of(service("one")))

    place.until_ended("one")

    assert other_place.state("one").status is ServiceStatus.RUNNING
    place.engine.remove_environment(place.ref)
    assert other_place.state("one").status is ServiceStatus.RUNNING


def test_removing_takes_everything_and_can_be_repeated(place: Place, instance: str) -> None:
    mount = Mount(MountKind.VOLUME, "/data", "data")
    anonymous = Mount(MountKind.VOLUME, "/more")
    place.up(spec_of(service("one", mounts=(mount, anonymous)), service("two", "pass"), volumes=("data",)))

    assert place.engine.remove_environment(place.ref) == []
    assert place.engine.environments(instance) == []
    assert place.state("one").status is ServiceStatus.GONE
    assert place.engine.remove_environment(place.ref) == []


def test_two_may_remove_the_same_environment_at_once(place: Place, instance: str) -> None:
    place.up(spec_of(service("one"), service("two"), service("three")))
    left: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: left.append(place.engine.remove_environment(place.ref)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(left) == 2
    assert place.engine.environments(instance) == []


def test_events_end_when_told(place: Place) -> None:
    stop = threading.Event()
    ended = threading.Event()

    def listen() -> None:
        list(place.engine.events(place.ref, stop=stop))
        ended.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    stop.set()

    wait_until(ended.is_set, deadline_seconds=3, pauses=steadily(0.05))
    thread.join(3)
