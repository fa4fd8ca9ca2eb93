"""Compose files → `EnvironmentSpec`. Plain: values in, values out; no engine, no database."""

from environments.spec.model import (
    EMPTY,
    Build,
    Condition,
    Dependency,
    EnvironmentSpec,
    HealthCheck,
    Mount,
    MountKind,
    NetworkSpec,
    ServiceSpec,
    VolumeSpec,
)

__all__ = [
    "EMPTY",
    "Build",
    "Condition",
    "Dependency",
    "EnvironmentSpec",
    "HealthCheck",
    "Mount",
    "MountKind",
    "NetworkSpec",
    "ServiceSpec",
    "VolumeSpec",
]
