"""Small services that run the same on every engine: Python programs in the lab's image or on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from environments.spec import (
    Condition,
    Dependency,
    EnvironmentSpec,
    HealthCheck,
    NetworkSpec,
    ServiceSpec,
    VolumeSpec,
)

IMAGE = "itdash-lab/python:3.13"

#: Sleeps for ever but ends at once when asked.
# It waits for the signal itself: a handler's word would be missed between the print and a pause.
FOREVER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("up", flush=True)
signal.sigwait({signal.SIGTERM})
"""
#: Becomes ready `READY_AFTER` seconds after its start: from then on the file READY_FILE exists.
SLOW = """
import os, signal, sys, time
file = os.environ["READY_FILE"]
def end(*_):
    # The next life must not look ready before it is.
    if os.path.exists(file):
        os.remove(file)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("starting", flush=True)
time.sleep(float(os.environ.get("READY_AFTER", "0.5")))
print("ready", flush=True)
open(file, "w").close()
while True:
    signal.pause()
"""


def python(program: str) -> tuple[str, ...]:
    """The command that runs a program."""
    return ("python3", "-u", "-c", program)


def service(name: str, program: str = FOREVER, **facts: Any) -> ServiceSpec:
    """A service that runs a Python program."""
    defaults: dict[str, Any] = {
        "image": IMAGE,
        "command": python(program),
        "networks": {"default": ()},
        "stop_grace_period_seconds": 5.0,
    }
    return ServiceSpec(name, **(defaults | facts))


def slow_service(name: str, *, ready_after: float = 0.5, **facts: Any) -> ServiceSpec:
    """A service that is healthy some time after its start, with the engine's first own probe far away."""
    file = f"/tmp/itdash-ready-{name}-{id(facts)}"
    return service(
        name,
        SLOW,
        environment={"READY_FILE": file, "READY_AFTER": str(ready_after)},
        healthcheck=HealthCheck(test=("CMD", "test", "-e", file), interval_seconds=30.0, retries=3),
        **facts,
    )


def needs(*services: str, condition: Condition = Condition.HEALTHY) -> tuple[Dependency, ...]:
    """Arrows to services under one condition."""
    return tuple(Dependency(name, condition) for name in services)


def spec_of(
    *services: ServiceSpec,
    volumes: tuple[str, ...] = (),
    networks: Mapping[str, bool] | None = None,
    directory: Path = Path(),
) -> EnvironmentSpec:
    """An environment of the services; `networks` says which are internal."""
    named = {"default": False} if networks is None else networks
    return EnvironmentSpec(
        services={one.name: one for one in services},
        networks={name: NetworkSpec(name, internal=internal) for name, internal in named.items()},
        volumes={name: VolumeSpec(name) for name in volumes},
        directory=directory,
    )
