"""An environment to which things happened: a service ran out of memory, another was paused on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from environments.models import Environment, EnvironmentService, EnvironmentState, ServiceUsage
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
    # Orders grow by 12 MiB a second into their limit at 20 s, and start anew; payments stay where they are.
    growing = [16 + 12 * second for second in range(20)]
    add_usage(environment, orders, growing, since=4, limit_mib=256)
    add_usage(environment, orders, [16] * 12, since=30, limit_mib=256)
    add_usage(environment, payments, [64] * 40, since=4)
    if is_gone:
        end_environment(environment, start + timedelta(seconds=52))
    return environment


def add_usage(
    environment: Environment,
    name: str,
    memory_mib: Sequence[int],
    *,
    since: float,
    limit_mib: int | None = None,
    cpu_millis: int = 250,
    throttled_ms: int = 100,
) -> ServiceUsage:
    """A sample each second from `since` on, every one but the first with rates."""
    rest = len(memory_mib) - 1
    return ServiceUsage.objects.create(
        service=environment.services.get(name=name),
        began_at=environment.created_at + timedelta(seconds=since),
        offsets_ms=[1000 * second for second in range(len(memory_mib))],
        memory_kib=[size * 1024 for size in memory_mib],
        cpu_millis=[None, *[cpu_millis] * rest],
        throttled_ms=[None, *[throttled_ms] * rest],
        memory_limit_bytes=None if limit_mib is None else limit_mib * 1024**2,
    )


def end_environment(environment: Environment, at: datetime) -> None:
    """It is removed then; what its tests did ended a second before."""
    EnvironmentService.objects.filter(environment=environment, is_tests=True).update(
        status="exited", exit_code=1, finished_at=at - timedelta(seconds=1)
    )
    environment.state, environment.removed_at = EnvironmentState.REMOVED, at
    environment.save()
