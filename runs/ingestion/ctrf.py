"""Read CTRF, the Common Test Report Format: JSON with `results.tests`.

A case is known by its suites, its name with its parameters, its file, and the browser and device that it
ran in, without their versions. Its id, start, thread and tags are no part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from runs.ingestion.attachments import Attachment, attachment
from runs.ingestion.errors import MalformedReportError, NotAReportError
from runs.ingestion.formats import describe_json
from runs.ingestion.json_items import JsonItems
from runs.ingestion.report import DURATION_LIMIT_MS, AttemptRead, CaseRead, clean
from runs.ingestion.tally import Source, Tally, failure_text, output_text
from runs.vocabulary import FAILING, Outcome

BATCH_SIZE = 500
#: Characters of the tests in a batch: the last one may be much longer.
BATCH_CHARACTERS = 1_000_000
#: Attempts kept of one test.
ATTEMPT_LIMIT = 200
_SUITE_LIMIT = 100

_OUTCOMES = {
    "passed": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "skipped": Outcome.SKIPPED,
    "pending": Outcome.SKIPPED,
}
_VERSION = re.compile(r"[\s/_-]*v?\d.*$", re.DOTALL)


class CtrfReader:
    """Reads one report; see `ReportReader`."""

    def __init__(self, stream: BinaryIO, *, case_limit: int | None = None) -> None:
        self._items = JsonItems(stream, ["results", "tests"])
        self._tally = Tally(case_limit)
        self.summary = self._tally.summary

    def batches(self) -> Iterator[list[CaseRead]]:
        """Yield the cases; see `ReportReader.batches`."""
        tally = self._tally
        try:
            taken_size = 0
            for item in self._items:
                self._add(item)
                is_long = self._items.given_size - taken_size > BATCH_CHARACTERS
                if tally.cases and (is_long or len(tally.cases) >= BATCH_SIZE):
                    taken_size = self._items.given_size
                    yield self._taken()
        except MalformedReportError as error:
            if not self._items.was_found:
                raise NotAReportError(describe_json(self._items.beginning), line=error.line) from error
            if tally.cases:
                yield self._taken()
            raise
        if tally.cases:
            yield self._taken()
        if not self._items.was_found:
            raise NotAReportError(describe_json(self._items.beginning))

    def _taken(self) -> list[CaseRead]:
        cases, self._tally.cases = self._tally.cases, []
        return cases

    def _add(self, item: object) -> None:
        if not isinstance(item, dict):
            return
        suites = _suites(item.get("suite"))
        name = _text(item.get("name")).strip() + _parameters(item.get("parameters"))
        file = _text(item.get("filePath"))
        line = item.get("line")
        conditions = [_VERSION.sub("", _text(item.get(key)).strip()) for key in ("browser", "device")]
        attempts = self._attempts(item)
        labels = item.get("labels")
        self._tally.add(
            suites=suites,
            class_name="",
            name=name,
            attempts=attempts,
            source=Source(
                file, line if isinstance(line, int) and 0 < line < 2**31 else None, is_identifying=True
            ),
            variant=" ".join(part for part in conditions if part),
            properties=list(_labels(labels)) if isinstance(labels, dict) else (),
            attachments=list(_attachments(item)),
            reason=_text(item.get("message")),
        )

    def _attempts(self, item: Mapping[str, object]) -> list[AttemptRead]:
        told = item.get("retryAttempts")
        earlier = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
        retries = item.get("retries")
        # Some tools list the deciding attempt among the others.
        if (
            isinstance(retries, int)
            and len(earlier) == retries + 1
            and earlier[-1].get("status") == item.get("status")
        ):
            earlier = earlier[:-1]
        if len(earlier) > ATTEMPT_LIMIT:
            self._tally.note(
                f"A test has {len(earlier):,} earlier attempts; the first {ATTEMPT_LIMIT} of them are kept."
            )
        final = self._attempt(item, self._milliseconds(item.get("duration"), is_counted=True))
        attempts = [
            self._attempt(one, self._milliseconds(one.get("duration"))) for one in earlier[:ATTEMPT_LIMIT]
        ]
        if item.get("flaky") is True and final.outcome is Outcome.PASSED and not attempts:
            # It says that a try failed, and nothing of how.
            attempts = [
                AttemptRead(
                    Outcome.FAILED, None, failure_text("", "Failed, then passed: nothing more is told.", "")
                )
            ]
        return [*attempts, final]

    def _attempt(self, told: Mapping[str, object], milliseconds: int | None) -> AttemptRead:
        status = _text(told.get("status"))
        outcome = _OUTCOMES.get(status)
        if outcome is None:
            outcome = self._tally.unknown(_text(told.get("rawStatus")) or status)
        failure = None
        if outcome in FAILING:
            failure = failure_text("", _text(told.get("message")), _text(told.get("trace")))
        printed = output_text(_lines(told.get("stdout")), _lines(told.get("stderr")))
        return AttemptRead(outcome, milliseconds, failure, printed)

    def _milliseconds(self, told: object, *, is_counted: bool = False) -> int | None:
        if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= DURATION_LIMIT_MS:
            self.summary.time_sum_seconds += told / 1000 if is_counted else 0
            return round(told)
        if told is None:
            self.summary.time_missing_count += is_counted
        else:
            self.summary.time_bad_count += is_counted
            self._tally.note(
                f"The duration “{str(told)[:60]}” of a test is no number of milliseconds; it has none."
            )
        return None


def _text(value: object) -> str:
    """A string that can be stored (JSON may hold NUL and half a character), nothing of anything else."""
    return clean(value) if isinstance(value, str) else ""


def _lines(value: object) -> str:
    if isinstance(value, list):
        return "\n".join(_text(line) for line in value if isinstance(line, str))
    return _text(value)


def _suites(value: object) -> list[str]:
    """The chain of suites: a list today, one string with `>` in it before."""
    parts = value if isinstance(value, list) else _text(value).split(" > ")
    return [part for part in (_text(one).strip() for one in parts) if part][:_SUITE_LIMIT]


def _parameters(value: object) -> str:
    """Parameters as a part of the name: two tests of one name differ by nothing else."""
    if not isinstance(value, dict) or not value:
        return ""
    return clean(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))).join("[]")


def _attachments(item: Mapping[str, object]) -> Iterator[Attachment]:
    """A test's files, those of its attempts first, as they were made first."""
    tries = item.get("retryAttempts")
    for told in (*(tries if isinstance(tries, list) else ()), item):
        files = told.get("attachments") if isinstance(told, dict) else None
        for one in files if isinstance(files, list) else ():
            if isinstance(one, dict) and _text(one.get("path")).strip():
                yield attachment(
                    _text(one.get("path")), _text(one.get("name")), _text(one.get("contentType"))
                )


def _labels(labels: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in labels.items():
        values = value if isinstance(value, list) else [value]
        yield clean(name), clean(", ".join(str(one) for one in values if isinstance(one, str | int | float)))
