"""Globs over absolute paths inside a service, read the same by every engine. Plain."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from posixpath import normpath

SPECIAL = re.compile(r"[*?\[]")


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Say whether an absolute path matches any pattern: ``*`` stays in a folder, ``**`` spans them."""
    compiled = [_compiled(pattern) for pattern in patterns]
    return lambda path: any(expression.fullmatch(path) for expression in compiled)


def literal_root(pattern: str) -> str:
    """The deepest path that a pattern names without a glob: where looking for matches begins."""
    if SPECIAL.search(pattern) is None:
        return normpath(pattern)
    segments = []
    for segment in pattern.split("/"):
        if SPECIAL.search(segment):
            break
        segments.append(segment)
    return normpath("/".join(segments) or "/")


def roots(patterns: Sequence[str]) -> list[str]:
    """Where to look for all of the patterns, each place once: a root below another is left out."""
    kept: list[str] = []
    for root in sorted({literal_root(pattern) for pattern in patterns}):
        if not any(root == other or root.startswith(f"{other.rstrip('/')}/") for other in kept):
            kept.append(root)
    return kept


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    segments = normpath(pattern).lstrip("/").split("/")
    expression = "".join(
        _segment(segment, is_last=at == len(segments) - 1) for at, segment in enumerate(segments)
    )
    return re.compile(f"/{expression}", re.DOTALL)


def _segment(segment: str, *, is_last: bool) -> str:
    if segment == "**":
        return ".*" if is_last else "(?:[^/]+/)*"
    text = re.sub(r"\*+|\?|\[!?\]?[^\]]*\]|.", _token, segment, flags=re.DOTALL)
    return text if is_last else f"{text}/"


def _token(found: re.Match[str]) -> str:
    token = found[0]
    if token.startswith("*"):
        return "[^/]*"
    if token == "?":  # noqa: S105 - a glob
        return "[^/]"
    if len(token) > 1:
        inside = token[1:-1].replace("\\", r"\\")
        return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(token)
