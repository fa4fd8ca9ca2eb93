"""Tar archives are walked as they stream by: as the standard library would, and never at its cost."""

from __future__ import annotations

import io
import tarfile
import time
import tracemalloc
from typing import BinaryIO, cast

import pytest

from runs.ingestion import tar
from runs.ingestion.errors import MalformedReportError, ReportError, ReportLimitError
from runs.ingestion.tar import BLOCK_BYTES, entries

KIB = 1024
END = bytes(2 * BLOCK_BYTES)
LONG = "folder/" * 40 + "é" * 60 + ".xml"


def header(
    name: str = "a.xml", *, kind: bytes = b"0", size: bytes = b"00000000003\0", **more: bytes
) -> bytes:
    """A header of any size and kind, with its checksum."""
    block = bytearray(BLOCK_BYTES)
    block[: len(name)] = name.encode()
    block[124:136] = size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\00000"
    for place, field in more.items():
        at = int(place.removeprefix("at"))
        block[at : at + len(field)] = field
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def number(size: int) -> bytes:
    return b"%011o\0" % size


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)


def pax(*records: str) -> bytes:
    """A header of records, each without its length, which is made to fit."""
    lines = []
    for record in records:
        size = len(record.encode()) + 2
        while size != len(f"{size} {record}\n".encode()):
            size = len(f"{size} {record}\n".encode())
        lines.append(f"{size} {record}\n")
    data = "".join(lines).encode()
    return header(kind=b"x", size=number(len(data))) + padded(data)


FILE = header() + padded(b"abc")


def walked(data: bytes) -> list[tuple[str, bool, bytes]]:
    return [
        (one.name, one.is_file, one.content.read()) for one in entries(cast("BinaryIO", io.BytesIO(data)))
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_the_standard_library_writes_is_found(form: int) -> None:
    names = ["a.xml", "folder/" * 20 + "b.xml", "ü.xml", *([] if form == tarfile.USTAR_FORMAT else [LONG])]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = (
            tarfile.SYMTYPE,
            "/etc/passwd" * 20 if form != tarfile.USTAR_FORMAT else "/",
        )
        archive.addfile(link)
        for size, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = size * 700
            archive.addfile(info, io.BytesIO(b"x" * info.size))

    found = walked(packed.getvalue())

    assert [(name, content) for name, is_file, content in found if is_file] == [
        (name, b"x" * size * 700) for size, name in enumerate(names)
    ]
    assert [is_file for _, is_file, _ in found] == [False, False, *([True] * len(names))]


def test_what_is_not_read_is_passed_over() -> None:
    binary = b"\x80" + bytes(10) + b"\x03"
    old = header("old/", kind=b"\0", size=number(0))
    pieces = [header("b.xml", size=binary) + padded(b"abc"), old, pax("size=3", "path=c.xml"), FILE, FILE]

    found = walked(b"".join(pieces) + END)

    assert [(name, is_file) for name, is_file, _ in found] == [
        ("b.xml", True), ("old/", False), ("c.xml", True), ("a.xml", True),
    ]  # fmt: skip
    left = [len(one.content.read(1)) for one in entries(cast("BinaryIO", io.BytesIO(FILE + FILE + END)))]
    assert left == [1, 1]


HOSTILE = {
    "no end mark": (FILE, "end mark"),
    "cut in a header": (FILE + header()[:100], "end mark"),
    "cut in a file": (header(size=number(900)) + bytes(600), "middle of a file"),
    "cut in the padding": (header() + b"abc", "middle of a file"),
    "a damaged header": (FILE + header()[:90] + b"!" + header()[91:] + FILE + END, "no header"),
    "a size without end": (header(size=number(2**33 - 1)) + b"abc", "middle of a file"),
    "a size of 2^88": (header(size=b"\x80" + b"\xff" * 11) + b"abc", "middle of a file"),
    "a size below zero": (header(size=b"\xff" * 12) + END, "no header"),
    "a size of letters": (header(size=b"0000000zzz0\0") + END, "no header"),
    "a size below zero in words": (pax("size=-512") + FILE + END, "a size that is none"),
    "a size of other digits": (pax("size=٣") + FILE + END, "a size that is none"),
    "records without a length": (header(kind=b"x", size=number(6)) + padded(b"path=a") + END, "no records"),
    "records that go on": (header(kind=b"x", size=number(9)) + padded(b"99 path=a") + END, "no records"),
    "records of no length": (header(kind=b"x", size=number(9)) + padded(b"0 path=ab") + END, "no records"),
    "a file with holes": (header(kind=b"S") + END, "sparse"),
    "a file with holes in words": (pax("GNU.sparse.major=1") + FILE + END, "sparse"),
    "a name without end": (header(kind=b"L", size=number(900 * 2**20)) + b"a" * 5_000, "1,024 KiB"),
    "records without end": (header(kind=b"x", size=number(900 * 2**20)) + b"a" * 5_000, "1,024 KiB"),
    "words for all without end": (header(kind=b"g", size=number(900 * 2**20)) + b"a" * 5_000, "1,024 KiB"),
}


@pytest.mark.parametrize(("data", "word"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_cannot_be_is_refused_at_once(data: bytes, word: str) -> None:
    begun = time.process_time()

    with pytest.raises(ReportError, match=word):
        walked(data)

    assert time.process_time() - begun < 1


@pytest.mark.parametrize("kind", [b"5", b"x", b"L", b"g"])
def test_headers_without_end_cost_no_memory(monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    monkeypatch.setattr(tar, "HEADER_LIMIT", 2_000)

    class Endless(io.RawIOBase):
        one = header(kind=kind, size=number(0))

        def read(self, size: int = -1) -> bytes:
            return self.one[:size]

    tracemalloc.start()
    with pytest.raises(ReportLimitError, match="2,000 headers"):
        for _ in entries(cast("BinaryIO", Endless())):
            pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 100 * KIB


def test_a_member_that_is_cut_says_so_while_it_is_read() -> None:
    [first, second] = [header(size=number(3)) + padded(b"abc"), header(size=number(700)) + bytes(600)]
    contents = entries(cast("BinaryIO", io.BytesIO(first + second)))

    assert next(contents).content.read() == b"abc"
    with pytest.raises(MalformedReportError, match="middle"):
        next(contents).content.read()
