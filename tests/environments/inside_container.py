"""Run in a container that has the engine's socket, as the production worker is: be reached by a service.

`python3 -m tests.environments.inside_container INSTANCE open|internal` prints what the service said and what
was left.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import replace

from environments.docker_engine import DockerEngine
from environments.spec import NetworkSpec
from tests.contract.conftest import PATIENCE_SECONDS, Place, ref_for
from tests.contract.services import service, spec_of

ASK = """
import os, socket
host, _, port = os.environ["TARGET"].partition(":")
with socket.create_connection((host, int(port)), timeout=5) as connection:
    print(connection.recv(100).decode())
"""


def main(instance: str, kind: str) -> None:
    """Serve one connection at the address that the engine names, on a network of that kind."""
    place = Place(DockerEngine(), ref_for(instance))
    networks = {"default": NetworkSpec("default", internal=kind == "internal")}
    place.create(replace(spec_of(service("client")), networks=networks))
    address = place.engine.host_address(place.ref, ["default"])
    with socket.create_server((address, 0)) as server:
        server.settimeout(PATIENCE_SECONDS)
        target = f"{address}:{server.getsockname()[1]}"
        place.start(service("client", ASK, environment={"TARGET": target}))
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello from inside")
    place.until_ended("client")
    print(place.texts("client"), address.startswith("10.213."))  # noqa: T201 - what the test reads
    print(place.engine.remove_environment(place.ref))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
