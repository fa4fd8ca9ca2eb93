"""Keep files of a run that are no reports."""

from __future__ import annotations

import hashlib
import mimetypes
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction

from runs.models import Artifact

#: Characters of a file's name in storage.
_NAME_LIMIT = 60
_BLOCK_BYTES = 1024 * 1024


class Readable(Protocol):
    """A file that is read from where it stands."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at its end."""


def keep_artifact(*, run_id: int, shard: int, path: str, stream: Readable) -> Artifact:
    """Store a file under its path in the tests' container; one of an earlier try is replaced."""
    # Its end, which says what it is: a file system takes names of up to 255 bytes.
    ending = PurePosixPath(path).name[-_NAME_LIMIT:]
    place = f"artifacts/{run_id}/{shard}/{uuid.uuid4().hex}/{ending or 'file'}"
    passing = _Passing(stream, place)
    try:
        name = default_storage.save(place, passing)
    except BaseException:
        _forget([place])  # a stream that is refused half-way leaves what came before
        raise
    kind, _ = mimetypes.guess_type(path)
    replaced = Artifact.objects.filter(run_id=run_id, shard=shard, path=path[-1000:]).exclude(storage_name="")
    earlier = list(replaced.values_list("storage_name", flat=True))
    artifact, _ = Artifact.objects.update_or_create(
        run_id=run_id,
        shard=shard,
        path=path[-1000:],
        defaults={
            "size": passing.passed_bytes,
            "sha256": passing.digest.hexdigest(),
            "content_type": kind or "application/octet-stream",
            "storage_name": name,
        },
    )
    # Not before the row that names the new one is there for good.
    transaction.on_commit(partial(_forget, earlier))
    return artifact


def _forget(names: Sequence[str]) -> None:
    for name in names:
        with suppress(OSError):  # left behind: nothing refers to it
            default_storage.delete(name)


class _Passing(File):  # type: ignore[type-arg]  # generic only in the stubs
    """A file that can be read once, and takes digest and size of what passes through it."""

    def __init__(self, stream: Readable, name: str) -> None:
        super().__init__(None, name=name)
        self._stream = stream
        self.digest = hashlib.sha256()
        self.passed_bytes = 0

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Read on from where the stream stands."""
        while block := self._stream.read(chunk_size or _BLOCK_BYTES):
            self.digest.update(block)
            self.passed_bytes += len(block)
            yield block
