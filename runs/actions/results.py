"""Store reports: the only writer of results, attempts, failures and test cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from runs.vocabulary import UploadStatus


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A result file to be stored.

    Either it lies in Django's default storage already (`storage_name`), or `open` gives its bytes, from
    the start, each time it is called: `ReportFile("junit.xml", open=lambda: path.open("rb"))`.
    """

    #: As people know it: its path in the tests' container or in the upload.
    name: str
    open: Callable[[], BinaryIO] | None = None
    storage_name: str = ""


@dataclass(frozen=True, slots=True)
class StoredProblem:
    """What could not be taken, for people: which file, which line (if known), why."""

    file: str
    reason: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """What the run holds now, all shards together; `flaky` ones passed in the end."""

    tests: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0
    skipped: int = 0
    flaky: int = 0


@dataclass(frozen=True, slots=True)
class StoredReports:
    """What came of some reports."""

    #: Of the run, after these reports.
    counts: StoredCounts = field(default_factory=StoredCounts)
    #: Test cases read from these reports.
    case_count: int = 0
    problems: list[StoredProblem] = field(default_factory=list)
    #: `stored`: all were taken; `partial`: some; `rejected`: none could be read.
    status: UploadStatus = UploadStatus.STORED


def store_reports(
    *, run_id: int, shard: int = 1, files: Sequence[ReportFile], upload_id: int | None = None
) -> StoredReports:
    """Keep the files as they are, and what they say as results of the run.

    Unreadable reports raise nothing: they come back as problems with file, line and reason, and are kept
    for a person to look at. The same report stored twice is stored once.
    """
    raise NotImplementedError
