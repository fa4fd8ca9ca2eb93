"""Which engine a project's runs get."""

from __future__ import annotations

import threading
from contextlib import suppress

from environments.engine import Engine
from environments.engines import NAMES, engine_named, resolve
from environments.errors import DeadlineExceededError, EnvironmentFailedError, FailureKind
from environments.probes import wait_until

#: How long an engine that went away under a run is waited for when the run is tried again.
PATIENCE_SECONDS = 60.0


def await_engine(name: str, *, stop: threading.Event, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Give the engine of a run's earlier try time to come back; returns at once when there was none.

    With ``auto`` another one would take its place. Raises `StoppedError` when the run is stopped meanwhile.
    """
    if name in NAMES:
        with suppress(DeadlineExceededError):
            wait_until(lambda: _answers(name), deadline_seconds=patience_seconds, stop=stop)


def _answers(name: str) -> bool:
    try:
        engine_named(name).capabilities()
    except EnvironmentFailedError:
        return False
    return True


def engine_for(wish: str, *, project: str, allows_local: bool) -> Engine:
    """Return the engine that was wished for; with ``auto`` a container engine, or the local one without.

    Raises `EnvironmentFailedError` (ENGINE_UNAVAILABLE) with the mend when there is none that the project
    may use.
    """
    choice = resolve(wish)
    if choice.engine.name != "local" or allows_local:
        return choice.engine
    message = (
        f"{choice.reason} Project {project} may not use the local engine. Install a container engine where "
        "the workers run (`itdash doctor` checks it), or, if the project's code is trusted with the workers' "
        "own machine, allow the local engine in the project's settings."
    )
    raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE)
