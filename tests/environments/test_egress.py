"""`x-itdash.egress: none`: services reach each other and the control API, and nothing outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings

from environments.docker_engine import DockerEngine
from environments.errors import SpecError
from environments.presets import filled
from tests.environments.checkout import Checkout
from tests.environments.lab import Lab

#: Says who answers: the control API, a neighbour, and an address beyond the engine's host.
LOOK = """
import os, socket, urllib.request
token = {"Authorization": "Bearer " + os.environ["ITDASH_CONTROL_TOKEN"]}
request = urllib.request.Request(os.environ["ITDASH_CONTROL_URL"] + "/services", headers=token)
print("control", urllib.request.urlopen(request, timeout=10).status)
socket.create_connection(("web", 8000), timeout=5).close()
print("peer answers")
try:
    socket.create_connection(("198.51.100.1", 80), timeout=0.5).close()
    print("outside answers")
except OSError as error:
    print("outside", error)
"""
FILE = """
x-itdash: {egress: none}
services:
  web:
    image: itdash-lab/python:3.13
    command: [python3, -m, http.server, "8000"]
    healthcheck: {test: [CMD, python3, -c, "import socket; socket.create_connection(('127.0.0.1', 8000))"]}
  tests:
    image: itdash-lab/python:3.13
    command: [python3, -u, look.py]
    working_dir: /app
    volumes: [".:/app"]
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    engine = DockerEngine()
    yield Lab(engine)
    left = [ref for ref in engine.environments(settings.INSTANCE) if ref.owner.startswith("run:")]
    engine.close()
    assert left == []


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_without_egress_neighbours_and_the_control_api_are_reached_and_nothing_outside(
    lab: Lab, checkout: Checkout
) -> None:
    """Older engines keep a route and let nothing through, newer ones have none."""
    checkout.write("look.py", LOOK)

    with lab.provisioned(filled(checkout.load(FILE))) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=30)

    control, peer, outside = lab.texts("tests")
    assert (control, peer) == ("control 200", "peer answers")
    assert outside in {"outside timed out", "outside [Errno 101] Network is unreachable"}


def test_every_network_is_internal_and_the_run_says_so(checkout: Checkout) -> None:
    text = "x-itdash: {egress: none}\nservices:\n  web: {image: w, networks: [front, back]}\n"

    spec = checkout.load(f"{text}networks: {{front: , back: }}\n")

    assert not spec.reaches_out
    assert [network.internal for network in spec.networks.values()] == [True, True]
    assert spec.notices == (
        "x-itdash.egress is none: services reach each other and the control API, nothing outside.",
    )


def test_egress_is_allowed_unless_a_file_says_otherwise(checkout: Checkout) -> None:
    for head in ("", "x-itdash: {}\n", "x-itdash: {egress: allowed}\n"):
        spec = checkout.load(f"{head}services:\n  web: {{image: w}}\n")
        assert spec.reaches_out
        assert not spec.networks["default"].internal


def test_another_word_is_told_with_its_line(checkout: Checkout) -> None:
    with pytest.raises(SpecError) as caught:
        checkout.load("services:\n  web: {image: w}\nx-itdash:\n  egress: nome\n")

    assert str(caught.value) == (
        "compose.yaml:4: x-itdash.egress must be `allowed` or `none`, not 'nome'. Did you mean 'none'?"
    )
