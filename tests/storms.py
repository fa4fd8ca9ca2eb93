"""An environment to which things happened: a service ran out of memory, another was paused on purpose."""

from __future__ import annotations

from datetime import datetime, timedelta

from environments.models import Environment, EnvironmentService, EnvironmentState
from runs.models import Event, Run
from tests.rows import add_environment

SERVICES = {
    "postgres": (0.4, 0.9, 3.4),
    "order-service": (0.5, 3.6, 7.1),
    "payment-service": (0.5, 3.7, 6.2),
    "tests": (0.6, 7.5, None),
}


def add_storm(
    run: Run, *, is_gone: bool = True, names: tuple[str, str] = ("order-service", "payment-service")
) -> Environment:
    """The first of `names` ran out of memory from 20 to 26.5 s, the other was paused from 30 to 41 s."""
    orders, payments = names
    services = {
        {"order-service": orders, "payment-service": payments}.get(name, name): times
        for name, times in SERVICES.items()
    }
    environment = add_environment(run, services, ready_after=7.4)
    start = environment.created_at
    environment.services.filter(name="tests").update(is_tests=True, image="itdash-lab/python:3.13")
    environment.services.exclude(name="tests").update(
        health="healthy", image_digest="shop@sha256:" + "4f" * 32
    )
    environment.services.filter(name=orders).update(
        restart_count=1, out_of_memory=True, ready_at=start + timedelta(seconds=26.5)
    )
    events = [
        (0.5, orders, "service_created", {}),
        (3.6, orders, "service_started", {}),
        (7.1, orders, "service_healthy", {}),
        (20.0, orders, "service_out_of_memory", {}),
        (20.1, orders, "service_exited", {"exit_code": 137}),
        (21.0, orders, "service_started", {}),
        (26.5, orders, "service_healthy", {}),
        (29.9, payments, "control", {"action": "pause"}),
        (30.0, payments, "service_paused", {}),
        (41.0, payments, "service_unpaused", {}),
        (18.0, "", "mark", {"test": "tests/test_shop.py::test_refund", "phase": "start"}),
        (22.0, "", "mark", {"test": "tests/test_shop.py::test_refund", "phase": "end"}),
        (28.0, "", "mark", {"test": "tests/test_shop.py::test_pay_later", "phase": "start"}),
        (31.0, "", "mark", {"test": "tests/test_shop.py::test_pay_later", "phase": "end"}),
        (31.5, "", "mark", {"test": "tests/test_shop.py::test_create", "phase": "start"}),
        (33.0, "", "mark", {"test": "tests/test_shop.py::test_create", "phase": "end"}),
    ]
    Event.objects.bulk_create(
        Event(run=run, shard=1, at=start + timedelta(seconds=at), service=service, kind=kind, data=data)
        for at, service, kind, data in events
    )
    if is_gone:
        end_environment(environment, start + timedelta(seconds=52))
    return environment


def end_environment(environment: Environment, at: datetime) -> None:
    """It is removed then; what its tests did ended a second before."""
    EnvironmentService.objects.filter(environment=environment, is_tests=True).update(
        status="exited", exit_code=1, finished_at=at - timedelta(seconds=1)
    )
    environment.state, environment.removed_at = EnvironmentState.REMOVED, at
    environment.save()
