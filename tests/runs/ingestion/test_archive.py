"""Archives are opened as streams; bombs, damage and strangers are refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from runs.ingestion import archive
from runs.ingestion.archive import Budget, left_out_note, members_of, without_kept
from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportLimitError

XML = b"<testsuite/>"
MIB = 2**20


def opened(name: str, data: bytes, budget: Budget | None = None) -> dict[str, bytes]:
    budget = budget or Budget(packed_bytes=len(data))
    return {member.name: member.stream.read() for member in members_of(name, io.BytesIO(data), budget)}


def zipped(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as packing:
        for name, content in files.items():
            packing.writestr(name.replace("__", "."), content)
    return packed.getvalue()


def tarred(mode: str = "w:gz", **files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as packing:  # type: ignore[call-overload]  # any mode
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            packing.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packing.addfile(link)
    return packed.getvalue()


def test_a_report_is_itself_whatever_its_name() -> None:
    assert opened("report.zip", XML) == {"report.zip": XML}


def test_gzip_is_opened() -> None:
    assert opened("a.xml.gz", gzip.compress(XML)) == {"a.xml": XML}


def test_the_reports_of_a_zip_are_found_and_the_rest_is_counted() -> None:
    data = zipped(a__xml=XML, b__XML=XML + b" ", shot__png=b"x")
    budget = Budget(packed_bytes=len(data))

    assert opened("all.zip", data, budget) == {"all.zip/a.xml": XML, "all.zip/b.XML": XML + b" "}
    assert (budget.left_out_count, budget.left_out) == (1, ["shot.png"])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_the_reports_of_a_tar_are_found_and_links_are_not_followed(mode: str) -> None:
    assert opened("all.tar", tarred(mode, a__xml=XML, note__txt=b"x")) == {"all.tar/a.xml": XML}


@pytest.mark.parametrize("packing", ["zip", "gz", "tar.gz"])
def test_bombs_are_refused_by_their_ratio(packing: str) -> None:
    bomb = b" " * (40 * MIB)
    data = {"zip": zipped(a__xml=bomb), "gz": gzip.compress(bomb), "tar.gz": tarred(a__xml=bomb)}[packing]

    with pytest.raises(ReportLimitError, match="300 times"):
        drained(data, Budget(packed_bytes=len(data)))


def test_a_bomb_hidden_in_a_member_that_nobody_wants_is_met() -> None:
    data = tarred(a__bin=b" " * (40 * MIB), b__xml=XML)

    with pytest.raises(ReportLimitError):
        drained(data, Budget(packed_bytes=len(data)))


def test_all_members_together_have_a_limit() -> None:
    data = zipped(a__xml=b"a" * 700, b__xml=b"b" * 700)

    with pytest.raises(ReportLimitError, match="more than"):
        drained(data, Budget(packed_bytes=len(data), unpacked_limit_bytes=1_000))


def drained(data: bytes, budget: Budget) -> None:
    for member in members_of("x", io.BytesIO(data), budget):
        while member.stream.read(64 * 1024):
            pass


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(XML * 1_000)[:-20],
        zipped(a__xml=XML)[:-10],
        tarred(a__xml=XML * 1_000)[:-30],
        b"\x1f\x8bnot gzip at all",
        b"PK\x03\x04not zip at all",
    ],
    # An archive holds the time: unnamed, they would be other tests in each process.
    ids=["gz", "zip", "tar.gz", "no gz", "no zip"],
)
def test_damage_is_told_as_damage(data: bytes) -> None:
    with pytest.raises(MalformedReportError, match="damaged"):
        drained(data, Budget(packed_bytes=len(data)))


def test_an_archive_without_a_report_is_refused() -> None:
    with pytest.raises(NotAReportError, match=r"no \.xml"):
        opened("all.zip", zipped(shot__png=b"x"))


def test_an_encrypted_member_is_told_as_such() -> None:
    data = bytearray(zipped(a__xml=XML))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1

    with pytest.raises(MalformedReportError, match="encrypted"):
        drained(bytes(data), Budget(packed_bytes=len(data)))


def test_a_zip_whose_places_cannot_be_is_damaged() -> None:
    """Cut near its beginning, it points before itself: the library then raises what a bad disk does."""
    data = zipped(a__xml=XML)

    with pytest.raises(MalformedReportError, match="damaged"):
        opened("a.zip", data[:10] + data[11:])


def test_one_member_that_cannot_be_read_does_not_hide_the_others() -> None:
    data = bytearray(zipped(a__xml=XML, b__xml=XML))
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    read: dict[str, bytes | str] = {}
    for member in members_of("all.zip", io.BytesIO(data), Budget(packed_bytes=len(data))):
        try:
            read[member.name] = member.stream.read()
        except MalformedReportError as error:
            read[member.name] = error.reason

    assert read == {
        "all.zip/a.xml": "a.xml is encrypted: pack it without a password.",
        "all.zip/b.xml": XML,
    }


@pytest.mark.parametrize(("name", "limit"), [("ENTRY_LIMIT", 2), ("DIRECTORY_LIMIT_BYTES", 150)])
def test_a_zips_list_of_members_is_not_read_beyond_its_limit(
    monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    """The library reads it whole: three million entries would be two gigabytes."""
    monkeypatch.setattr(archive, name, limit)

    assert len(opened("all.zip", zipped(a__xml=XML, b__xml=XML))) == 2
    with pytest.raises(ReportLimitError, match="entries"):
        opened("all.zip", zipped(a__xml=XML, b__xml=XML, c__xml=XML))


def test_a_zip_that_was_cut_says_so() -> None:
    with pytest.raises(MalformedReportError, match="it was cut"):
        opened("all.zip", zipped(a__xml=XML)[:60])


def test_files_that_were_kept_in_the_end_are_not_counted_as_left_out() -> None:
    note = left_out_note(3, ["shot.png", "a/b.json", "c.txt"])

    assert note == "3 files of the archive are no reports and were left out: shot.png, a/b.json, c.txt"
    assert without_kept(note, ["shot.png", "read.xml"]) == (
        "2 files of the archive are no reports and were left out: a/b.json, c.txt"
    )
    assert without_kept(note, ["shot.png", "a/b.json"]) == (
        "1 file of the archive is no report and was left out: c.txt"
    )
    assert without_kept(note, ["shot.png", "a/b.json", "c.txt"]) == ""
    assert without_kept("The time “x” of a test case is no duration; it has none.", ["x"]) is None


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_other_methods_are_refused_by_name(method: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as packing:
        packing.writestr("a.xml", XML)

    with pytest.raises(MalformedReportError, match=r"a\.xml is packed by a method"):
        opened("a.zip", packed.getvalue())


@pytest.mark.parametrize(
    "pack", [zipped, tarred, lambda **files: tarred("w", **files)], ids=["zip", "gz", "tar"]
)
def test_bazels_earlier_tries_are_read_before_the_last(pack: Callable[..., bytes]) -> None:
    data = pack(
        **{
            "a/test__xml": b"<a3/>",
            "a/test_attempts/attempt_2__xml": b"<a2/>",
            "b/test_attempts/attempt_1__xml": b"<b1/>",
            "b/test__xml": b"<b2/>",
            "a/test_attempts/attempt_1__xml": b"<a1/>",
            "shot__png": b"x",
        }
    )
    budget = Budget(packed_bytes=len(data))
    found = list(opened("logs", data, budget).items())

    names = [name.removeprefix("logs/") for name, _ in found]
    assert sorted(names) == sorted(set(names))
    assert len(names) == 5
    assert names.index("a/test.xml") > names.index("a/test_attempts/attempt_2.xml")
    assert names.index("a/test.xml") > names.index("a/test_attempts/attempt_1.xml")
    assert names.index("b/test.xml") > names.index("b/test_attempts/attempt_1.xml")
    assert dict(found)["logs/a/test.xml"] == b"<a3/>"
    assert dict(found)["logs/a/test_attempts/attempt_1.xml"] == b"<a1/>"
    assert (budget.left_out_count, budget.left_out) == (1, ["shot.png"])


def test_an_archive_with_a_last_try_only_is_read() -> None:
    assert opened("a.tgz", tarred(test__xml=XML, other__xml=XML)) == {
        "a.tgz/test.xml": XML,
        "a.tgz/other.xml": XML,
    }
