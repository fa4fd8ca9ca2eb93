"""Reports and artifacts in a bucket: Django's storage API, spoken to any server that knows S3.

Reads come in blocks and uploads in parts, so that no file is ever in memory or on a disk as a whole. See
docs/decisions/0228.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Buffer, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible

if TYPE_CHECKING:
    from datetime import datetime

    from botocore.exceptions import ClientError

#: Read in one go, and the size of a part that is sent. S3 wants at least 5 MiB of a part.
BLOCK_BYTES = 4 * 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
TRY_COUNT = 4
#: Sent to the same server at once; one more waits.
CONNECTION_COUNT = 32
_BUFFER_BYTES = 64 * 1024
_PLACE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?", re.ASCII)
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_UNKNOWN = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
_REFUSED = frozenset({"401", "403", "AccessDenied"})
_NO_CREDENTIALS = (
    "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
)


class BucketMissingError(ConnectionError):
    """There is no such bucket: nothing is lost, and it may be made yet."""


class KeysMissingError(PermissionError):
    """Nobody said who itdash is to the server."""


class KeysUnknownError(PermissionError):
    """The server does not know this key, or it has another secret, or its time is over."""


class Client(Protocol):
    """What is asked of boto, which makes its clients at run time."""

    def get_object(self, **wanted: object) -> dict[str, Any]:
        """Begin to read an object."""

    def head_object(self, **wanted: object) -> dict[str, Any]:
        """Ask for an object's size and age."""

    def delete_object(self, **wanted: object) -> dict[str, Any]:
        """Remove an object."""

    def upload_fileobj(self, *arguments: object, **options: object) -> None:
        """Send a file, in parts when it is large."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where files lie: a bucket and what their keys begin with, empty or ending in a slash."""

    bucket: str
    prefix: str = ""

    @classmethod
    def read(cls, text: str) -> Place:
        """Read `s3://bucket` or `s3://bucket/some/prefix`.

        Raises:
            ValueError: it is not of that form.
        """
        found = _PLACE.fullmatch(text)
        parts = [part for part in (found["prefix"] or "").split("/") if part] if found else []
        if found is None or not all(part.isprintable() and part not in {".", ".."} for part in parts):
            message = f"“{text}” names no bucket"
            raise ValueError(message)
        return cls(found["bucket"], "".join(f"{part}/" for part in parts))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@deconstructible
class S3Storage(Storage):
    """Files as objects below a prefix. A name is used once: whoever saves gives it a random part.

    Trouble is an OSError: FileNotFoundError, PermissionError for what the credentials may not do, and
    ConnectionError for what may be over when it is tried again.
    """

    def __init__(
        self,
        *,
        place: str,
        endpoint: str = "",
        region: str = "",
        addressing: str = "auto",
        try_count: int = TRY_COUNT,
    ) -> None:
        self.place = Place.read(place)
        self._endpoint = endpoint
        self._region = region
        self._addressing = addressing
        self._try_count = try_count
        self._lock = threading.Lock()
        self._client: tuple[int, Client] | None = None

    @property
    def client(self) -> Client:
        """The client of all threads of this process; one that was forked makes its own."""
        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                self._client = os.getpid(), self._connected()
            return self._client[1]

    def _connected(self) -> Client:
        import boto3.session  # noqa: PLC0415 - an extra: only who has set a bucket needs it
        from botocore.config import Config  # noqa: PLC0415 - the same

        # Checksums in trailers are newer than many servers that speak S3.
        cautious = {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        addressing = self._addressing
        if self._endpoint and addressing == "auto":
            addressing = "path"
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": self._try_count},
            max_pool_connections=CONNECTION_COUNT,
            s3={"addressing_style": addressing},
            **(cautious if self._endpoint else {}),
        )
        with told(self.place.bucket):
            session = boto3.session.Session()
            region = self._region or session.region_name or ("us-east-1" if self._endpoint else None)
            client = session.client(
                "s3", endpoint_url=self._endpoint or None, region_name=region, config=config
            )
            return cast("Client", client)

    def _key(self, name: str) -> str:
        if ".." in name.split("/") or name.startswith("/"):
            message = f"“{name}” is no name below the prefix"
            raise SuspiciousFileOperation(message)
        return self.place.prefix + name

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return the name: to ask whether it is taken costs a round trip, and two may ask at once."""
        return name[:max_length]

    def _save(self, name: str, content: File[Any]) -> str:
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - an extra

        transfer = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            use_threads=False,
            preferred_transfer_client="classic",
        )
        with told(self.place.bucket, name):
            self.client.upload_fileobj(
                _Passing(content.chunks(BLOCK_BYTES)),
                self.place.bucket,
                self._key(name),
                # Whoever looks into the bucket with a browser is served nothing that runs there.
                ExtraArgs={"ContentType": "application/octet-stream", "ContentDisposition": "attachment"},
                Config=transfer,
            )
        return name

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        if mode != "rb":
            message = f"files are saved as a whole and read as bytes; they are not opened as “{mode}”"
            raise ValueError(message)
        with told(self.place.bucket, name):
            raw = _Blocks(self.client, self.place.bucket, self._key(name), name)
        return _Opened(io.BufferedReader(raw, _BUFFER_BYTES), name, raw.size)

    def delete(self, name: str) -> None:
        """Remove the file; one that is not there is no error."""
        with told(self.place.bucket, name):
            self.client.delete_object(Bucket=self.place.bucket, Key=self._key(name))

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            self._head(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes."""
        return int(self._head(name)["ContentLength"])

    def get_modified_time(self, name: str) -> datetime:
        """When it was saved."""
        return cast("datetime", self._head(name)["LastModified"])

    def url(self, name: str | None) -> str:
        """Refuse: whoever may read a file is decided here, for each time that it is asked for."""
        message = f"{name} has no address: files are read through itdash, which looks at rights first"
        raise NotImplementedError(message)

    def _head(self, name: str) -> dict[str, Any]:
        with told(self.place.bucket, name):
            return self.client.head_object(Bucket=self.place.bucket, Key=self._key(name))


class _Opened(File):  # type: ignore[type-arg]  # generic only in the stubs
    """A file whose size is known without asking."""

    def __init__(self, stream: io.BufferedReader, name: str, size: int) -> None:
        super().__init__(cast("Any", stream), name=name)
        self.size = size


class _Passing:
    """What a file holds from here on, for somebody who asks for so many bytes at a time."""

    def __init__(self, chunks: Iterator[bytes | str]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """As many bytes as were asked for, fewer at the end."""
        parts, length = [self._left], len(self._left)
        while size < 0 or length < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk.encode() if isinstance(chunk, str) else chunk)
            length += len(parts[-1])
        found = b"".join(parts)
        cut = len(found) if size < 0 else size
        self._left = found[cut:]
        return found[:cut]


class _Blocks(io.RawIOBase):
    """An object, fetched a block at a time: nobody holds a connection while he thinks about what he read."""

    def __init__(self, client: Client, bucket: str, key: str, name: str) -> None:
        super().__init__()
        self._client = client
        self._object = {"Bucket": bucket, "Key": key}
        self._name = name
        self._position = 0
        self._start = 0
        self._version = ""
        self._block, self.size = self._first()

    def _first(self) -> tuple[bytes, int]:
        from botocore.exceptions import ClientError  # noqa: PLC0415 - an extra

        try:
            answer = self._client.get_object(**self._object, Range=f"bytes=0-{BLOCK_BYTES - 1}")
        except ClientError as error:
            if _code(error) not in {"416", "InvalidRange"}:
                raise
            return b"", 0  # no byte of an empty file is at 0
        total = _TOTAL.fullmatch(answer.get("ContentRange", ""))
        self._version = answer["ETag"]
        block = answer["Body"].read()
        return block, int(total[1]) if total else len(block)

    def _fetch(self, start: int) -> bytes:
        end = min(start + BLOCK_BYTES, self.size) - 1
        wanted = {**self._object, "Range": f"bytes={start}-{end}", "IfMatch": self._version}
        left = TRY_COUNT
        while True:
            left -= 1
            try:
                with told(self._object["Bucket"], self._name):
                    return cast("bytes", self._client.get_object(**wanted)["Body"].read())
            except ConnectionError:  # an answer that broke off is nothing that the client asks for again
                if not left:
                    raise

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the buffer from the block here, fetching it first when it is another one."""
        if self._position >= self.size:
            return 0
        offset = self._position - self._start
        if not 0 <= offset < len(self._block):
            self._block, self._start, offset = self._fetch(self._position), self._position, 0
        target = memoryview(buffer).cast("B")
        found = memoryview(self._block)[offset : offset + len(target)]
        target[: len(found)] = found
        self._position += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; nothing is fetched until somebody reads."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            message = "before the beginning"
            raise ValueError(message)
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True


@contextmanager
def told(bucket: str, name: str = "") -> Iterator[None]:
    """Turn boto's errors into Python's own, with a sentence that says where and what."""
    from boto3.exceptions import Boto3Error  # noqa: PLC0415 - an extra
    from botocore.exceptions import (  # noqa: PLC0415 - an extra
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    where = f"{name} in bucket {bucket}" if name else f"bucket {bucket}"
    try:
        yield
    except ClientError as error:
        raise _as_os_error(error, where) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        message = f"{where}: {_NO_CREDENTIALS}"
        raise KeysMissingError(message) from error
    except Boto3Error as error:
        cause = error.__context__
        if isinstance(cause, ClientError):
            raise _as_os_error(cause, where) from error
        message = f"{where}: {error}"
        raise ConnectionError(message) from error
    except BotoCoreError as error:
        message = f"{where}: {error}"
        raise ConnectionError(message) from error


def _as_os_error(error: ClientError, where: str) -> OSError:
    code, reason = _code(error), str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
    said = f"{where}: {code} {reason}".rstrip()
    if code in _MISSING:
        return FileNotFoundError(said)
    if code in _UNKNOWN:
        return KeysUnknownError(said)
    if code in _REFUSED:
        return PermissionError(said)
    return BucketMissingError(said) if code == "NoSuchBucket" else ConnectionError(said)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
