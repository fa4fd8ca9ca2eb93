"""CTRF, and other JSON."""

from __future__ import annotations

import io
import time

import pytest

from runs.ingestion import ctrf, json_items
from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportLimitError
from runs.vocabulary import Outcome
from tests.runs.ingestion.reading import ctrf_of, names, outcomes, read, reader_of


def test_ctrf_is_read() -> None:
    cases, summary = read(
        ctrf_of(
            {
                "name": "pays",
                "status": "passed",
                "duration": 12,
                "suite": ["shop", "orders"],
                "filePath": "a/b.ts",
                "line": 3,
            },
            {
                "name": "refunds",
                "status": "failed",
                "duration": 5.4,
                "message": "no",
                "trace": "at x",
                "stdout": ["a", "b"],
            },
            {"name": "later", "status": "pending", "duration": 0},
            {"name": "odd", "status": "other", "rawStatus": "timedOut", "duration": -1},
            {"name": "pays", "status": "passed", "duration": 1, "parameters": {"b": 1, "a": "x"}},
            {"name": "pays", "status": "passed", "duration": 1, "browser": "chromium 131.0.1"},
        )
    )

    assert names(cases)[0] == ("shop › orders", "", "pays")  # noqa: RUF001 - a sign between suites
    assert (cases[0].file, cases[0].line) == ("a/b.ts", 3)
    assert outcomes(cases) == ["passed", "failed", "skipped", "errored", "passed", "passed"]
    assert [case.attempts[0].duration_ms for case in cases] == [12, 5, 0, None, 1, 1]
    failed = cases[1].attempts[0]
    assert failed.failure is not None
    assert (failed.failure.message, failed.failure.text, failed.output) == ("no", "at x", "a\nb")
    assert cases[4].name == 'pays["a": "x", "b": 1]'.replace("[", "[{").replace("]", "}]")
    assert cases[5].variant == "chromium"
    assert len({case.identity for case in cases}) == 6
    assert (summary.time_bad_count, summary.case_count) == (1, 6)


@pytest.mark.parametrize("retries", [1, None])
def test_retries_of_ctrf_are_attempts(retries: int | None) -> None:
    lost = {"attempt": 1, "status": "failed", "duration": 7, "message": "once"}
    test = {
        "name": "t",
        "status": "passed",
        "duration": 9,
        "retries": retries,
        "flaky": True,
        "retryAttempts": [lost],
    }

    [case], summary = read(ctrf_of(test))

    assert [(one.outcome, one.duration_ms) for one in case.attempts] == [
        (Outcome.FAILED, 7),
        (Outcome.PASSED, 9),
    ]
    assert (summary.passed_count, summary.flaky_count) == (1, 1)
    [listed] = read(
        ctrf_of({**test, "retries": 1, "retryAttempts": [lost, {"attempt": 2, "status": "passed"}]})
    )[0]
    assert [one.outcome for one in listed.attempts] == [Outcome.FAILED, Outcome.PASSED]
    [untold] = read(ctrf_of({"name": "t", "status": "passed", "duration": 9, "flaky": True}))[0]
    assert [one.outcome for one in untold.attempts] == [Outcome.FAILED, Outcome.PASSED]


def test_ctrf_is_read_wherever_its_chunks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    document = ctrf_of(
        *({"name": f't"{n}\\{{[', "status": "passed", "duration": n} for n in range(20)), extra={"é": "]}"}
    )
    whole = names(read(document)[0])
    for size in (1, 2, 3, 7, 50):
        monkeypatch.setattr(json_items, "CHUNK_BYTES", size)
        reader = ctrf.CtrfReader(io.BytesIO(document.encode()))
        assert names([case for batch in reader.batches() for case in batch]) == whole
    assert len(whole) == 20


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ("{}", "no CTRF"),
        ('{"results": {"tests": {}}}', "no CTRF"),
        ('{"tests": []}', "no CTRF"),
        ('{"a": 1}\n{"b": 2}', "no CTRF"),
        ("[1, 2]", "JSON"),
        ('{"log": {"results": {"tests": [{}]}}}', "no CTRF"),
    ],
)
def test_other_json_is_named(document: str, word: str) -> None:
    with pytest.raises(NotAReportError, match=word):
        read(document)


def test_what_json_may_hold_and_a_row_may_not_is_left_out() -> None:
    odd = "a\ud800\0b"
    told = dict.fromkeys(("name", "message", "trace", "filePath", "browser", "status"), odd)
    more = {
        "suite": [odd],
        "stdout": [odd],
        "labels": {odd: [odd, 1], "service": odd},
        "parameters": {odd: odd},
    }
    [case], summary = read(ctrf_of(told | more | {"attachments": [{"path": odd, "name": odd}]}))

    held = repr((case, summary.notes))
    assert "\\ud800" not in held
    assert "\\x00" not in held
    assert (case.path, case.file, case.services) == ("a?b", "a?b", ("a?b",))


def test_json_is_read_up_to_where_it_is_no_utf_8() -> None:
    document = ctrf_of({"name": "a", "status": "passed"}, {"name": "b"}).encode().replace(b'"b"', b'"\xff"')
    reader = reader_of(document)
    batches = reader.batches()

    assert [case.name for case in next(batches)] == ["a"]
    with pytest.raises(MalformedReportError, match="no UTF-8"):
        next(batches)


def test_long_tests_of_json_are_given_out_before_they_are_many() -> None:
    tests = [{"name": f"{number}{'x' * 400_000}"} for number in range(7)]

    assert [len(batch) for batch in reader_of(ctrf_of(*tests)).batches()] == [3, 3, 1]


def test_a_long_string_of_json_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun anew with each piece of it, ten that were as long as may be took a minute."""
    monkeypatch.setattr(json_items, "CHUNK_BYTES", 4_096)
    document = ctrf_of({"name": "a", "status": "passed", "trace": "y" * 2_000_000 + '\\"' * 5_000})
    begun = time.process_time()

    [case], _ = read(document)

    assert case.name == "a"
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("part", ["{}", "[]", "1", '"":1'])
def test_a_test_of_too_many_parts_is_refused_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(json_items, "SIGN_LIMIT", 1_000)
    inner = ",".join([part] * 1_200)
    held = f"{{{inner}}}" if ":" in part else f"[{inner}]"

    with pytest.raises(ReportLimitError, match="1,000 parts"):
        read(f'{{"reportFormat": "CTRF", "results": {{"tests": [{{"x": {held}}}]}}}}')
