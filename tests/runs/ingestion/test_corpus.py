"""Every file of the corpus is handled as its index expects: 413 files of some 90 tools."""

from __future__ import annotations

import math
import re
from pathlib import Path
from unicodedata import normalize

import pytest

from runs.ingestion.attempts import Try, fold_tries
from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportError, UnsafeReportError
from runs.ingestion.identity import stable_file
from runs.ingestion.junit import JUnitReader
from runs.ingestion.report import CaseRead, ReportSummary
from runs.vocabulary import Outcome
from tests.runs.ingestion.corpus import Row, rows_of

COLUMNS = {
    "suites": "suite_count",
    "testcases": "case_count",
    "failures": "failed_count",
    "errors": "errored_count",
    "flaky": "flaky_count",
    "rerun_failed": "rerun_failed_count",
    "suite_level_errors": "suite_error_count",
    "time_bad": "time_bad_count",
    "time_missing": "time_missing_count",
}


def read(path: Path) -> tuple[ReportSummary, list[CaseRead]]:
    with path.open("rb") as stream:
        reader = JUnitReader(stream)
        cases = [case for batch in reader.batches() for case in batch]
    return reader.summary, cases


def differences(row: Row, summary: ReportSummary) -> list[str]:
    found = [
        f"{column}: {getattr(summary, field)}, not {row[column]}"
        for column, field in COLUMNS.items()
        if getattr(summary, field) != int(row[column])
    ]
    # Cases that only an attribute says are skipped: the index counts them as passed and calls both right.
    by_attribute = int(row["skip_attr"])
    if summary.passed_count != int(row["passed"]) - by_attribute:
        found.append(f"passed: {summary.passed_count}, not {row['passed']} - {by_attribute}")
    if summary.skipped_count != int(row["skipped"]) + by_attribute:
        found.append(f"skipped: {summary.skipped_count}, not {row['skipped']} + {by_attribute}")
    if not math.isclose(summary.time_sum_seconds, float(row["time_sum"]), abs_tol=1e-5, rel_tol=1e-9):
        found.append(f"time: {summary.time_sum_seconds}, not {row['time_sum']}")
    return found


def test_counts_equal_the_index_on_every_readable_file(corpus: Path) -> None:
    rows = rows_of(corpus, "ok", "empty")

    wrong = {str(path): found for path, row in rows if (found := differences(row, read(path)[0]))}

    assert wrong == {}
    assert rows


def test_every_case_comes_out_once_with_its_outcome(corpus: Path) -> None:
    for path, row in rows_of(corpus, "ok", "empty"):
        summary, cases = read(path)
        outcomes = [
            fold_tries([Try(one.outcome, one.duration_ms) for one in case.attempts]).outcome for case in cases
        ]

        assert len(cases) == int(row["testcases"]), path
        assert outcomes.count(Outcome.FAILED) == summary.failed_count, path
        assert outcomes.count(Outcome.ERRORED) == summary.errored_count, path


def test_malformed_files_give_one_error_with_a_line_and_a_reason(corpus: Path) -> None:
    for path, row in rows_of(corpus, "malformed"):
        with pytest.raises((MalformedReportError, NotAReportError, UnsafeReportError)) as caught:
            read(path)
        assert caught.value.reason, row
        assert (caught.value.line or 0) >= 1, row


def test_an_empty_file_is_called_empty(corpus: Path) -> None:
    for path, _ in rows_of(corpus, "empty-file"):
        with pytest.raises(NotAReportError, match="empty"):
            read(path)


def test_unsafe_files_are_refused(corpus: Path) -> None:
    for path, _ in rows_of(corpus, "unsafe"):
        with pytest.raises((UnsafeReportError, NotAReportError)):
            read(path)


def test_other_formats_are_named(corpus: Path) -> None:
    names = {
        "robot-output": "Robot Framework",
        "ctest-dashboard": "CTest",
        "boost-native": "Boost.Test",
        "jenkins-junitResult": "Jenkins",
        "failsafe-summary": "Failsafe",
        "allure1": "Allure",
        "other": "",
    }
    rows = [(path, row) for path, row in rows_of(corpus, "not-junit") if row["dialect"] in names]
    assert len(rows) > 15
    for path, row in rows:
        with pytest.raises(NotAReportError) as caught:
            read(path)
        assert names[row["dialect"]] in caught.value.reason, path


def test_deep_files_end_cleanly(corpus: Path) -> None:
    for path, _ in rows_of(corpus, "parser-limit"):
        try:
            read(path)
        except ReportError as error:
            assert error.reason, path  # noqa: PT017 - reading it is as good as refusing it


def test_no_two_tests_of_a_report_share_an_identity_and_none_has_two(corpus: Path) -> None:
    """Tests are the same when all that the report tells of them is: then one of them is a further try."""
    for path, _ in rows_of(corpus, "ok", "empty"):
        by_identity: dict[bytes, set[tuple[str, ...]]] = {}
        identities: dict[tuple[str, ...], set[bytes]] = {}
        for case in read(path)[1]:
            told = (case.path, case.class_name, case.name, stable_file(case.file), case.variant)
            # One letter may be written in two ways that look alike; the file with all such letters says so.
            key = tuple(normalize("NFC", part) for part in told)
            by_identity.setdefault(case.identity, set()).add(key)
            identities.setdefault(key, set()).add(case.identity)
        assert all(len(keys) == 1 for keys in by_identity.values()), path
        assert all(len(own) == 1 for own in identities.values()), path


def test_repetitions_are_those_of_the_index_but_where_more_is_known_than_names(corpus: Path) -> None:
    known = {
        # Playwright's projects, which only the host's name tells apart.
        "local__playwright.xml": 0,
        # Each repeated name has a file of its own.
        "xunit-plugin__phpunit_testcase10_input.xml": 0,
        # An empty name is as good as none.
        "missing-attributes.xml": 2,
        # One letter in two ways of writing it.
        "rtl-zero-width-nfd.xml": 1,
    }
    wrong = {}
    for path, row in rows_of(corpus, "ok", "empty"):
        cases = read(path)[1]
        repeated = len(cases) - len({case.identity for case in cases})
        if repeated != known.get(path.name, int(row["dup_ids"])):
            wrong[path.name] = (repeated, row["dup_ids"])

    assert wrong == {}


def test_a_report_read_again_or_in_other_pieces_has_the_same_identities(corpus: Path) -> None:
    for path, row in rows_of(corpus, "ok"):
        if int(row["bytes"]) > 60_000:
            continue
        with path.open("rb") as stream, pytest.MonkeyPatch.context() as patch:
            patch.setattr("runs.ingestion.feeding.CHUNK_BYTES", 509)
            pieces = [case for batch in JUnitReader(stream).batches() for case in batch]
        assert pieces == read(path)[1], path


def test_properties_and_attachments_are_those_of_the_index(corpus: Path) -> None:
    wrong = {}
    for path, row in rows_of(corpus, "ok", "empty"):
        summary, cases = read(path)
        of_suites = sum(len(one.properties) for one in summary.suite_properties)
        found = [
            of_suites + summary.suite_property_left_count,
            sum(len(case.properties) for case in cases),
            # Those that outputs name; the index does not count properties that name a file.
            sum(
                len(case.attachments)
                for case in cases
                if any("[[ATTACHMENT|" in attempt.output for attempt in case.attempts)
            ),
        ]
        expected = [int(row[column]) for column in ("suite_props", "case_props", "attachments")]
        if found != expected:
            wrong[path.name] = (found, expected)

    assert wrong == {}


def test_attachments_stay_in_the_output_that_names_them(corpus: Path) -> None:
    """As Jenkins has them: `[[ATTACHMENT|path]]`, whole and with a path. They are text; nothing is opened."""
    for path, row in rows_of(corpus, "ok"):
        outputs = [attempt.output for case in read(path)[1] for attempt in case.attempts]
        found = sum(len(re.findall(r"\[\[ATTACHMENT\|[^\]\n]+\]\]", output)) for output in outputs)
        assert found == int(row["attachments"]), path
