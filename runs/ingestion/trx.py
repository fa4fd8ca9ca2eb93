"""Read TRX, the results of Visual Studio's test platform (`dotnet test --logger trx`, MSTest, vstest).

A result only names its test; its class stands in a definition that usually comes after all results. So the
document is read twice: for the definitions, then for the results. A case is known by its assembly's file
name, its class and its name with parameters, not by ids, machines or directories.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, cast, override

from runs.ingestion.attachments import attachment
from runs.ingestion.errors import MalformedReportError, ReportLimitError
from runs.ingestion.feeding import CHUNK_BYTES, read_xml
from runs.ingestion.nunit import split_name
from runs.ingestion.records import Element, RecordWalk
from runs.ingestion.report import AttemptRead, CaseRead
from runs.ingestion.tally import failure_text, file_name, output_text
from runs.vocabulary import FAILING, Outcome

#: Definitions kept; each costs some 150 bytes. And characters of their ids and classes together.
DEFINITION_LIMIT = 500_000
DEFINITIONS_LIMIT = 64_000_000
#: Elements of one result: a data-driven test holds all its rows, some of which hold failures.
_ROW_ELEMENT_LIMIT = 20_000
_IN_MEMORY_BYTES = 4 * 1024 * 1024
#: Characters of a test's name, and of what tells its rows apart, where rows have no names of their own. Each
#: row has a copy, so here a hostile name would cost as often as there are rows.
_ROW_NAME_LIMIT = 2_000
_ROW_LABEL_LIMIT = 200

_OUTCOMES = {
    "passed": Outcome.PASSED,
    "passedbutrunaborted": Outcome.PASSED,
    "completed": Outcome.PASSED,
    "warning": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "error": Outcome.ERRORED,
    "timeout": Outcome.ERRORED,
    "aborted": Outcome.ERRORED,
    "disconnected": Outcome.ERRORED,
    # What is left out of a result is the first of the enumeration.
    "": Outcome.ERRORED,
    "inprogress": Outcome.ERRORED,
    "inconclusive": Outcome.SKIPPED,
    "notexecuted": Outcome.SKIPPED,
    "notrunnable": Outcome.SKIPPED,
    "notapplicable": Outcome.SKIPPED,
    "blocked": Outcome.SKIPPED,
    "paused": Outcome.SKIPPED,
    "pending": Outcome.SKIPPED,
}
_RESULTS = frozenset(
    {"UnitTestResult", "TestResultAggregation", "TestResult", "WebTestResult", "GenericTestResult"}
)
#: What stands in a test run. CppUnit's and AUnit's own reports have the same root and none of these.
_PARTS = frozenset({"Results", "TestDefinitions", "ResultSummary", "TestSettings", "TestLists", "Times"})
_RUN_PROBLEMS = frozenset({"error", "failed", "aborted", "timeout"})


class Definition(NamedTuple):
    """What a report says of a test beside its results."""

    class_name: str
    assembly: str
    categories: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Characters in it."""
        return len(self.class_name) + len(self.assembly) + sum(map(len, self.categories))


_UNKNOWN = Definition("", "")


class TrxReader:
    """Reads one report; see `ReportReader`."""

    def __init__(self, stream: BinaryIO, *, case_limit: int | None = None) -> None:
        self._stream = stream
        self._definitions = _Definitions()
        self._walk = _Results(case_limit, self._definitions.known)
        self.summary = self._walk.summary

    def batches(self) -> Iterator[list[CaseRead]]:
        """Yield the cases; see `ReportReader.batches`."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
            while chunk := self._stream.read(CHUNK_BYTES):
                spool.write(chunk)
            copy = cast("BinaryIO", spool)
            spool.seek(0)
            # A fault is met again in the second reading, which knows what stood before it.
            for _ in _until_fault(read_xml(copy, self._definitions)):
                pass
            spool.seek(0)
            yield from read_xml(copy, self._walk)
            self._walk.refuse_others()


def _until_fault(batches: Iterator[list[CaseRead]]) -> Iterator[list[CaseRead]]:
    try:
        yield from batches
    except MalformedReportError:
        return


class _Definitions(RecordWalk):
    """The first reading: which class a test's id stands for."""

    records = frozenset({"UnitTest", "OrderedTest", "GenericTest", "WebTest", "TestElement"})

    def __init__(self) -> None:
        super().__init__(None)
        self.known: dict[str, Definition] = {}
        self._shared: dict[Definition, Definition] = {}
        self._size = 0

    @override
    def record(self, element: Element) -> None:
        method = element.first("TestMethod")
        storage = element.get("storage")
        # Older versions add the assembly: `Shop.OrderTest, Shop.Tests, Version=1.0.0.0, Culture=neutral`.
        class_name = method.get("className").partition(",")[0].strip() if method else ""
        assembly = (method.get("codeBase") if method else "") or storage
        categories = [one.get("TestCategory") for one in element.all("TestCategory", "TestCategoryItem")]
        definition = Definition(class_name, file_name(assembly).lower(), tuple(filter(None, categories)))
        if len(self.known) >= DEFINITION_LIMIT:
            reason = f"More than {DEFINITION_LIMIT:,} test definitions."
            raise ReportLimitError(reason)
        test_id = element.get("id")
        self._size += len(test_id) + (definition.size if definition not in self._shared else 0)
        if self._size > DEFINITIONS_LIMIT:
            reason = f"The test definitions have more than {DEFINITIONS_LIMIT:,} characters."
            raise ReportLimitError(reason)
        self.known[test_id] = self._shared.setdefault(definition, definition)


class _Results(RecordWalk):
    """The second reading."""

    records = _RESULTS | {"RunInfo"}
    child_limit = _ROW_ELEMENT_LIMIT

    def __init__(self, case_limit: int | None, definitions: Mapping[str, Definition]) -> None:
        super().__init__(case_limit)
        self._definitions = definitions

    @override
    def container(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.is_known = self.is_known or tag in _PARTS
        if tag == "Times":
            self.summary.timestamp = self.summary.timestamp or attributes.get("start", "")

    @override
    def record(self, element: Element) -> None:
        if element.tag == "RunInfo":
            self._run_problem(element)
        else:
            self._result(element, name_around="")

    def _run_problem(self, element: Element) -> None:
        text = element.said("Text")
        # xUnit.net's adapter tells each failing test here once more.
        is_news = text.strip() and not text.rstrip().endswith("[FAIL]")
        if is_news and element.get("outcome").lower() in _RUN_PROBLEMS:
            self.suite_error("test run", failure_text("", text.strip().splitlines()[0], text))

    def _result(self, element: Element, name_around: str) -> bool:
        """Add the result, or those of its rows instead; whether something in it failed."""
        full_name = element.get("testName")
        if name_around and full_name in {"", name_around}:
            # A row of a data-driven test that has no name of its own.
            row = (element.get("dataRowInfo") or element.get("executionId"))[:_ROW_LABEL_LIMIT]
            full_name = f"{name_around} [{row}]"
        rows = [one for one in (element.first("InnerResults") or element).children if one.tag in _RESULTS]
        rows_failed = [self._result(row, full_name[:_ROW_NAME_LIMIT]) for row in rows]
        outcome = _OUTCOMES.get(element.get("outcome").lower())
        if outcome is None:
            outcome = self.unknown(element.get("outcome"))
        # Rows speak for themselves, except where all are good and the whole is not.
        if not rows or (outcome in FAILING and not any(rows_failed)):
            self._add(element, full_name, outcome)
        return outcome in FAILING or any(rows_failed)

    def _add(self, element: Element, full_name: str, outcome: Outcome) -> None:
        known = self._definitions.get(element.get("testId"), _UNKNOWN)
        class_name, assembly, categories = known
        if class_name:
            name = full_name.removeprefix(f"{class_name}.")
        else:
            class_name, name = split_name(full_name)
        printed = [element.said("Output", part) for part in ("StdOut", "StdErr", "DebugTrace")]
        printed += [one.text for one in element.all("Output", "TextMessages", "Message")]
        failure = None
        if outcome in FAILING:
            message = element.said("Output", "ErrorInfo", "Message")
            failure = failure_text(
                "", message or element.get("outcome"), element.said("Output", "ErrorInfo", "StackTrace")
            )
        attempt = AttemptRead(
            outcome,
            self.milliseconds(element.get("duration")),
            failure,
            output_text(*printed),
        )
        files = [one.get("path") for one in element.all("ResultFiles", "ResultFile")]
        collected = element.all("CollectorDataEntries", "Collector", "UriAttachments", "UriAttachment", "A")
        self.add(
            suites=[assembly] if assembly else [],
            class_name=class_name,
            name=name,
            attempts=[attempt],
            properties=[("Category", one) for one in categories],
            attachments=[attachment(path) for path in (*files, *(one.get("href") for one in collected))],
            reason=element.said("Output", "ErrorInfo", "Message"),
        )
