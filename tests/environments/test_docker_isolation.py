"""Two environments of one file on one engine: nothing collides, and nothing of either is left."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from environments.docker_engine import DockerEngine, payload
from environments.spec import load_environment, with_replicas
from tests.contract.conftest import Place, ref_for

pytestmark = pytest.mark.engine

FILE = """
services:
  db:
    build: {context: db}
    container_name: the-db
    ports: ['15432:5432']
    volumes: ['data:/data', '/anonymous', './init:/init', './one.txt:/one.txt:ro']
networks: {default: {name: shared-name}}
volumes: {data: {name: shared-data}}
"""
DOCKERFILE = """FROM itdash-lab/python:3.13
VOLUME /of-the-image
CMD ["python3", "-u", "-c", "open('/init/made', 'w').close(); print('up'); import signal; signal.pause()"]
"""


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


@pytest.fixture
def both(engine: DockerEngine, tmp_path: Path) -> Iterator[list[Place]]:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "init").mkdir()
    (tmp_path / "init" / "first.sql").write_text("select 1")
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "compose.yaml").write_text(FILE)
    spec = with_replicas(load_environment([Path("compose.yaml")], directory=tmp_path, variables={}))
    instance = f"isolation-{secrets.token_hex(4)}"
    places = [Place(engine, ref_for(instance, shard)) for shard in (1, 2)]
    try:
        for place in places:
            place.up(spec)
            place.until_said("db", "up")
        yield places
    finally:
        for place in places:
            assert engine.remove_environment(place.ref) == []


def facts_of(place: Place) -> dict[str, Any]:
    engine = place.engine
    assert isinstance(engine, DockerEngine)
    facts: dict[str, Any] = engine._api.inspect_container(payload.container_name(place.ref, "db"))
    return facts


def test_names_ports_networks_and_volumes_of_one_file_are_each_environments_own(both: list[Place]) -> None:
    first, second = map(facts_of, both)

    assert first["Name"] != second["Name"]
    assert "the-db" not in {first["Name"].lstrip("/"), second["Name"].lstrip("/")}
    for facts in (first, second):
        [end] = facts["NetworkSettings"]["Networks"].values()
        assert {"db", "the-db"} <= set(end["Aliases"])
        assert not facts["HostConfig"]["PortBindings"]
    networks = [set(facts["NetworkSettings"]["Networks"]) for facts in (first, second)]
    volumes = [{mount["Name"] for mount in facts["Mounts"]} for facts in (first, second)]
    assert networks[0] & networks[1] == set()
    assert volumes[0] & volumes[1] == set()
    assert "shared-data" not in volumes[0] | volumes[1]


def test_what_is_bound_is_a_copy_of_the_checkouts(both: list[Place]) -> None:
    first, second = map(facts_of, both)
    checkout = both[0].spec.directory

    assert {mount["Type"] for mount in first["Mounts"]} == {"volume"}
    assert not first["HostConfig"]["Binds"]
    assert not (checkout / "init" / "made").exists()
    seen = both[1].engine.execute(
        both[1].ref, "db", ("/bin/cat", "/init/first.sql", "/one.txt"), timeout_seconds=10
    )
    assert seen.output == "select 1one"
    assert second["State"]["Running"]


def test_every_volume_goes_with_its_environment_the_images_own_too(
    engine: DockerEngine, both: list[Place]
) -> None:
    facts = facts_of(both[0])
    mounted = {mount["Destination"]: mount["Name"] for mount in facts["Mounts"]}
    assert {"/data", "/anonymous", "/init", "/of-the-image"} <= set(mounted)

    assert engine.remove_environment(both[0].ref) == []

    left = {volume["Name"] for volume in engine._api.volumes()["Volumes"] or []}
    assert left & set(mounted.values()) == set()
    assert {mount["Name"] for mount in facts_of(both[1])["Mounts"]} <= left
