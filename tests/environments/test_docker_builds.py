"""Builds on the real engine: by its classic builder within limits, by its BuildKit where a file needs it."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from docker.api.client import APIClient

from environments.docker_engine import DockerEngine, contexts
from environments.docker_engine.builders import Builders, BuildLimits, NeedsBuildKitError
from environments.docker_engine.images import REPOSITORY
from environments.errors import EnvironmentFailedError, FailureKind
from environments.spec import Build, ServiceSpec
from tests.contract.conftest import ref_for
from tests.contract.services import IMAGE, service
from tests.environments.checkout import Checkout

REF = ref_for(f"builds-{secrets.token_hex(4)}")


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


@pytest.fixture
def prepare(engine: DockerEngine) -> Iterator[Any]:
    """Builds a service as one of a new environment; what was built is gone after the test."""
    built: set[str] = set()

    def prepared(build: Build | ServiceSpec, shard: int = 1) -> str:
        one = build if isinstance(build, ServiceSpec) else service("web", image=None, build=build)
        image = engine.prepare_image(replace(ref_for(REF.instance, shard), instance=REF.instance), one)
        built.add(image)
        return image

    yield prepared
    for image in built:
        engine._api.remove_image(image, force=True)


class CountedBuilders(Builders):
    """The engine's builders, noting what they were asked for."""

    def __init__(self, api: APIClient, builds: list[str]) -> None:
        super().__init__(api, has_buildkit=True)
        self._builds = builds

    def build(self, build: Build, *, tag: str, labels: Mapping[str, str], packed: IO[bytes]) -> Iterator[str]:
        self._builds.append(tag)
        yield from super().build(build, tag=tag, labels=labels, packed=packed)


def output_of(engine: DockerEngine, image: str, *command: str) -> str:
    """What a command prints in a container of the image."""
    created = engine._api.create_container(
        image,
        list(command),
        labels={"itdash.instance": REF.instance},
        host_config=engine._api.create_host_config(network_mode="none"),
    )
    try:
        engine._api.start(created["Id"])
        engine._api.wait(created["Id"])
        return str(engine._api.logs(created["Id"]).decode().strip())
    finally:
        engine._api.remove_container(created["Id"], force=True)


def dockerfile(folder: Path, text: str) -> Build:
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nLABEL of={secrets.token_hex(6)}\n{text}")
    return Build(context=folder, network="none")


@pytest.mark.engine
def test_what_needs_buildkit_is_built_by_it_without_any_command_beside_itdash(
    engine: DockerEngine, prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    build = dockerfile(tmp_path, "RUN --mount=type=tmpfs,target=/t echo made > /t/x && cp /t/x /made\n")

    image = prepare(build)

    assert output_of(engine, image, "/bin/cat", "/made") == "made"
    assert output_of(engine, image, "/bin/ls", "/t") == ""


@pytest.mark.engine
def test_a_buildkit_build_that_fails_shows_the_step_and_its_last_lines(prepare: Any, tmp_path: Path) -> None:
    build = dockerfile(tmp_path, "RUN --mount=type=tmpfs,target=/t echo looking && exit 9\n")

    with pytest.raises(EnvironmentFailedError) as caught:
        prepare(build)

    assert caught.value.kind is FailureKind.BUILD_FAILED
    assert "exit code: 9" in str(caught.value)
    assert "looking" in caught.value.evidence[0].log_tail
    assert any("RUN --mount=type=tmpfs" in line for line in caught.value.evidence[0].log_tail)


@pytest.mark.engine
def test_what_an_old_engines_own_syntax_does_not_know_is_named_with_line_and_mend(
    engine: DockerEngine, prepare: Any, tmp_path: Path
) -> None:
    build = dockerfile(tmp_path, "RUN <<EOF\necho hi > /made\nEOF\n")
    if int(engine.capabilities().version.partition(".")[0]) >= 23:
        assert output_of(engine, prepare(build), "/bin/cat", "/made") == "hi"
        return

    with pytest.raises(EnvironmentFailedError, match=r"At line 3: a here-document \(<<EOF\)") as caught:
        prepare(build)

    assert "# syntax=docker/dockerfile:1" in str(caught.value)


@pytest.mark.engine
def test_a_syntax_that_the_rest_does_without_is_not_fetched(prepare: Any, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"# syntax=registry.invalid/no/such:1\nFROM {IMAGE}\nLABEL of={secrets.token_hex(6)}\n"
    )

    assert prepare(Build(context=tmp_path)).startswith(REPOSITORY)


@pytest.mark.engine
def test_a_syntax_that_cannot_be_fetched_is_named_with_the_mend(prepare: Any, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"# syntax=registry.invalid/no/such:1\nFROM {IMAGE}\nRUN --mount=type=tmpfs,target=/t true\n"
    )

    with pytest.raises(
        EnvironmentFailedError, match=r"has the engine fetch registry\.invalid/no/such:1 to read"
    ):
        prepare(Build(context=tmp_path))


def test_without_buildkit_the_line_that_needs_it_is_named(tmp_path: Path) -> None:
    builders = Builders(None, has_buildkit=False)  # type: ignore[arg-type] # it is not asked anything
    build = dockerfile(tmp_path, "RUN true\nCOPY --link x /x\n")

    with pytest.raises(NeedsBuildKitError, match=r"Dockerfile, line 4: COPY --link needs BuildKit, which"):
        builders.uses_buildkit(build)


@pytest.mark.engine
def test_a_build_has_all_that_the_file_says(engine: DockerEngine, prepare: Any, checkout: Checkout) -> None:
    checkout.write("app/ignored.txt", "x")
    checkout.write("app/note.txt", "a note")
    checkout.write("app/.dockerignore", "ignored.txt\n")
    one = checkout.service("""
build:
  context: app
  dockerfile_inline: |
    FROM itdash-lab/python:3.13 AS base
    ARG WHO
    COPY . /app
    RUN cat /etc/hosts > /hosts && df /dev/shm > /shm && ulimit -v > /limit
    ENV WHO=$$WHO
    FROM base AS wanted
    FROM base AS other
    RUN false
  args: {WHO: me}
  target: wanted
  labels: {team: shop, itdash.instance: forged}
  extra_hosts: ['legacy:192.0.2.7']
  network: none
  shm_size: 16m
  cache_from: ['itdash-lab/python:3.13']
""")
    image = prepare(replace(one, image=None))
    config = engine._api.inspect_image(image)["Config"]  # type: ignore[no-untyped-call] # stubs lack it

    assert "WHO=me" in config["Env"]
    assert config["Labels"]["team"] == "shop"
    assert config["Labels"]["itdash.instance"] == REF.instance
    assert output_of(engine, image, "/bin/ls", "/app") == "note.txt"
    assert "192.0.2.7" in output_of(engine, image, "/bin/cat", "/hosts")
    assert " 16384 " in output_of(engine, image, "/bin/cat", "/shm")


def test_names_that_a_file_gives_its_image_do_not_change_what_others_run(checkout: Checkout) -> None:
    spec = checkout.load("services:\n  web:\n    build: {context: ., tags: ['itdash-lab/python:3.13']}\n")

    assert [notice for notice in spec.notices if "build.tags is ignored" in notice]


@pytest.mark.engine
def test_the_same_content_asked_for_at_once_is_built_once(tmp_path: Path) -> None:
    # Four engines, as four worker processes have them: they know nothing of each other.
    engines = [DockerEngine() for _ in range(4)]
    build = dockerfile(tmp_path, "RUN python3 -c 'import uuid; print(uuid.uuid4())' > /made\n")
    builds: list[str] = []
    for engine in engines:
        engine._images._builders = CountedBuilders(engine._api, builds)

    with ThreadPoolExecutor(4) as pool:
        asked = service("web", image=None, build=build)
        names = list(pool.map(lambda engine: engine.prepare_image(ref_for("same"), asked), engines))

    assert builds == [names[0]]
    assert len(set(names)) == 1
    engines[0]._api.remove_image(names[0], force=True)
    for engine in engines:
        engine.close()


@pytest.mark.engine
@pytest.mark.parametrize("step", ["RUN sleep 60", "RUN --mount=type=tmpfs,target=/t sleep 60"])
def test_a_build_that_takes_too_long_is_ended(engine: DockerEngine, tmp_path: Path, step: str) -> None:
    engine._images._builders = Builders(engine._api, has_buildkit=True, limits=BuildLimits(seconds=2.0))
    build = dockerfile(tmp_path, f"{step}\n")

    with pytest.raises(EnvironmentFailedError, match="longer than the 2 s that a build may take"):
        engine.prepare_image(ref_for("slow"), service("web", image=None, build=build))


@pytest.mark.engine
def test_a_build_that_takes_too_much_memory_is_ended(engine: DockerEngine, tmp_path: Path) -> None:
    limits = BuildLimits(memory_bytes=64 * 1024 * 1024)
    engine._images._builders = Builders(engine._api, has_buildkit=True, limits=limits)
    build = dockerfile(tmp_path, "RUN python3 -c 'bytearray(300_000_000)'\n")

    with pytest.raises(EnvironmentFailedError, match="returned a non-zero code: 137"):
        engine.prepare_image(ref_for("greedy"), service("web", image=None, build=build))


def test_a_dockerfiles_own_ignore_file_comes_before_the_contexts(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "Dockerfile"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("a.txt\n")
    first = contexts.pack(Build(context=tmp_path), io.BytesIO())
    (tmp_path / "Dockerfile.dockerignore").write_text("b.txt\n*.dockerignore\n")

    packed = io.BytesIO()
    assert contexts.pack(Build(context=tmp_path), packed) != first
    assert b"a.txt" in packed.getvalue()
    assert b"b.txt\0" not in packed.getvalue()
