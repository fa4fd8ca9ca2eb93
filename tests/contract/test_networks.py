"""What every engine promises of names, of who sees whom, and of removal."""

from __future__ import annotations

import threading

from environments.engine import ServiceStatus
from environments.probes import steadily, wait_until
from environments.spec import Mount, MountKind
from tests.contract.conftest import PATIENCE_SECONDS, Place
from tests.contract.services import service, spec_of

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
