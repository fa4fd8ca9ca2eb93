"""The nine intents of the Compose specification's conformance tests, on a real engine.

Each is a Compose file that is brought up, asked from outside through its published port, and taken down. The
files fix host ports, as files do: itdash gives each a port of its own, on the loopback of the engine's host.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from environments import policy
from environments.docker_engine import DockerEngine
from environments.engine import ServiceStatus
from environments.plan import StartPlan
from environments.probes import steadily, wait_until
from environments.spec import load_environment, with_replicas
from tests.contract.conformance import CLIENT, SERVER
from tests.contract.conftest import Place, ref_for

pytestmark = pytest.mark.engine

HEADER = """
version: '3.7'
x-itdash: {publish: true}
x-server: &server
  image: itdash-lab/python:3.13
  command: [python3, -u, -c, "${SERVER}"]
"""
NETWORK = """
services:
  entry: {<<: *server, ports: ['8080:8080'], networks: [one]}
  target: {<<: *server, networks: [one]}
networks: {one: }
"""
APART = """
services:
  entry: {<<: *server, ports: ['8080:8080'], networks: [one]}
  target: {<<: *server, networks: [two]}
networks: {one: , two: }
"""
FILE = """
services:
  entry:
    <<: *server
    ports: ['8080:8080']
    volumes: ['./test_volume.txt:/volumes/test_volume.txt']
"""
DELIVERED = """
services:
  entry:
    <<: *server
    ports: ['8080:8080']
    {kind}: [{{source: it, target: /volumes/it.txt}}]
{kind}: {{it: {{file: ./it.txt}}}}
"""


class Composed:
    """One Compose file that is up."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder

    def up(self, text: str) -> None:
        (self.folder / "compose.yaml").write_text(HEADER + text)
        spec = load_environment(
            [Path("compose.yaml")], directory=self.folder, variables={"SERVER": SERVER, "CLIENT": CLIENT}
        )
        policy.check(spec)
        spec = with_replicas(spec)
        self.place.create(spec)
        for name in StartPlan(spec).start_order():
            self.place.start(spec.services[name])
        for name in spec.services:
            if not name.startswith("client"):
                self.place.until_said(name, "up")

    def address(self, service: str, port: str) -> tuple[str, int]:
        host, _, number = self.place.state(service).published[port].rpartition(":")
        return host, int(number)

    def get(self, path: str, *, service: str = "entry") -> str:
        host, port = self.address(service, "8080/tcp")
        with urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
            response: str = json.load(answer)["response"]
        return response


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Composed]:
    engine = DockerEngine()
    place = Place(engine, ref_for(f"conformance-{secrets.token_hex(4)}"))
    yield Composed(place, tmp_path)
    assert engine.remove_environment(place.ref) == []
    assert engine.environments(place.ref.instance) == []
    engine.close()


def test_lifecycle_what_is_up_runs_and_what_is_down_is_gone(composed: Composed) -> None:
    composed.up("services:\n  entry: *server\n")
    assert composed.place.state("entry").status is ServiceStatus.RUNNING

    assert composed.place.engine.remove_environment(composed.place.ref) == []

    assert composed.place.state("entry").status is ServiceStatus.GONE


def test_network_services_on_one_network_reach_each_other_by_name(composed: Composed) -> None:
    composed.up(NETWORK)

    assert composed.get("/ping?address=target:8080/ping") == "PONG FROM TARGET"


def test_network_a_name_that_nobody_has_reaches_nobody(composed: Composed) -> None:
    composed.up(NETWORK)

    said = composed.get("/ping?address=notatarget:8080/ping")

    assert said == "Could not reach address: notatarget:8080/ping"


def test_networks_services_on_different_networks_do_not_reach_each_other(composed: Composed) -> None:
    composed.up(APART)

    assert composed.get("/ping?address=target:8080/ping") == "Could not reach address: target:8080/ping"


def test_volume_a_bound_file_is_in_the_service(composed: Composed) -> None:
    (composed.folder / "test_volume.txt").write_text("MYVOLUME")
    composed.up(FILE)

    assert composed.get("/file?name=test_volume.txt") == "MYVOLUME"


@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_secret_and_config_a_file_is_delivered_where_the_service_wants_it(
    composed: Composed, kind: str
) -> None:
    (composed.folder / "it.txt").write_text(f"MY {kind}")
    composed.up(DELIVERED.format(kind=kind))

    assert composed.get("/file?name=it.txt") == f"MY {kind}"


def test_udp_a_datagram_reaches_the_service_from_outside(composed: Composed) -> None:
    composed.up("services:\n  entry: {<<: *server, ports: ['8080:8080', '10001:10001/udp']}\n")
    address = composed.address("entry", "10001/udp")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps({"request": "myUdpvalue"}).encode(), address)

    wait_until(lambda: composed.get("/udp") == "myUdpvalue", deadline_seconds=10, pauses=steadily(0.05))


def test_scaling_three_containers_run_and_answer_to_one_name(composed: Composed) -> None:
    composed.up("""
services:
  server: {<<: *server, ports: ['8080:8080']}
  client:
    image: itdash-lab/python:3.13
    command: [python3, -u, -c, "${CLIENT}"]
    deploy: {replicas: 3}
""")

    wait_until(
        lambda: composed.get("/registered", service="server") == "3",
        deadline_seconds=20,
        pauses=steadily(0.05),
    )
    states = [composed.place.state(f"client-{number}").status for number in (1, 2, 3)]
    assert states == [ServiceStatus.RUNNING] * 3
    assert composed.get(f"/addresses?name={quote('client')}", service="server") == "3"


def test_published_ports_are_the_loopbacks_alone_and_no_two_files_collide(
    composed: Composed, tmp_path: Path
) -> None:
    other = Composed(Place(composed.place.engine, ref_for(composed.place.ref.instance, shard=2)), tmp_path)
    try:
        composed.up(NETWORK)
        other.up(NETWORK)

        first, second = composed.address("entry", "8080/tcp"), other.address("entry", "8080/tcp")
        assert (first[0], second[0]) == ("127.0.0.1", "127.0.0.1")
        assert first[1] != second[1]
        assert other.place.state("target").published == {}
    finally:
        assert other.place.engine.remove_environment(other.place.ref) == []
