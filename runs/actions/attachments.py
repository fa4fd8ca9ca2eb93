"""Keep the files that reports name, when they came with an upload, as artifacts of the run.

A report is read before anybody knows what it names, so archives are gone through again afterwards: once for
the names in them, and once more for the files that are wanted. All of it may be done again after a crash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from django.core.files.storage import default_storage

from runs.actions.artifacts import keep_artifact
from runs.ingestion.archive import NOTHING_TO_READ, Budget, members_of
from runs.ingestion.attachments import found_among, plain_path
from runs.ingestion.details import unpacked
from runs.ingestion.errors import ReportError
from runs.ingestion.formats import describe_bytes, may_be_report
from runs.models import Artifact, Report, ResultDetails, Run
from runs.vocabulary import UploadStatus

#: Test cases of a shard whose attachments are looked for.
CASE_LIMIT = 20_000
#: Files kept of one shard, and bytes of one upload's file with them.
FILE_LIMIT = 1_000
SIZE_LIMIT_BYTES = 200 * 1024 * 1024


@dataclass(slots=True)
class Kept:
    """What was kept of one file of an upload."""

    report: Report
    #: The file itself is what a report names.
    is_whole: bool = False
    #: Members of the archive, by their names.
    names: list[str] = field(default_factory=list)
    #: Why not all that is named was kept; empty when it was.
    problem: str = ""


def keep_attachments(run: Run, *, shard: int, reports: Sequence[Report]) -> Iterator[Kept]:
    """Keep what reports of the shard name and what is among these files; yields where there was any."""
    named, is_cut = _named(run, shard)
    if not named:
        return
    artifacts = Artifact.objects.filter(run=run, shard=shard).exclude(storage_name="")
    there = set(artifacts.values_list("path", flat=True))
    for report in reports:
        kept = Kept(report)
        _keep(kept, _Wanted(named, there), run, shard)
        if is_cut and not kept.problem:
            kept.problem = (
                f"Only what the first {CASE_LIMIT:,} test cases name was looked for among its files."
            )
        if kept.is_whole or kept.names or kept.problem:
            yield kept


class _Wanted:
    """Chooses among the names that were sent those that a report means."""

    def __init__(self, named: dict[str, list[str]], there: set[str]) -> None:
        self._named = named
        self._there = there

    def among(self, sent: Iterable[str]) -> set[str]:
        """Return those that reports name and that are not there yet."""
        by_last: defaultdict[str, list[str]] = defaultdict(list)
        for name in sent:
            if _last(name) in self._named:
                by_last[_last(name)].append(name)
        meant: defaultdict[str, set[str]] = defaultdict(set)
        for last, names in by_last.items():
            for path in self._named[last]:
                found = found_among(path, names)
                if found is not None:
                    meant[found].add(plain_path(path))
        new = {name: paths for name, paths in meant.items() if plain_path(name) not in self._there}
        return {name for name, paths in new.items() if _is_one(paths)}

    def note(self, path: str) -> bool:
        """Note that a file is there now; false when there are as many as may be."""
        self._there.add(path)
        return len(self._there) < FILE_LIMIT


def _keep(kept: Kept, wanted: _Wanted, run: Run, shard: int) -> None:
    report = kept.report
    with default_storage.open(report.storage_name, "rb") as opened:
        stream = cast("BinaryIO", opened)
        if _is_no_report(report, stream) and wanted.among([report.name]):
            keep_artifact(run_id=run.pk, shard=shard, path=plain_path(report.name), stream=stream)
            wanted.note(plain_path(report.name))
            kept.is_whole = True
            return
        names = _names_in(report, stream)
        chosen = wanted.among(names)
        if not chosen:
            return
        stream.seek(0)
        budget = Budget(report.size, unpacked_limit_bytes=SIZE_LIMIT_BYTES, chosen=chosen.__contains__)
        try:
            for member in members_of(report.name, stream, budget):
                name = member.name.removeprefix(f"{report.name}/")
                path = plain_path(name)
                keep_artifact(run_id=run.pk, shard=shard, path=path, stream=member.stream)
                kept.names.append(name)
                if not wanted.note(path):
                    kept.problem = f"A shard has up to {FILE_LIMIT:,} files beside its reports."
                    break
        except ReportError as error:
            kept.problem = f"Not all attachments were kept: {error.reason}"


def _is_no_report(report: Report, stream: BinaryIO) -> bool:
    """Whether it was refused or left out for being something else: a broken report stays a problem."""
    if report.status == UploadStatus.PARTIAL or report.case_count:
        return False
    beginning = stream.read(512)
    stream.seek(0)
    if not may_be_report(beginning):
        return True
    if report.status != UploadStatus.REJECTED:
        return False
    return bool(describe_bytes(beginning)) or any(
        problem["reason"] == NOTHING_TO_READ for problem in report.problems
    )


def _names_in(report: Report, stream: BinaryIO) -> list[str]:
    """The names of an archive's members; none for a file that is no archive, or a damaged one."""
    names: list[str] = []

    def note(name: str) -> bool:
        names.append(name)
        return False

    try:
        # Nothing is chosen: the archive is gone through for its names.
        for _ in members_of(report.name, stream, Budget(report.size, chosen=note)):
            pass
    except ReportError:
        pass
    return names


def _named(run: Run, shard: int) -> tuple[dict[str, list[str]], bool]:
    """The paths that the shard's reports name, by their last parts; and whether there may be more."""
    rows = ResultDetails.objects.filter(run=run, run_at=run.run_at, attachment_count__gt=0, shard=shard)
    paths: dict[str, None] = {}
    count = 0
    for body in rows.values_list("body", flat=True)[: CASE_LIMIT + 1].iterator():
        count += 1
        if count <= CASE_LIMIT:
            paths |= {one.path: None for one in unpacked(body).attachments if one.path}
    named: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        named[_last(path)].append(path)
    return dict(named), count > CASE_LIMIT


def _last(path: str) -> str:
    return plain_path(path).rpartition("/")[2]


def _is_one(paths: set[str]) -> bool:
    """Whether these may be one file: `/ci/out/a.png` and `out/a.png`, and not `x/a.png` and `y/a.png`."""
    longest = max(paths, key=len)
    return all(longest == path or longest.endswith(f"/{path}") for path in paths)
