"""Compose files → `EnvironmentSpec`. Plain: values in, values out; no engine, no database.

Reading goes file by file: YAML with lines (`source`) → variables (`interpolation`) → the official schema
(`schema`) → one notation for everything (`canonical`) → laid over what came before (`merge`). The whole is
checked for what no schema sees (`consistency`) and turned into the values that engines run (`convert`).
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from environments.spec.convert import environment_from
from environments.spec.delivered import secrets_of
from environments.spec.export import compose_config, plain
from environments.spec.loader import Model, load_model
from environments.spec.model import (
    EMPTY,
    Build,
    Condition,
    Dependency,
    EnvironmentSpec,
    FileSpec,
    HealthCheck,
    Mount,
    MountKind,
    NetworkSpec,
    Port,
    ServiceSpec,
    VolumeSpec,
)
from environments.spec.replicas import with_replicas

__all__ = [
    "EMPTY",
    "Build",
    "Condition",
    "Dependency",
    "EnvironmentSpec",
    "FileSpec",
    "HealthCheck",
    "Model",
    "Mount",
    "MountKind",
    "NetworkSpec",
    "Port",
    "ServiceSpec",
    "VolumeSpec",
    "compose_config",
    "environment_from",
    "load_environment",
    "load_model",
    "plain",
    "secrets_of",
    "with_replicas",
]


def load_environment(
    files: Sequence[Path],
    *,
    directory: Path,
    variables: Mapping[str, str],
    name: str = "",
    profiles: Sequence[str] = (),
    services: Collection[str] = (),
) -> EnvironmentSpec:
    """Read Compose files, merged in their order. Raises `SpecError` with every problem found.

    `directory` is the checkout: `files` are inside it, relative paths in them begin at the first one's folder
    as with Compose, and nothing outside it is read. `variables` are the run's; ``.env`` beside the first file
    stands below them, the process environment counts for nothing. `name` fills ``COMPOSE_PROJECT_NAME``.
    Naming `services` switches their profiles on.
    """
    known = {"COMPOSE_PROJECT_NAME": name, **variables} if name else variables
    model = load_model(files, directory=directory, variables=known, profiles=profiles, services=services)
    return environment_from(model)
