"""What only the Docker engine has: images, networks of its own, limits, and nothing of the host inside."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from environments.docker_engine import DockerEngine, payload, streams
from environments.docker_engine.networks import OWN_FILE, create_network, network_ids
from environments.engine import EngineEventKind, ServiceStatus
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef
from environments.probes import wait_until
from environments.spec import Build, HealthCheck, Mount, MountKind, NetworkSpec
from environments.subnets import Pool
from tests.conftest import ROOT
from tests.contract.conftest import Place, ref_for
from tests.contract.services import FOREVER, IMAGE, python, service, spec_of

REF = EnvironmentRef("itd-12345678-1", "test", "run:1", 1, 2_000_000_000)

# --- plain: what is sent, what is read ---------------------------------------------------------------


def config_of(**facts: Any) -> dict[str, object]:
    return payload.container_config(
        REF,
        service("one", **facts),
        image="image",
        networks={"default": "n1", "back": "n2"},
        copied_folders=frozenset({"/checkout/suite"}),
        api=(1, 41),
        cpus=2,
        limits=payload.Limits(),
    )


def host_of(**facts: Any) -> dict[str, object]:
    host = config_of(**facts)["HostConfig"]
    assert isinstance(host, dict)
    return host


def test_every_container_has_limits_and_no_way_to_more_rights() -> None:
    host = host_of()

    assert host["Memory"] == host["MemorySwap"] == 1024**3
    assert host["PidsLimit"] == 512
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["CapDrop"] == ["AUDIT_WRITE", "MKNOD", "NET_RAW"]
    assert host["Init"] is True
    assert host["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "52428800", "max-file": "2"},
    }
    assert "Privileged" not in host
    assert "PortBindings" not in host


def test_what_a_file_asks_for_is_clamped() -> None:
    host = host_of(memory_bytes=10**12, cpus=64.0, pids_limit=10**6)

    assert host["Memory"] == 8 * 1024**3
    assert host["NanoCpus"] == 2_000_000_000
    assert host["PidsLimit"] == 4096


def test_no_path_of_this_machine_is_ever_mounted() -> None:
    mounts = (
        Mount(MountKind.BIND, "/suite", "/checkout/suite"),
        Mount(MountKind.BIND, "/file", "/checkout/settings.ini"),
        Mount(MountKind.BIND, "/var/run/docker.sock", "/var/run/docker.sock"),
        Mount(MountKind.VOLUME, "/data", "data"),
        Mount(MountKind.TMPFS, "/scratch", size_bytes=1000),
    )
    host = host_of(mounts=mounts)

    assert "Binds" not in host
    assert isinstance(host["Mounts"], list)
    assert [(mount["Type"], mount["Target"]) for mount in host["Mounts"]] == [
        ("volume", "/suite"),
        ("volume", "/data"),
    ]
    assert host["Tmpfs"] == {"/scratch": "size=1000"}


def test_labels_of_ours_cannot_be_forged() -> None:
    labels = config_of(
        labels={"itdash.instance": "other", "com.docker.compose.project": "x", "team": "shop"}
    )["Labels"]

    assert isinstance(labels, dict)
    assert labels["itdash.instance"] == "test"
    assert labels["itdash.service"] == "one"
    assert labels["team"] == "shop"
    assert "com.docker.compose.project" not in labels


def test_only_the_first_network_is_joined_at_creation() -> None:
    config = config_of(networks={"back": ("db",), "default": ()}, hostname="primary")

    assert config["NetworkingConfig"] == {"EndpointsConfig": {"n2": {"Aliases": ["one", "primary", "db"]}}}
    assert host_of(networks={"back": (), "default": ()})["NetworkMode"] == "n2"


def test_a_services_network_can_be_shared() -> None:
    assert host_of(network_mode="service:db")["NetworkMode"] == "container:itd-12345678-1-db"


def test_a_start_interval_is_sent_to_engines_that_know_it() -> None:
    check = HealthCheck(test=("CMD", "true"), interval_seconds=0.5, start_interval_seconds=0.1)
    one = service("one", healthcheck=check)

    old = payload.healthcheck_config(one, (1, 41))
    new = payload.healthcheck_config(one, (1, 44))
    assert old is not None
    assert new is not None
    assert old["Interval"] == 500_000_000
    assert "StartInterval" not in old
    assert new["StartInterval"] == 100_000_000


def frame(stream: int, text: bytes) -> bytes:
    return streams.HEADER.pack(stream, len(text)) + text


def test_frames_are_found_wherever_the_stream_is_cut() -> None:
    stamp = b"2026-01-02T03:04:05.123456789Z "
    data = frame(1, stamp + b"one\n") + frame(2, stamp + b"two\n") + frame(1, stamp + b"three\n")

    for size in (1, 7, 8, 9, 1000):
        cut = (data[at : at + size] for at in range(0, len(data), size))
        lines = list(streams.log_lines("web", streams.frames(cut)))
        assert [(line.text, line.is_stderr) for line in lines] == [
            ("one", False),
            ("two", True),
            ("three", False),
        ]
        assert lines[0].at == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


def test_a_line_in_pieces_has_the_moment_of_the_first() -> None:
    pieces = [
        frame(1, b"2026-01-02T03:04:05.000000000Z " + b"a" * 16_384),
        frame(2, b"2026-01-02T03:04:05.500000000Z between\n"),
        frame(1, b"2026-01-02T03:04:06.000000000Z " + b"b\n"),
    ]
    lines = list(streams.log_lines("web", streams.frames(iter(pieces))))

    assert [line.text for line in lines] == ["between", "a" * 16_384 + "b"]
    assert lines[1].at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_line_without_an_end_is_cut_at_a_mebibyte() -> None:
    piece = frame(1, b"2026-01-02T03:04:05.000000000Z " + b"x" * 16_384)
    lines = list(streams.log_lines("web", streams.frames(iter([piece] * 65))))

    assert [len(line.text) for line in lines] == [1024 * 1024, 16_384]


def test_engine_events_are_read_in_our_words() -> None:
    said = [
        {"Action": "health_status: healthy", "timeNano": 1_700_000_000_500_000_000},
        {"Action": "exec_create: true", "timeNano": 1},
        {"Action": "die", "timeNano": 1_700_000_001_000_000_000, "exitCode": "137"},
    ]
    lines = b"".join(
        json.dumps(
            {
                "Action": one["Action"],
                "timeNano": one["timeNano"],
                "Actor": {"Attributes": {"itdash.service": "db", "exitCode": one.get("exitCode", "0")}},
            }
        ).encode()
        + b"\n"
        for one in said
    )

    events = [event for _, event in streams.events(iter([lines[:40], lines[40:]]))]

    assert [(event.kind, event.exit_code) for event in events] == [
        (EngineEventKind.HEALTHY, None),
        (EngineEventKind.DIED, 137),
    ]


def test_without_an_engine_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailedError, match="No container engine answers") as caught:
        DockerEngine(f"unix://{tmp_path}/nothing.sock").capabilities()

    assert caught.value.kind is FailureKind.ENGINE_UNAVAILABLE


# --- on the engine -----------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


@pytest.fixture
def place(engine: DockerEngine) -> Iterator[Place]:
    place = Place(engine, ref_for(f"docker-{secrets.token_hex(4)}"))
    yield place
    assert engine.remove_environment(place.ref) == []


@pytest.mark.engine
def test_an_image_that_is_nowhere_is_named_with_the_mend(place: Place) -> None:
    missing = service("web", image="registry.invalid/no/such:1")

    with pytest.raises(EnvironmentFailedError) as caught:
        place.engine.prepare_image(place.ref, missing)

    assert caught.value.kind is FailureKind.IMAGE_MISSING
    assert caught.value.service == "web"
    assert "docker pull registry.invalid/no/such:1" in str(caught.value)


@pytest.mark.engine
def test_an_image_is_built_once_for_the_same_content(place: Place, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nARG WHO\nCOPY note.txt /note.txt\nENV WHO=$WHO\n")
    (tmp_path / "note.txt").write_text(secrets.token_hex(8))
    (tmp_path / ".dockerignore").write_text("ignored\n")
    show = python("import os; print(os.environ['WHO'], open('/note.txt').read())")
    built = service("web", image=None, build=Build(context=tmp_path, args={"WHO": "me"}), command=show)
    other = Place(place.engine, ref_for("elsewhere"))

    first = place.engine.prepare_image(place.ref, built)
    (tmp_path / "ignored").write_text("changes nothing")
    assert place.engine.prepare_image(other.ref, built) == first
    place.up(spec_of(built))
    place.until_ended("web")
    assert place.texts("web") == [f"me {(tmp_path / 'note.txt').read_text()}"]

    (tmp_path / "note.txt").write_text("changed")
    assert place.engine.prepare_image(ref_for("third"), built) != first


@pytest.mark.engine
def test_a_build_that_fails_shows_the_builders_last_lines(place: Place, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo looking && exit 9\n")
    built = service("web", image=None, build=Build(context=tmp_path))

    with pytest.raises(EnvironmentFailedError) as caught:
        place.engine.prepare_image(place.ref, built)

    assert caught.value.kind is FailureKind.BUILD_FAILED
    assert "looking" in caught.value.evidence[0].log_tail


@pytest.mark.engine
def test_the_images_own_health_check_is_known(place: Place, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nHEALTHCHECK --interval=9s CMD test -e /tmp/up\n")
    built = service("web", image=None, build=Build(context=tmp_path))
    place.up(spec_of(built))

    check = place.engine.healthcheck(place.ref, "web")

    assert check is not None
    assert check.test == ("CMD-SHELL", "test -e /tmp/up")
    assert check.interval_seconds == 9.0


LISTEN = """
import socket
with socket.create_server(("0.0.0.0", 8000)) as server:
    print(socket.gethostbyname(socket.gethostname()), flush=True)
    while True:
        server.accept()[0].close()
"""
REACH = """
import os, socket
try:
    socket.create_connection((os.environ["TARGET"], 8000), timeout=2).close()
    print("reached")
except OSError as error:
    print("not reached")
"""


@pytest.mark.engine
def test_environments_cannot_reach_each_other(place: Place) -> None:
    other = Place(place.engine, ref_for(place.ref.instance, shard=2))
    try:
        place.up(spec_of(service("server", LISTEN)))
        wait_until(lambda: place.texts("server"), deadline_seconds=20)
        [address] = place.texts("server")
        spec = spec_of(
            service("by-address", REACH, environment={"TARGET": address}),
            service("by-name", REACH, environment={"TARGET": "server"}),
        )
        other.up(spec)
        other.until_ended("by-address")
        other.until_ended("by-name")

        assert address.startswith("10.213.")
        assert other.texts("by-address") == ["not reached"], firewall()
        assert other.texts("by-name") == ["not reached"], firewall()
    finally:
        other.engine.remove_environment(other.ref)


def firewall() -> str:
    """The machine's rules between networks, to see what was missing when something was reached."""
    if shutil.which("iptables") is None:
        return "no iptables here to look at the rules with"
    asked = subprocess.run(["iptables", "-S"], capture_output=True, text=True, timeout=20, check=False)
    return asked.stdout + asked.stderr


@pytest.mark.engine
def test_networks_of_one_environment_are_apart(place: Place) -> None:
    server = service("server", LISTEN, networks={"front": (), "back": ("db",)})
    place.create(
        spec_of(
            server,
            service("front", REACH, environment={"TARGET": "server"}, networks={"front": ()}),
            service("back", REACH, environment={"TARGET": "db"}, networks={"back": ()}),
            service("aside", REACH, environment={"TARGET": "db"}, networks={"aside": ()}),
            networks={"front": False, "back": True, "aside": False},
        )
    )
    place.start(server)
    wait_until(lambda: place.texts("server"), deadline_seconds=20)
    for name in ("front", "back", "aside"):
        place.start(place.spec.services[name])
        place.until_ended(name)

    said = {name: place.texts(name) for name in ("front", "back", "aside")}
    assert said == {"front": ["reached"], "back": ["reached"], "aside": ["not reached"]}


@pytest.mark.engine
def test_many_environments_get_subnets_of_their_own_at_once(engine: DockerEngine) -> None:
    # Twelve from a pool of sixteen, chosen at once by four threads: the engine refuses who comes second.
    sixteen = Pool.read("10.215.0.0/22", 26)
    refs = [ref_for(f"subnets-{secrets.token_hex(4)}", shard=number) for number in range(1, 13)]
    try:
        with ThreadPoolExecutor(4) as pool:
            ids = list(
                pool.map(
                    lambda ref: create_network(engine._api, ref, NetworkSpec("default"), sixteen),
                    refs,
                )
            )
        subnets = [engine._api.inspect_network(one)["IPAM"]["Config"][0]["Subnet"] for one in ids]
        assert len(set(subnets)) == 12
        assert create_network(engine._api, refs[0], NetworkSpec("default"), Pool()) == ids[0]
        assert network_ids(engine._api, refs[0]) == {"default": ids[0]}
    finally:
        for ref in refs:
            assert engine.remove_environment(ref) == []


@pytest.mark.engine
def test_running_out_of_memory_is_said_so(place: Place) -> None:
    hungry = service("hungry", "print('eating'); bytearray(300_000_000)", memory_bytes=64 * 1024 * 1024)
    stop = threading.Event()
    events = place.engine.events(place.ref, stop=stop)
    place.up(spec_of(hungry))

    ended = place.until_ended("hungry")

    assert ended.exit_code == 137
    assert ended.out_of_memory is True
    kinds = []
    for event in events:
        kinds.append(event.kind)
        if event.kind is EngineEventKind.DIED:
            stop.set()
    assert EngineEventKind.OUT_OF_MEMORY in kinds


@pytest.mark.engine
def test_a_terminals_output_is_read_too(place: Place) -> None:
    place.up(spec_of(service("one", "print('first'); print('second')", tty=True)))
    place.until_ended("one")

    assert place.texts("one") == ["first", "second"]


@pytest.mark.engine
def test_any_user_may_write_where_the_file_says_so_and_read_the_rest(place: Place, tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir(mode=0o700)
    (tmp_path / "suite" / "run.sh").write_text("echo ran")
    (tmp_path / "suite" / "run.sh").chmod(0o700)
    mount = Mount(MountKind.BIND, "/suite", str(tmp_path / "suite"))
    one = service(
        "one",
        command=("/bin/sh", "-c", "/bin/sh /suite/run.sh && touch /suite/made && echo wrote"),
        user="65534:65534",
        mounts=(mount,),
    )
    place.up(spec_of(one, directory=tmp_path))
    place.until_ended("one")

    assert place.texts("one") == ["ran", "wrote"]
    assert not (tmp_path / "suite" / "made").exists()


@pytest.mark.engine
def test_a_service_of_another_try_is_not_adopted(place: Place) -> None:
    one = service("one", FOREVER)
    place.up(spec_of(one))
    newer = EnvironmentRef(place.ref.name, place.ref.instance, place.ref.owner, 2, place.ref.expires)

    with pytest.raises(EnvironmentFailedError, match="not of this try"):
        place.engine.create_service(newer, place.spec, one)

    assert place.state("one").status is ServiceStatus.RUNNING


@pytest.mark.engine
def test_a_network_with_a_stranger_in_it_is_removed_all_the_same(place: Place, engine: DockerEngine) -> None:
    place.create(spec_of(service("one")))
    [network] = network_ids(engine._api, place.ref).values()
    stranger = Place(engine, ref_for("stranger"))
    try:
        stranger.up(spec_of(service("other")))
        engine._api.connect_container_to_network(payload.container_name(stranger.ref, "other"), network)

        assert engine.remove_environment(place.ref) == []
        assert stranger.state("other").status is ServiceStatus.RUNNING
    finally:
        engine.remove_environment(stranger.ref)


@pytest.mark.engine
@pytest.mark.parametrize("network", ["open", "internal"])
def test_from_inside_a_container_services_reach_us_at_our_own_address(
    engine: DockerEngine, network: str
) -> None:
    # As in production: the worker is a container of the engine whose socket it has.
    packages = sysconfig.get_paths()["purelib"]
    instance = f"inside-{secrets.token_hex(4)}"
    command = ["docker", "run", "--rm", "--volume", "/var/run/docker.sock:/var/run/docker.sock"]
    command += ["--volume", f"{ROOT}:/itdash:ro", "--volume", f"{packages}:/packages:ro"]
    command += ["--workdir", "/itdash", "--env", "PYTHONPATH=/itdash:/packages"]
    command += [IMAGE, "python3", "-B", "-m", "tests.environments.inside_container", instance, network]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['hello from inside'] True", "[]"]
    assert engine.environments(instance) == []


def test_on_the_engines_host_the_mounts_of_other_containers_are_not_taken_for_our_own(tmp_path: Path) -> None:
    other, own = "a" * 64, "b" * 64
    on_the_host = (
        f"91 29 0:52 / /var/lib/docker/containers/{other}/mounts/shm rw - tmpfs shm rw\n"
        # While files are copied into a container, the engine mounts its root on the host.
        f"95 30 254:0 /var/lib/docker/containers/{other}/hosts /var/lib/docker/overlay2/c/etc/hosts rw\n"
    )
    in_a_container = (
        f"668 657 254:0 /var/lib/docker/containers/{own}/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
    )

    assert OWN_FILE.findall(on_the_host) == []
    assert OWN_FILE.findall(on_the_host + in_a_container) == [own]
