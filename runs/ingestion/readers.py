"""Find the reader of a report, by what is in it and never by its name."""

from __future__ import annotations

from typing import BinaryIO

from runs.ingestion.ctrf import CtrfReader
from runs.ingestion.feeding import ReportReader, begun, is_json
from runs.ingestion.junit import JUnitReader
from runs.ingestion.nunit import NUnitWalk
from runs.ingestion.records import RecordReader
from runs.ingestion.trx import TrxReader
from runs.ingestion.xunit_net import XUnitNetWalk


def report_reader(stream: BinaryIO, *, case_limit: int | None = None) -> ReportReader:
    """Return what reads this report. Whatever is not known goes to JUnit's, which says what it is.

    Raises:
        ReportError: the stream's own, such as a damaged archive's.
    """
    beginning, tag, whole = begun(stream)
    namespace, _, root = tag.rpartition("}")
    match root:
        case "TestRun":
            return TrxReader(whole, case_limit=case_limit)
        case "test-run" | "test-results":
            return RecordReader(whole, NUnitWalk(case_limit))
        case "test-suite" if not namespace:  # a part of an NUnit report; Allure's has a namespace
            return RecordReader(whole, NUnitWalk(case_limit))
        case "assemblies" | "assembly":
            return RecordReader(whole, XUnitNetWalk(case_limit))
    if is_json(beginning):
        return CtrfReader(whole, case_limit=case_limit)
    return JUnitReader(whole, case_limit=case_limit)
