"""Which engine a project's runs get."""

from __future__ import annotations

from environments.engine import Engine
from environments.engines import resolve
from environments.errors import EnvironmentFailedError, FailureKind


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
