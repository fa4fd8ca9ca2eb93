"""What a suite's definition says of pushes and pull requests, and whether one of them is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from environments.globs import matcher
from runs.suitefile.model import Branches

#: How many names of a list are told.
_TOLD = 6


def trigger_of(definition: Mapping[str, Any], name: str) -> Branches | None:
    """The filters below `on.push` or `on.pull_request`; None when the suite does not start by it."""
    on = definition.get("on")
    if not isinstance(on, Mapping) or name not in on:
        return None
    written = on[name] if isinstance(on[name], Mapping) else {}
    return Branches(
        branches=_listed(written.get("branches")),
        paths=_listed(written.get("paths")),
        cancel_superseded=written.get("cancel_superseded") is True,
    )


def objection(wanted: Branches, *, branch: str, paths: Sequence[str] | None) -> str:
    """Why the branch with these changed paths is not meant, as the end of a sentence; empty when it is.

    Paths that are not known (None) never object: better a run too many than a change untested.
    """
    if wanted.branches and not _any_matches(wanted.branches, [branch]):
        return f"only branches {_told(wanted.branches)}"
    if wanted.paths and paths is not None and not _any_matches(wanted.paths, paths):
        return f"only changes in {_told(wanted.paths)}"
    return ""


def _any_matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    is_meant = matcher([f"/{pattern}" for pattern in patterns])
    return any(is_meant(f"/{name}") for name in names)


def _listed(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(item) for item in (value if isinstance(value, list) else [value]))


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
