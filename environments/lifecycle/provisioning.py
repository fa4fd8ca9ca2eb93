"""Bring an environment up, hand it over, take it down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from environments.engine import Engine, LogLine
from environments.lifecycle.live import LiveEnvironment
from environments.lifecycle.requests import EnvironmentRequest, Happening
from environments.probes import SYSTEM_CLOCK, Clock


@contextmanager
def provisioned(
    request: EnvironmentRequest,
    *,
    engine: Engine,
    tell: Callable[[Happening], None],
    log: Callable[[LogLine], None],
    stop: threading.Event,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[LiveEnvironment]:
    """Bring up all that the tests depend on; on leaving, however it is left, remove everything."""
    raise NotImplementedError
    yield
