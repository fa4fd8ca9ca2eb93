"""Reports of any format read from a text, for the tests of readers."""

from __future__ import annotations

import io
import json

import pytest

from runs.ingestion.errors import MalformedReportError
from runs.ingestion.feeding import ReportReader
from runs.ingestion.readers import report_reader
from runs.ingestion.report import CaseRead, ReportSummary


def reader_of(document: str | bytes, case_limit: int | None = None) -> ReportReader:
    data = document.encode() if isinstance(document, str) else document
    return report_reader(io.BytesIO(data), case_limit=case_limit)


def read(document: str | bytes, case_limit: int | None = None) -> tuple[list[CaseRead], ReportSummary]:
    reader = reader_of(document, case_limit)
    return [case for batch in reader.batches() for case in batch], reader.summary


def names(cases: list[CaseRead]) -> list[tuple[str, str, str]]:
    return [(case.path, case.class_name, case.name) for case in cases]


def outcomes(cases: list[CaseRead]) -> list[str]:
    return [case.attempts[-1].outcome.value for case in cases]


def kept_until_the_fault(document: str) -> tuple[list[CaseRead], MalformedReportError]:
    reader = reader_of(document)
    cases: list[CaseRead] = []
    with pytest.raises(MalformedReportError) as caught:  # noqa: PT012 - what came before the fault is wanted
        for batch in reader.batches():
            cases.extend(batch)
    assert reader.summary.case_count == len(cases)
    return cases, caught.value


def ctrf_of(*tests: object, **more: object) -> str:
    return json.dumps(
        {
            "reportFormat": "CTRF",
            "specVersion": "0.0.0",
            **more,
            "results": {"tool": {"name": "x"}, "tests": tests},
        }
    )
