"""Take reports and artifacts out of the tests' container, within bounds, saying what was left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from environments.engine import CollectedFile
from runs.actions.artifacts import Readable, keep_artifact
from runs.actions.results import ReportFile

type Masked = Callable[[Readable], Readable]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is taken from one shard."""

    count: int
    #: Of all files together.
    size_bytes: int


REPORT_BOUNDS = Bounds(count=5_000, size_bytes=250 * 1024 * 1024)
ARTIFACT_BOUNDS = Bounds(count=1_000, size_bytes=200 * 1024 * 1024)


@dataclass(slots=True)
class Taken:
    """What was taken, and what was not because it would have been too much."""

    count: int = 0
    size_bytes: int = 0
    left: list[str] = field(default_factory=list)

    def fits(self, file: CollectedFile, bounds: Bounds) -> bool:
        """Count a file in, or among those left behind."""
        if self.count >= bounds.count or self.size_bytes + file.size > bounds.size_bytes:
            self.left.append(file.path)
            return False
        self.count += 1
        self.size_bytes += file.size
        return True

    def notice(self, what: str, bounds: Bounds) -> str:
        """Say what was left behind; empty when nothing was."""
        if not self.left:
            return ""
        return (
            f"{len(self.left)} {what} were not kept, the first of them {self.left[0]}: a shard may leave "
            f"{bounds.count:,} of them and {bounds.size_bytes // 1024 // 1024} MiB together."
        )


def _as_it_is(file: Readable) -> Readable:
    return file


def take_reports(
    files: Iterable[CollectedFile],
    folder: Path,
    *,
    bounds: Bounds = REPORT_BOUNDS,
    masked: Masked = _as_it_is,
) -> tuple[list[ReportFile], Taken]:
    """Copy reports into `folder`, where they can be read again and again; `masked` takes secrets out."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = Taken()
    reports = []
    for file in files:
        if not taken.fits(file, bounds):
            continue
        copy = folder / f"{taken.count:05}.xml"
        with copy.open("wb") as target:
            shutil.copyfileobj(masked(file.stream), target, 1024 * 1024)
        reports.append(ReportFile(name=file.path, open=partial(_open, copy)))
    return reports, taken


def take_artifacts(
    files: Iterable[CollectedFile],
    *,
    run_id: int,
    shard: int,
    reports: Sequence[ReportFile] = (),
    bounds: Bounds = ARTIFACT_BOUNDS,
    masked: Masked = _as_it_is,
) -> Taken:
    """Keep files as the run's artifacts, except those that were taken as reports already."""
    known = {report.name for report in reports}
    taken = Taken()
    for file in files:
        if file.path not in known and taken.fits(file, bounds):
            keep_artifact(run_id=run_id, shard=shard, path=file.path, stream=masked(file.stream))
    return taken


def _open(path: Path) -> BinaryIO:
    return path.open("rb")
