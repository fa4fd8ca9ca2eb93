"""Keep files of a run that are no reports."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import PurePosixPath
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage

from runs.models import Artifact

_BLOCK_BYTES = 1024 * 1024


def keep_artifact(*, run_id: int, shard: int, path: str, stream: IO[bytes], size: int) -> Artifact:
    """Store a file under its path in the tests' container; one of an earlier try is replaced.

    `stream` is read from where it stands; `size` is in bytes.
    """
    place = f"artifacts/{run_id}/{shard}/{PurePosixPath(path).name or 'file'}"
    digested = _Digested(stream)
    name = default_storage.save(place, File(digested, name=place))
    kind, _ = mimetypes.guess_type(path)
    artifact, _ = Artifact.objects.update_or_create(
        run_id=run_id,
        shard=shard,
        path=path[-1000:],
        defaults={
            "size": digested.size or size,
            "sha256": digested.digest.hexdigest(),
            "content_type": kind or "application/octet-stream",
            "storage_name": name,
        },
    )
    return artifact


class _Digested:
    """A readable that takes the digest and the size of what passes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        block = self._stream.read(size if size > 0 else _BLOCK_BYTES)
        self.digest.update(block)
        self.size += len(block)
        return block
