"""Ports that are published: one start at a time, tried again, and told where they are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from docker.errors import APIError

from environments.docker_engine import DockerEngine
from environments.docker_engine.publishing import MOST_TRIES, Publishing, addresses
from environments.models import EnvironmentService
from environments.spec import Port
from tests.contract.conftest import ref_for
from tests.contract.services import FOREVER, service, spec_of
from tests.environments.lab import Lab

TAKEN = "driver failed programming external connectivity: Bind for 127.0.0.1:32768: port is already allocated"


@dataclass
class Starts:
    """An engine's start call that refuses so many times, and notes how many ran at once."""

    refusals: int = 0
    said: str = TAKEN
    calls: int = 0
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, container: str) -> None:
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self.calls <= self.refusals:
                raise APIError("500", explanation=self.said)
        finally:
            with self._lock:
                self._now -= 1


def publishing_of(*names: str) -> Publishing:
    publishing = Publishing()
    for name in names:
        publishing.note(REF, service(name, published=(Port(80),)))
    return publishing


REF = ref_for("publishing")
WEB = f"{REF.name}-web"


def test_a_port_that_was_taken_meanwhile_is_asked_for_again() -> None:
    starts = Starts(refusals=3)

    publishing_of("web").start(WEB, starts)

    assert starts.calls == 4


def test_what_the_engine_says_is_raised_once_no_try_succeeds() -> None:
    starts = Starts(refusals=100)

    with pytest.raises(APIError, match="500"):
        publishing_of("web").start(WEB, starts)

    assert starts.calls == MOST_TRIES


@pytest.mark.parametrize("name", ["web", "other"])
def test_any_other_refusal_is_raised_at_once(name: str) -> None:
    starts = Starts(refusals=1, said="no such image" if name == "web" else TAKEN)

    with pytest.raises(APIError):
        publishing_of("web").start(f"{REF.name}-{name}", starts)

    assert starts.calls == 1


def test_containers_that_publish_start_one_after_the_other() -> None:
    names = [f"web{number}" for number in range(8)]
    publishing, starts = publishing_of(*names), Starts()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: publishing.start(f"{REF.name}-{name}", starts), names))

    assert (starts.calls, starts.most_at_once) == (8, 1)


def test_ports_that_are_not_bound_are_not_told() -> None:
    bound = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}], "53/udp": None, "81/tcp": []}

    assert addresses({"NetworkSettings": {"Ports": bound}}) == {"80/tcp": "127.0.0.1:32768"}


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_where_a_port_is_reached_is_kept_with_the_environment() -> None:
    engine = DockerEngine()
    lab = Lab(engine)
    spec = spec_of(service("web", FOREVER, published=(Port(80),)), service("tests", FOREVER))
    with lab.provisioned(spec) as environment:
        rows = EnvironmentService.objects.filter(environment=environment.record)
        told = {row.name: row.published for row in rows}
        known = engine.inspect_service(environment.ref, "web").published

        assert told == {"web": dict(known), "tests": {}}
        assert known["80/tcp"].startswith("127.0.0.1:")
    engine.close()
