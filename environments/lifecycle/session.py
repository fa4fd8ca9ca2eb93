"""What the parts of one environment's life share, from the row to the removal."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from environments.engine import Engine, LogLine
from environments.errors import EnvironmentFailedError, FailureKind, ServiceNotFoundError, StoppedError
from environments.labels import EnvironmentRef
from environments.lifecycle.board import Board
from environments.lifecycle.metering import Meter
from environments.lifecycle.requests import EVERY_SERVICE, EnvironmentRequest, Happening, HappeningKind
from environments.models import Environment
from environments.plan import StartPlan, start_seconds
from environments.presets import filled, preset_for
from environments.probes import Clock, Prober
from environments.spec import (
    EMPTY,
    Condition,
    Dependency,
    EnvironmentSpec,
    HealthCheck,
    ServiceSpec,
    with_replicas,
)

logger = logging.getLogger(__name__)

#: Every service finds these, unless its file says otherwise.
GIVEN_VARIABLES = {"CI": "true", "ITDASH": "true"}


@dataclass(slots=True)
class Session:
    """One environment while somebody holds it."""

    record: Environment
    request: EnvironmentRequest
    engine: Engine
    spec: EnvironmentSpec
    plan: StartPlan
    board: Board
    clock: Clock
    prober: Prober
    #: Set by the caller: nobody wants this environment any more.
    stop: threading.Event
    tell_owner: Callable[[Happening], None]
    log_owner: Callable[[LogLine], None]
    #: What the control API asks for; of this environment only.
    control_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    #: Set by us when the lease is gone: somebody else may be removing the environment.
    lost: threading.Event = field(default_factory=threading.Event)
    #: Set when the environment is being left: what runs in the background ends.
    leaving: threading.Event = field(default_factory=threading.Event)
    #: It failed and is held for a person: it is left as it stands, and its lease is not ours to renew.
    is_kept: bool = False
    meter: Meter = field(default_factory=Meter)
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _logging: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ref(self) -> EnvironmentRef:
        """What the engine knows it by."""
        return self.record.ref

    @property
    def tests(self) -> str:
        """The tests' service."""
        return self.request.tests

    def tell(
        self,
        kind: HappeningKind,
        message: str,
        *,
        service: str = "",
        at: datetime | None = None,
        **data: Any,  # noqa: ANN401 - what an event carries is the event's business
    ) -> None:
        """Tell the owner; one at a time, and what the owner raises is the owner's."""
        happening = Happening(at or self.clock.now(), kind, service, message, data)
        with self._telling:
            try:
                self.tell_owner(happening)
            except Exception:
                logger.exception("The owner of %s could not take %s", self.record.name, kind)

    def log(self, line: LogLine) -> None:
        """Hand a line of a service's output to the owner; one at a time."""
        with self._logging:
            try:
                self.log_owner(line)
            except Exception:
                logger.exception("The owner of %s could not take a log line", self.record.name)

    def check_held(self) -> None:
        """Raise when going on makes no sense: the caller asked to stop, or the environment is not ours."""
        if self.stop.is_set():
            message = f"Environment {self.record.name} was asked to stop."
            raise StoppedError(message)
        if self.lost.is_set():
            message = (
                f"The lease on environment {self.record.name} was lost: this process was silent too long, "
                "or a newer try took over."
            )
            raise EnvironmentFailedError(message, kind=FailureKind.INTERNAL)

    def service(self, name: str) -> ServiceSpec:
        """Return the service's spec; raises `ServiceNotFoundError`."""
        if name not in self.spec.services:
            message = f"There is no service '{name}' in this environment."
            raise ServiceNotFoundError(message)
        return self.spec.services[name]

    def final(self, service: ServiceSpec, extra: Mapping[str, str] = EMPTY) -> ServiceSpec:
        """Return the service with all its environment variables, the most particular winning."""
        asked = self.request.variables
        return replace(
            service,
            environment={
                **GIVEN_VARIABLES,
                **service.environment,
                **asked.get(EVERY_SERVICE, EMPTY),
                **asked.get(service.name, EMPTY),
                **extra,
            },
        )

    def start_timeout_seconds(self) -> float:
        """How long all services together may take."""
        return start_seconds(self.spec, otherwise=self.request.start_timeout_seconds)

    def healthcheck(self, name: str) -> HealthCheck | None:
        """The check by which a created service counts as healthy: its own, its image's, its preset's."""
        service = self.service(name)
        if service.healthcheck_disabled:
            return None
        if (check := self.engine.healthcheck(self.ref, name)) is not None:
            return check
        preset = preset_for(service)
        return preset.healthcheck if preset is not None else None


def complete(spec: EnvironmentSpec, tests: str) -> EnvironmentSpec:
    """Fill in what the file left open: presets, a service for each container of one, and that tests never
    restart and by default come last."""
    if tests not in spec.services:
        message = f"There is no service '{tests}' to run the tests in. Known: {', '.join(spec.services)}."
        raise ServiceNotFoundError(message)
    service = spec.services[tests]
    depends_on = service.depends_on or tuple(
        Dependency(name, _expected(other)) for name, other in spec.services.items() if name != tests
    )
    # One container runs the tests: a suite that is to be faster has shards.
    final = replace(service, depends_on=depends_on, restart="no", scale=1)
    return with_replicas(filled(replace(spec, services={**spec.services, tests: final})))


def _expected(service: ServiceSpec) -> Condition:
    """What tests that name no dependency would want of a service."""
    if service.ready is not None:
        return Condition.HEALTHY
    has_check = service.healthcheck is not None or preset_for(service) is not None
    return Condition.HEALTHY if has_check and not service.healthcheck_disabled else Condition.STARTED
