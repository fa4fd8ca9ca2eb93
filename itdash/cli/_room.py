"""How much room there is here, what takes it, and how long it lasts: what `itdash doctor` says of storage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runs.analytics.storage import LOOKED_AHEAD, Stored, daily, days_left, sizes_in, told

#: Below these somebody should do something: days, and the free share of the disk.
FEWEST_DAYS: Final = 30
LEAST_SHARE: Final = 0.1
#: Files of the data folder that are looked at: a few seconds' worth.
FILES_LOOKED_AT: Final = 300_000
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that the data folder is on, and what the folder takes of it."""

    total: int
    free: int
    taken: int
    #: There are more files than were looked at.
    is_cut: bool = False

    @property
    def is_short(self) -> bool:
        """Whether less than a tenth is free."""
        return self.free < self.total * LEAST_SHARE


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is stored where, and for how long the disk lasts at its pace."""

    #: On the disk of the data folder.
    here: Sequence[Stored]
    #: In a bucket, or in a database that may be on another machine.
    elsewhere: Sequence[Stored]
    days: int | None

    @classmethod
    def of(cls, stored: Sequence[Stored], *, free: int, has_database: bool, has_files: bool) -> Outlook:
        """Tell what lies on this disk from what does not, as far as is known here."""
        here = [one for one in stored if (has_files if one.is_file else has_database)]
        return cls(here, [one for one in stored if one not in here], days_left(here, free))

    @property
    def is_short(self) -> bool:
        """Whether the disk is full within weeks."""
        return self.days is not None and self.days < FEWEST_DAYS

    @property
    def words(self) -> str:
        """Until when there is room."""
        pace = f"{told(daily(self.here))} a day here"
        if self.days is not None:
            return (
                f"{pace}: full in {self.days:,} day{'' if self.days == 1 else 's'} at the pace of four weeks"
            )
        if not daily(self.here):
            return "nothing grows here"
        ahead = told(sizes_in(self.here, LOOKED_AHEAD))
        return f"{pace}; at the pace of four weeks it stays below {ahead}, which there is room for"


def disk_of(data_dir: Path, place: Path) -> Disk:
    """Measure the disk of `place`, and the data folder on it."""
    usage = shutil.disk_usage(place)
    taken, is_cut = _taken(data_dir)
    return Disk(usage.total, usage.free, taken, is_cut)


def kinds_told(stored: Sequence[Stored]) -> str:
    """Database and files, each by what it takes."""
    database = sum(one.size for one in stored if not one.is_file)
    files = sum(one.size for one in stored if one.is_file)
    return f"{told(database)} in the database, {told(files)} of reports and artifacts"


def _taken(folder: Path) -> tuple[int, bool]:
    """Bytes on the disk of what is in the folder, and whether there is more than was looked at."""
    total = count = 0
    waiting = [str(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:  # it went meanwhile, or is somebody else's
            continue
        with entries:
            for entry in entries:
                if count == FILES_LOOKED_AT:
                    return total, True
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                except OSError:
                    continue
    return total, False
