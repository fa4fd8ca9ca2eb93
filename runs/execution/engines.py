"""Which engine a project's runs get."""

from __future__ import annotations

from environments.engine import Engine
from environments.engines import engine_named
from environments.errors import EnvironmentFailedError, FailureKind


def engine_for(wish: str, *, project: str, allows_local: bool) -> Engine:
    """Return the engine that was wished for; with ``auto`` a container engine, or the local one without.

    Raises `EnvironmentFailedError` (ENGINE_UNAVAILABLE) with the mend when there is none that the project
    may use.
    """
    if wish == "local":
        return _local(project, allows_local=allows_local, instead="this installation is set to it")
    try:
        engine = engine_named("docker")
        engine.capabilities()
    except EnvironmentFailedError as error:
        if wish == "docker":
            raise
        return _local(project, allows_local=allows_local, instead=f"no container engine answers ({error})")
    return engine


def _local(project: str, *, allows_local: bool, instead: str) -> Engine:
    if allows_local:
        return engine_named("local")
    message = (
        f"{project} may not use the local engine, and {instead}. Install a container engine where the "
        "workers run (`itdash doctor` checks it), or, if the project's code is trusted with the worker's own "
        "machine, allow the local engine in the project's settings."
    )
    raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE)
