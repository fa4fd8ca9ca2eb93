"""What `itdash doctor` says of the room there is, worked out by hand."""

from __future__ import annotations

from pathlib import Path

from itdash.cli._room import Disk, Outlook, disk_of, kinds_told
from runs.analytics.storage import Stored

GIB = 1024**3
RESULTS = Stored("results", 10 * GIB, GIB / 2, 0)
REPORTS = Stored("reports", 4 * GIB, GIB / 2, 0, is_file=True)


def test_all_that_grows_on_the_disk_counts_until_it_is_full() -> None:
    outlook = Outlook.of([RESULTS, REPORTS], free=29 * GIB + 5, has_database=True, has_files=True)

    assert (outlook.days, outlook.is_short, outlook.elsewhere) == (29, True, [])
    assert outlook.words == "1.0 GiB a day here: full in 29 days at the pace of four weeks"


def test_what_lies_elsewhere_does_not_fill_this_disk() -> None:
    in_a_bucket = Outlook.of([RESULTS, REPORTS], free=29 * GIB, has_database=True, has_files=False)
    both_away = Outlook.of([RESULTS, REPORTS], free=29 * GIB, has_database=False, has_files=False)

    assert (in_a_bucket.days, in_a_bucket.is_short, in_a_bucket.elsewhere) == (58, False, [REPORTS])
    assert (both_away.days, both_away.words) == (None, "nothing grows here")


def test_what_retention_holds_is_said_to_stay() -> None:
    held = Stored("results", 10 * GIB, GIB / 2, 60)

    outlook = Outlook.of([held], free=20 * GIB, has_database=True, has_files=True)

    assert (outlook.days, outlook.is_short) == (None, False)
    assert outlook.words == (
        "512.0 MiB a day here; at the pace of four weeks it stays below 30.0 GiB, which there is room for"
    )
    assert kinds_told([held, REPORTS]) == "10.0 GiB in the database, 4.0 GiB of reports and artifacts"


def test_a_disk_is_short_below_a_tenth() -> None:
    assert not Disk(total=100, free=10, taken=0).is_short
    assert Disk(total=100, free=9, taken=0).is_short


def test_a_folder_takes_what_its_files_take_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    before = disk_of(tmp_path, tmp_path).taken
    (tmp_path / "loop").symlink_to(tmp_path)

    disk = disk_of(tmp_path, tmp_path)

    assert disk.taken - before < 10_000  # the link itself
    assert 100_000 <= before < 200_000
    assert disk.free < disk.total
    assert disk_of(tmp_path / "not-there", tmp_path).taken == 0
