"""`build` of a service in the canonical model → `Build`. Plain."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from environments.spec.loader import Model
from environments.spec.model import Build
from environments.spec.source import Map, Mark

#: Reaches beyond the context; judged by `policy`.
BUILD_PRIVILEGES: Final = ("entitlements", "network", "privileged", "ssh")
_NOTED: Final = {
    **dict.fromkeys(("cache_to", "provenance", "sbom"), "itdash builds for itself alone"),
    "isolation": "the engine separates builds as it separates containers",
    "tags": "an image is called by what is in it, so that no file changes what another one runs",
    "platforms": "an image is built for the engine's own platform, or for the service's 'platform'",
    "ulimits": "a build has the engine's own",
}
#: Both take a builder that asks the worker back while it builds: what it may ask for could not be bounded.
_MENDS: Final = {
    "additional_contexts": "Build from a folder that holds both, or name the image in FROM.",
    "secrets": "Fetch what is secret when the service starts, with the service's own 'secrets'.",
}
_USED: Final = (
    "args",
    "cache_from",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "extra_hosts",
    "labels",
    "no_cache",
    "pull",
    "shm_size",
    "target",
)


class Teller(Protocol):
    """Remembers what a reader is to be told."""

    def note(self, sentence: str) -> None:
        """Something is ignored."""

    def problem(self, message: str, key: str, place: Mark, mend: str = "") -> None:
        """Something is wrong."""

    def unsupported(self, key: str, place: Mark, mend: str = "") -> None:
        """Something is right, but not run."""


def build_of(model: Model, name: str, service: Map, tell: Teller) -> Build | None:
    """How the service's image is built; None when it is not."""
    build = service.get("build")
    if not isinstance(build, Map):
        return None
    prefix = f"services.{name}.build"
    for key in build:
        if key in _NOTED:
            tell.note(f"{prefix}.{key} is ignored: {_NOTED[key]}.")
        elif key not in (*_USED, *BUILD_PRIVILEGES) and not key.startswith("x-"):
            tell.unsupported(f"{prefix}.{key}", build.place(key), _MENDS.get(key, ""))
    context = build.get("context", ".")
    if _is_remote(context):
        place = build.place("context") if build.mark.line else service.place("build")
        message = f"{prefix}.context: {context!r} is not a folder of the checkout"
        tell.problem(message, f"{prefix}.context", place, "Check the sources out first.")
    return Build(
        context=Path(os.path.normpath(model.folder / context)),
        dockerfile=build.get("dockerfile", "Dockerfile"),
        dockerfile_inline=build.get("dockerfile_inline"),
        args=_filled(build.get("args") or {}, model.variables),
        target=build.get("target"),
        labels=dict(build.get("labels") or {}),
        no_cache=build.get("no_cache", False),
        pull=build.get("pull", False),
        cache_from=tuple(build.get("cache_from") or ()),
        extra_hosts=dict(entry.split("=", 1) for entry in build.get("extra_hosts") or ()),
        network="none" if build.get("network") == "none" else None,
        shm_size_bytes=int(build["shm_size"]) if build.get("shm_size") else None,
    )


def _filled(args: Mapping[str, str | None], variables: Mapping[str, str]) -> dict[str, str]:
    """An argument without a value takes that of the run's variable."""
    return {key: variables.get(key, "") if value is None else value for key, value in args.items()}


def _is_remote(context: str) -> bool:
    return "://" in context or context.startswith(("git@", "github.com/"))
