"""What only the local engine must hold, with real processes; what every engine must is in tests/contract."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from environments.engine import ServiceStatus
from environments.errors import (
    EnvironmentFailedError,
    FailureKind,
    ServiceNotFoundError,
)
from environments.labels import EnvironmentRef
from environments.local_engine import LocalEngine
from environments.local_engine.folders import EnvironmentFolder
from environments.spec import (
    Build,
    EnvironmentSpec,
    Mount,
    MountKind,
    ServiceSpec,
)
from tests.environments.local import REF, Local, keeper_of, python


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
