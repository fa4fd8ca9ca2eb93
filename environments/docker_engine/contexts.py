"""A build's context: packed as Git would have checked it out, and known by what is in it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import IO, Final

from docker.utils.build import exclude_paths

from environments.spec import Build

_FOREIGN: Final = ".itdash.Dockerfile"


def pack(build: Build, packed: IO[bytes]) -> str:
    """Pack the context with its ignore file honoured; return the hash of what is in it, times left out.

    Raises `OSError` when it cannot be read.
    """
    name = dockerfile_name(build)
    seen = hashlib.sha256()
    # BuildKit knows an archive by its first KiB: an ordinary header with a short name, so the Dockerfile's.
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        if name == _FOREIGN:
            text = dockerfile(build).encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text))
            seen.update(text)
        paths = exclude_paths(str(build.context), _ignored(build), dockerfile=name)
        for path in sorted(paths, key=lambda path: (path != name, path)):
            _pack(archive, build.context / path, path, seen)
    return seen.hexdigest()


def dockerfile_name(build: Build) -> str:
    """The file's path in the context; a name of its own when it comes from elsewhere."""
    if build.dockerfile_inline is not None or _is_outside(build):
        return _FOREIGN
    return str((build.context / build.dockerfile).relative_to(build.context))


def dockerfile(build: Build) -> str:
    """The Dockerfile's text. Raises `OSError` when there is none."""
    if build.dockerfile_inline is not None:
        return build.dockerfile_inline
    return (build.context / build.dockerfile).read_text(errors="replace")


def _ignored(build: Build) -> list[str]:
    """Patterns of the Dockerfile's own ignore file, or else of the context's."""
    path = build.context / build.dockerfile
    own = path.with_name(f"{path.name}.dockerignore")
    for file in (own, build.context / ".dockerignore"):
        if file.is_file() and not (file == own and build.dockerfile_inline is not None):
            lines = (line.strip() for line in file.read_text().splitlines())
            return [line for line in lines if line and not line.startswith("#")]
    return []


def _pack(archive: tarfile.TarFile, source: Path, name: str, seen: hashlib._Hash) -> None:
    if source.is_socket():
        return
    entry = archive.gettarinfo(str(source), arcname=name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    # As Git would have checked it out: the image must not depend on this machine's umask.
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    seen.update(f"{name}\0{entry.type!r}\0{entry.mode}\0{entry.linkname}\0{entry.size}\0".encode())
    if not entry.isreg():
        archive.addfile(entry)
        return
    with source.open("rb") as content:
        seen.update(hashlib.file_digest(content, "sha256").digest())
        content.seek(0)
        archive.addfile(entry, content)


def _is_outside(build: Build) -> bool:
    path = build.context / build.dockerfile
    return not path.resolve().is_relative_to(build.context.resolve())
