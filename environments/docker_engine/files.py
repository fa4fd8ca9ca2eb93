"""Files into containers and out of them: a checkout is copied in, reports are streamed out."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, override

import requests

from environments.engine import CollectedFile
from environments.globs import literal_root, matcher, roots
from environments.spec import FileSpec

#: A copy is built in memory up to here and on disk beyond.
SPOOL_BYTES = 16 * 1024 * 1024
READ_BYTES = 256 * 1024
#: The most that is read of one service while looking for matching files.
LONGEST_ARCHIVE_BYTES = 8 * 1024**3
#: The most files taken from one service.
MOST_FILES = 50_000
#: Links to follow at most while collecting.
MOST_LINKS = 1000

Opened = Callable[[str], AbstractContextManager[requests.Response | None]]


@contextmanager
def archive_of(entries: Sequence[tuple[Path, str, bool]]) -> Iterator[IO[bytes]]:
    """Pack (source, path in the archive, is it written to) as a tar stream.

    Owners are dropped and modes made what Git would have checked out, so that a service reads its files
    whatever user it runs as; folders that are written to are open to all of the environment.
    """
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for source, name, is_written in entries:
                _pack(archive, source, name, is_written=is_written)
        packed.seek(0)
        yield packed


@contextmanager
def archive_of_given(files: Mapping[str, FileSpec]) -> Iterator[IO[bytes]]:
    """Pack configs and secrets by their paths in the archive, each with the owner and mode it asks for."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for name, file in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(file.content), file.mode
                entry.uid, entry.gid = file.uid, file.gid
                archive.addfile(entry, io.BytesIO(file.content))
        packed.seek(0)
        yield packed


def _pack(archive: tarfile.TarFile, source: Path, name: str, *, is_written: bool) -> None:
    if not source.is_dir():
        _add(archive, source, name, is_written=is_written, follow=True)
        return
    for folder, folders, files in os.walk(source):
        place = PurePosixPath(name, *Path(folder).relative_to(source).parts)
        _add(archive, Path(folder), str(place), is_written=is_written, follow=folder == str(source))
        links = [entry for entry in folders if (Path(folder) / entry).is_symlink()]
        for entry in sorted([*files, *links]):
            _add(archive, Path(folder) / entry, str(place / entry), is_written=is_written, follow=False)


def _add(archive: tarfile.TarFile, source: Path, name: str, *, is_written: bool, follow: bool) -> None:
    facts = source.stat() if follow else source.lstat()
    entry = tarfile.TarInfo(name)
    entry.mtime = int(facts.st_mtime)
    if stat.S_ISDIR(facts.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o777 if is_written else 0o755
        archive.addfile(entry)
    elif stat.S_ISLNK(facts.st_mode):
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(source.readlink()), 0o777
        archive.addfile(entry)
    elif stat.S_ISREG(facts.st_mode):
        entry.size, entry.mode = facts.st_size, 0o755 if facts.st_mode & 0o111 else 0o644
        with source.open("rb") as content:
            archive.addfile(entry, content)


def collected(open_archive: Opened, patterns: Sequence[str]) -> Iterator[CollectedFile]:
    """Files whose path matches, streamed; `open_archive` yields the engine's answer, None for no such path.

    A link is followed once everything else was read: the archive of a folder does not hold what it points to.
    """
    matches = matcher(patterns)
    taken: set[str] = set()
    links: list[str] = []
    for root in roots(patterns):
        is_folder = all(literal_root(pattern) != root or pattern != root for pattern in patterns)
        for path, member, archive in _members(open_archive, root, is_folder=is_folder):
            if not matches(path) or path in taken:
                continue
            if member.issym() or member.islnk():
                links.append(path)
            elif member.isreg() and (file := _taken(path, member, archive, taken)) is not None:
                yield file
    for path in links[:MOST_LINKS]:
        for _, member, archive in _members(open_archive, path, is_folder=False):
            if member.isreg() and (file := _taken(path, member, archive, taken)) is not None:
                yield file


def _taken(
    path: str, member: tarfile.TarInfo, archive: tarfile.TarFile, taken: set[str]
) -> CollectedFile | None:
    stream = archive.extractfile(member)
    if stream is None or path in taken or len(taken) >= MOST_FILES:
        return None
    taken.add(path)
    return CollectedFile(path=path, size=member.size, stream=stream)


def _members(
    open_archive: Opened, root: str, *, is_folder: bool
) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Walk the archive of a path. Of a folder, ``/.`` is asked for, so that a link to it is followed."""
    with open_archive(f"{root.rstrip('/')}/." if is_folder else root) as response:
        if response is None:
            return
        with tarfile.open(fileobj=_Body(response), mode="r|") as archive:
            for member in archive:
                # The first segment names the root itself, in one of several ways.
                inside = PurePosixPath(member.name).parts
                inside = inside[1:] if not member.name.startswith("./") else inside
                yield str(PurePosixPath(root, *inside)), member, archive


class _Body(io.RawIOBase):
    """A response as a file that tarfile can read, up to a bound."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self._response = response
        self._left = LONGEST_ARCHIVE_BYTES

    @override
    def readable(self) -> bool:
        return True

    @override
    def read(self, size: int = -1) -> bytes:
        wanted = min(READ_BYTES if size < 0 else size, self._left)
        data: bytes = self._response.raw.read(wanted)
        self._left -= len(data)
        return data
