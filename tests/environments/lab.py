"""Provisions real environments for the tests of the lifecycle and keeps what it was told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from environments.engine import Engine, LogLine
from environments.lifecycle import EnvironmentRequest, Happening, HappeningKind, LiveEnvironment, provisioned
from environments.probes import SYSTEM_CLOCK, Clock
from environments.spec import EnvironmentSpec


@dataclass
class Lab:
    """An engine, and everything that an environment on it tells and logs."""

    engine: Engine
    happenings: list[Happening] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def provisioned(
        self,
        spec: EnvironmentSpec,
        *,
        owner: str = "run:1",
        tests: str = "tests",
        hear: Callable[[Happening], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **facts: Any,
    ) -> Iterator[LiveEnvironment]:
        request = EnvironmentRequest(
            owner=owner,
            shard=1,
            spec=spec,
            tests=tests,
            expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
            **facts,
        )
        with provisioned(
            request,
            engine=self.engine,
            tell=hear or self.happenings.append,
            log=self.lines.append,
            stop=self.stop,
            clock=clock,
        ) as environment:
            yield environment

    def kinds(self, service: str | None = None) -> list[HappeningKind]:
        return [one.kind for one in self.happenings if service is None or one.service == service]

    def texts(self, service: str) -> list[str]:
        return [line.text for line in self.lines if line.service == service]
