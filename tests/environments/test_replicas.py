"""A service with several containers becomes that many services with one name in common."""

from __future__ import annotations

import pytest

from environments.errors import SpecError
from environments.spec import Condition, Dependency, with_replicas
from tests.contract.services import needs, service, slow_service, spec_of
from tests.environments.checkout import Checkout
from tests.environments.lab import Lab

SCALED = """
services:
  web: {image: web, scale: 3, networks: {front: {aliases: [www]}, back: }}
  worker: {image: worker, deploy: {replicas: 2}, depends_on: {web: {condition: service_healthy}}}
  beside: {image: beside, network_mode: 'service:web', ipc: 'service:web', volumes_from: ['web:ro', worker]}
  off: {image: off, scale: 0}
  one: {image: one, depends_on: [off, beside]}
networks: {front: , back: }
"""


def test_each_container_is_a_service_of_its_own(checkout: Checkout) -> None:
    spec = with_replicas(checkout.load(SCALED))

    assert list(spec.services) == ["web-1", "web-2", "web-3", "worker-1", "worker-2", "beside", "one"]
    assert spec.services["web-2"].networks == {"front": ("web", "www"), "back": ("web",)}
    assert with_replicas(spec) == spec


def test_who_waits_for_a_service_waits_for_each_of_its_containers(checkout: Checkout) -> None:
    spec = with_replicas(checkout.load(SCALED))

    assert spec.services["worker-2"].depends_on == (
        Dependency("web-1", Condition.HEALTHY),
        Dependency("web-2", Condition.HEALTHY),
        Dependency("web-3", Condition.HEALTHY),
    )
    assert [entry.service for entry in spec.services["one"].depends_on] == ["beside"]


def test_what_is_shared_is_the_first_containers(checkout: Checkout) -> None:
    beside = with_replicas(checkout.load(SCALED)).services["beside"]

    assert beside.network_mode == "service:web-1"
    assert beside.privileges == {"ipc": "service:web-1", "volumes_from": ["web-1:ro", "worker-1"]}


def test_a_container_does_not_take_another_services_name(checkout: Checkout) -> None:
    spec = checkout.load("services:\n  web:\n    image: web\n    scale: 2\n  web-2: {image: other}\n")

    with pytest.raises(SpecError) as caught:
        with_replicas(spec)

    assert str(caught.value.problems[0]) == (
        "compose.yaml:4: service 'web' has 2 containers, and 'web-2' is a service already. "
        "Call one of them something else."
    )


def test_the_files_places_hold_for_every_container(checkout: Checkout) -> None:
    spec = with_replicas(checkout.load("services:\n  web:\n    image: web\n    scale: 2\n"))

    assert spec.places["services.web-2.image"] == ("compose.yaml", 3)


@pytest.mark.django_db(transaction=True)
def test_each_container_becomes_ready_by_itself_and_tests_wait_for_all(lab: Lab) -> None:
    spec = spec_of(
        slow_service("api", ready_after=0.3, scale=2),
        service("tests", "print('went')", depends_on=needs("api"), scale=2),
    )

    with lab.provisioned(spec) as environment:
        environment.start_tests()
        state = environment.wait_for_tests(deadline_seconds=20)

    # Written with the last beat, once the environment is left.
    rows = {row.name: row for row in environment.record.services.all()}
    assert state.exit_code == 0
    assert sorted(rows) == ["api-1", "api-2", "tests"]
    last = max(rows["api-1"].ready_at, rows["api-2"].ready_at)  # type: ignore[type-var]
    assert last <= rows["tests"].started_at  # type: ignore[operator]
    assert lab.texts("api-1") == lab.texts("api-2") == ["starting", "ready"]
    assert lab.texts("tests") == ["went"]
