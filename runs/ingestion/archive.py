"""Open what was uploaded: one report, or an archive of reports, as streams. Told by content, not by name.

Nothing is unpacked to disk or held whole, and every archive has an end: a total, a ratio beyond which it
is a bomb, and a count of members.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportError, ReportLimitError
from runs.ingestion.tar import entries

MEMBER_LIMIT = 20_000
#: Of a zip's list of members: entries, folders among them, and bytes.
ENTRY_LIMIT = 100_000
DIRECTORY_LIMIT_BYTES = 32 * 1024 * 1024
UNPACKED_LIMIT_BYTES = 1024 * 1024 * 1024
#: Reports shrink to a tenth or a hundredth; a bomb to a thousandth. Small ones are let be.
RATIO_LIMIT = 300
RATIO_FREE_BYTES = 16 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_ENTRY = b"PK\x01\x02"
_ZIP_ENCRYPTED = 0x1
_ZIP_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_TAR_MARK = b"ustar"
_TAR_MARK_AT = 257
_PEEK_BYTES = 512
_LEFT_OUT_LIMIT = 10
_NO_DIRECTORY = "File is not a zip file"
#: Why an archive without reports is refused.
NOTHING_TO_READ = "The archive holds no .xml, .trx or .json file."
#: Bazel's tries before the last one, beside the `test.xml` of the last: by name they would come after it.
_EARLIER_TRY = re.compile(r"(?:^|[/\\])attempt_(\d{1,4})\.xml$")
_LAST_TRY = re.compile(r"(?:^|[/\\])test\.xml$")
_LEFT_OUT_NOTE = re.compile(
    r"([\d,]+) files? of the archive (?:is no report and was|are no reports and were) left out: (.*)",
    re.DOTALL,
)
_CERTAIN = (".xml", ".trx")
_DOUBTFUL = ".json"
#: What the standard library raises on damage. `ValueError` stands for places and names that cannot be, and
#: `OSError` is not among them: a disk that fails is no fault of the archive.
_DAMAGED = (
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    LookupError,
    ArithmeticError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A report on its own, or one out of an archive. Its stream is good until the next one is asked for."""

    name: str
    stream: BinaryIO
    #: Whether its name, or that somebody sent it by itself, says that it is a report. Most JSON is none.
    is_certain: bool = True


@dataclass(slots=True)
class Budget:
    """What may come out of an archive, and what did. Count `packed_bytes` from the archive's size."""

    packed_bytes: int
    unpacked_limit_bytes: int = UNPACKED_LIMIT_BYTES
    ratio_limit: int = RATIO_LIMIT
    unpacked_bytes: int = 0
    member_count: int = 0
    #: Says by its name whether a member is wanted; reports are when nothing else is said.
    chosen: Callable[[str], bool] | None = None
    #: Members that are no reports by their name: how many, and the first names.
    left_out_count: int = 0
    left_out: list[str] = field(default_factory=list)

    def spend(self, count: int) -> None:
        """Count unpacked bytes.

        Raises:
            ReportLimitError: they are too many, or too many for what they came from.
        """
        self.unpacked_bytes += count
        if self.unpacked_bytes > self.unpacked_limit_bytes:
            reason = f"The archive holds more than {self.unpacked_limit_bytes // 2**20:,} MiB."
            raise ReportLimitError(reason)
        free = self.unpacked_bytes <= RATIO_FREE_BYTES
        if not free and self.unpacked_bytes > self.ratio_limit * max(self.packed_bytes, 1):
            reason = f"The archive unpacks to more than {self.ratio_limit} times its size."
            raise ReportLimitError(reason)

    def wants(self, name: str) -> bool:
        """Count a file in the archive; whether its name is that of a report, or of what is chosen.

        Raises:
            ReportLimitError: there are too many.
        """
        self.member_count += 1
        if self.member_count > MEMBER_LIMIT:
            reason = f"The archive has more than {MEMBER_LIMIT:,} members."
            raise ReportLimitError(reason)
        if self.chosen is not None:
            return self.chosen(name)
        if name.startswith("__MACOSX/") or "/._" in f"/{name}":
            return False  # what macOS adds by itself is nothing anybody misses
        if name.lower().endswith((*_CERTAIN, _DOUBTFUL)):
            return True
        self.leave_out(name)
        return False

    def left_out_note(self) -> str:
        """Say what was left out; empty where nothing was."""
        return left_out_note(self.left_out_count, self.left_out) if self.left_out_count else ""

    def leave_out(self, name: str) -> None:
        """Count a file that is no report."""
        self.left_out_count += 1
        if len(self.left_out) < _LEFT_OUT_LIMIT:
            self.left_out.append(name[-200:])


def left_out_note(count: int, names: Sequence[str]) -> str:
    """Say that so many files of an archive are no reports, with the names of the first."""
    one, several = "file of the archive is no report and was", "files of the archive are no reports and were"
    return f"{count:,} {one if count == 1 else several} left out: {', '.join(names)}"


def without_kept(note: str, kept: Collection[str]) -> str | None:
    """Return the note without files that were kept in the end, empty when there are no others; None for a
    note of something else."""
    match = _LEFT_OUT_NOTE.fullmatch(note)
    if match is None:
        return None
    # What ends in these was read as a report, whatever else it was kept for.
    count = int(match[1].replace(",", "")) - sum(not name.lower().endswith(_CERTAIN) for name in kept)
    names = [name for name in match[2].split(", ") if name not in kept]
    return left_out_note(count, names) if count > 0 else ""


def members_of(name: str, stream: BinaryIO, budget: Budget) -> Iterator[Member]:
    """Yield the file itself, or the reports in it when it is a .gz, .zip, .tar or .tar.gz.

    Members of archives are reports when their name ends in `.xml` or `.trx`, and may be when it ends in
    `.json`; others are left out.

    Raises:
        ReportError: the archive is damaged, encrypted, a bomb, or holds no report.
    """
    beginning = _peek(stream)
    if not beginning.startswith((_GZIP, *_ZIP)) and not _is_tar(beginning):
        yield Member(name, stream)
        return
    try:
        if beginning.startswith(_ZIP):
            yield from _of_zip(name, stream, budget)
        elif beginning.startswith(_GZIP):
            yield from _of_gzip(name, stream, budget)
        else:
            yield from _of_tar(name, stream, budget, packed=stream)
    except _DAMAGED as error:
        is_headless = beginning.startswith(_ZIP) and str(error) == _NO_DIRECTORY
        said = "it was cut, for the list of its members at its end is missing" if is_headless else error
        reason = f"The archive is damaged or in a form that is not read: {said}."
        raise MalformedReportError(reason) from error


def place_in_order(name: str) -> int:
    """Return a number by which to sort the files of an upload, so that tries are read as they were made."""
    earlier = _EARLIER_TRY.search(name)
    return int(earlier[1]) - 10_000 if earlier else 0


class _Metered(io.RawIOBase):
    """A stream of unpacked bytes that counts what it gives, where asked to, and tells damage as such."""

    def __init__(self, stream: BinaryIO, budget: Budget | None) -> None:
        super().__init__()
        self._stream = stream
        self._budget = budget

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._stream.read(size)
        except _DAMAGED as error:
            reason = f"The compressed data is damaged: {error}."
            raise MalformedReportError(reason) from error
        if self._budget is not None:
            self._budget.spend(len(data))
        return data


def _of_zip(name: str, stream: BinaryIO, budget: Budget) -> Iterator[Member]:
    directory = _Directory(stream)
    with zipfile.ZipFile(cast("BinaryIO", directory)) as archive:
        directory.is_read = True
        found = False
        for info in sorted(archive.infolist(), key=lambda info: place_in_order(info.filename)):
            if not info.is_dir() and budget.wants(info.filename):
                found = True
                refusal = _refusal(info)
                if refusal is not None:  # it alone: the others can be read
                    yield _member(name, info.filename, cast("BinaryIO", _Refused(refusal)))
                    continue
                with archive.open(info) as member:
                    yield _member(name, info.filename, _metered(member, budget))
    _refuse_when_nothing(found=found)


def _refusal(info: zipfile.ZipInfo) -> ReportError | None:
    """Why a member of a zip cannot be read; None when it may be."""
    name = info.filename[-200:]
    if info.header_offset < 0:  # where a disk's file says OSError, and memory ValueError
        reason = "The archive is damaged: it points to a place before its beginning."
    elif info.flag_bits & _ZIP_ENCRYPTED:
        reason = f"{name} is encrypted: pack it without a password."
    elif info.compress_type not in _ZIP_METHODS:
        reason = f"{name} is packed by a method that is not read: use deflate."
    else:
        return None
    return MalformedReportError(reason)


class _Refused(io.RawIOBase):
    """A member that cannot be read: whoever tries is told why."""

    def __init__(self, reason: ReportError) -> None:
        super().__init__()
        self._reason = reason

    def readable(self) -> bool:
        return True

    def read(self, _size: int = -1) -> bytes:
        raise self._reason


class _Directory(io.RawIOBase):
    """A zip's file that bounds its list of members, which the library reads whole before anybody sees it."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.is_read = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return self._stream.seek(place, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if self.is_read:
            return self._stream.read(size)
        data = self._stream.read(min(size, DIRECTORY_LIMIT_BYTES + 1) if size >= 0 else size)
        if len(data) > DIRECTORY_LIMIT_BYTES or data.count(_ZIP_ENTRY) > ENTRY_LIMIT:
            reason = f"The archive has more than {ENTRY_LIMIT:,} entries, or a list of them without end."
            raise ReportLimitError(reason)
        return data


def _of_gzip(name: str, stream: BinaryIO, budget: Budget) -> Iterator[Member]:
    with gzip.GzipFile(fileobj=stream) as unpacked:
        buffered = io.BufferedReader(unpacked, 64 * 1024)
        if _is_tar(buffered.peek(_PEEK_BYTES)):
            yield from _of_tar(name, cast("BinaryIO", buffered), budget, packed=stream)
        else:
            yield Member(name.removesuffix(".gz"), _metered(cast("BinaryIO", buffered), budget))


def _of_tar(name: str, stream: BinaryIO, budget: Budget, *, packed: BinaryIO) -> Iterator[Member]:
    found = False
    tries: set[str] = set()
    has_looked = budget.chosen is not None
    # All of the stream is metered: what a bomb hides between members counts as well.
    for entry in entries(_metered(stream, budget)):
        if not entry.is_file or not budget.wants(entry.name) or entry.name in tries:
            continue
        found = True
        if place_in_order(entry.name):
            tries.add(entry.name)
        elif not has_looked and _LAST_TRY.search(entry.name):
            has_looked = True
            yield from _earlier_tries(name, packed, budget, tries)
        yield _member(name, entry.name, entry.content)
    _refuse_when_nothing(found=found)


def _earlier_tries(name: str, packed: BinaryIO, budget: Budget, tries: set[str]) -> Iterator[Member]:
    """Yield Bazel's earlier tries from all over the archive; its members can only be read in their order."""
    place = packed.tell()
    packed.seek(0)
    known = frozenset(tries)
    own = Budget(
        budget.packed_bytes,
        budget.unpacked_limit_bytes,
        budget.ratio_limit,
        chosen=lambda one: place_in_order(one) < 0 and one not in known,
    )
    try:
        for member in members_of(name, packed, own):
            tries.add(member.name.removeprefix(f"{name}/"))
            yield member
    except (NotAReportError, MalformedReportError):
        pass  # there are none; or the damage is met again, after what stands before it
    packed.seek(place)


def _member(archive: str, name: str, stream: BinaryIO) -> Member:
    return Member(f"{archive}/{name}", stream, is_certain=not name.lower().endswith(_DOUBTFUL))


def _metered(stream: object, budget: Budget | None) -> BinaryIO:
    return cast("BinaryIO", _Metered(cast("BinaryIO", stream), budget))


def _refuse_when_nothing(*, found: bool) -> None:
    if not found:
        raise NotAReportError(NOTHING_TO_READ)


def _peek(stream: BinaryIO) -> bytes:
    beginning = stream.read(_PEEK_BYTES)
    stream.seek(0)
    return beginning


def _is_tar(beginning: bytes) -> bool:
    return beginning[_TAR_MARK_AT : _TAR_MARK_AT + len(_TAR_MARK)] == _TAR_MARK
