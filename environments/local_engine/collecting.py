"""Files of a service by glob, under the paths that the suite knows them by."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from environments.engine import CollectedFile
from environments.globs import matcher, roots
from environments.local_engine.folders import Program, ServiceFolder


def collect(folder: ServiceFolder, program: Program, patterns: Sequence[str]) -> Iterator[CollectedFile]:
    """Every regular file that matches, once, folder by folder in alphabetical order.

    A link is followed as long as it stays within what belongs to the service.
    """
    absolute = [pattern if pattern.startswith("/") else f"/{pattern}" for pattern in patterns]
    matches = matcher(absolute)
    places = {"/": str(folder.private_root), **program.paths}
    allowed = [Path(place).resolve() for place in places.values()]
    seen: set[str] = set()
    for root in roots(absolute):
        for path, place in _files(places, root):
            real = place.resolve()
            if path in seen or not matches(path) or not any(real.is_relative_to(above) for above in allowed):
                continue
            seen.add(path)
            yield from _opened(path, real)


def _opened(path: str, place: Path) -> Iterator[CollectedFile]:
    try:
        # Non-blocking: a named pipe would wait for a writer.
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone since it was listed
        return
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            yield CollectedFile(path=path, size=status.st_size, stream=stream)


def _files(places: dict[str, str], start: str) -> Iterator[tuple[str, Path]]:
    """Every file at or below `start`, a path inside the service, with its place on this machine."""
    above = max((target for target in places if _is_below(start, target)), key=len)
    yield from _walk(start, Path(places[above]) / PurePosixPath(start).relative_to(above))
    for target, place in sorted(places.items()):
        if target != start and _is_below(target, start):
            yield from _walk(target, Path(place))


def _walk(inside: str, top: Path) -> Iterator[tuple[str, Path]]:
    if top.is_file():
        yield inside, top
        return
    for where, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            file = Path(where, name)
            yield str(PurePosixPath(inside) / file.relative_to(top)), file


def _is_below(path: str, above: str) -> bool:
    return PurePosixPath(path).is_relative_to(above)
