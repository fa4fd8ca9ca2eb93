"""Read JUnit XML as it streams by: cases come out in batches, nothing of the document is kept.

The parser feeds this module's `_Walk` element by element and builds no tree, so memory depends on the
longest attribute and not on the file. Entities are not expanded, nothing outside of the stream is opened.

A testcase is every element named so, at any depth and in any namespace. Its outcome comes from its direct
children: error before failure before skipped, else passed; `status="notrun"` and its like mean skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from runs.ingestion.attachments import Attachment, OutputSink, named_by_property
from runs.ingestion.elements import (
    DECIDING_KINDS,
    FLAKY_KINDS,
    KINDS,
    NO_SUITE,
    TRY_KINDS,
    Kind,
    OpenCase,
    OpenDetails,
    OpenSuite,
    OpenTry,
    attachments_of,
    attempts_of,
    failure_of,
    reason_of,
    says_skipped,
    testcafe_name,
    with_output,
)
from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportLimitError
from runs.ingestion.feeding import DEPTH_LIMIT, mended, read_xml, refuse_outside
from runs.ingestion.formats import REPORT_ROOTS, describe_empty, describe_root
from runs.ingestion.identity import CaseIdentities, longer_chain
from runs.ingestion.report import (
    DURATION_LIMIT_MS,
    OUTPUT_LIMIT,
    PROPERTY_LIMIT,
    PROPERTY_VALUE_LIMIT,
    REASON_LIMIT,
    SERVICE_PROPERTIES,
    AttemptRead,
    CaseRead,
    ReportSummary,
    SuiteError,
    SuiteProperties,
    joined_path,
    limited_property,
    more_services,
)
from runs.ingestion.text import TextSink
from runs.ingestion.times import plain_seconds, spelled_seconds
from runs.vocabulary import Outcome

#: Bounds on what one case or suite may pile up; what lies beyond is counted but not kept.
FAILURE_LIMIT = 50
#: Characters of a suite's name while it is open; its identity is made of the whole. And of the attributes of
#: test cases that hold others.
SUITE_NAME_LIMIT = 100_000
HELD_LIMIT = 16_000_000
SUITE_ERROR_LIMIT = 50

#: Times of test cases that are kept once read: many are the same.
TIME_MEMORY = 20_000

# As globals these are read twice as fast as through their enums, and each is read for every test case.
_CASE = Kind.CASE
_OTHER = Kind.OTHER
_PASSED = Outcome.PASSED


#: A test case's time: seconds for the sum, which takes plain numbers only; milliseconds; a pass that took it.
_Took = tuple[float, int | None, tuple[AttemptRead, ...]]


class JUnitReader:
    """Reads one report. `batches` may be walked once; `summary` is complete when it has ended."""

    def __init__(self, stream: BinaryIO, *, case_limit: int | None = None) -> None:
        self._stream = stream
        self.summary = ReportSummary()
        self._walk = _Walk(self.summary, case_limit)

    def batches(self) -> Iterator[list[CaseRead]]:
        """Yield the cases in the order of the file, some hundred at a time.

        Raises:
            ReportError: as `ReportReader.batches`.
        """
        try:
            yield from read_xml(self._stream, self._walk)
        except MalformedReportError:
            if self._walk.held is not None:
                yield [self._walk.held]
            raise
        if self.summary.case_count:
            return
        if self._walk.root not in REPORT_ROOTS:
            raise NotAReportError(describe_root(self._walk.root))
        if not self.summary.suite_error_count:  # which say enough
            self.summary.notes.append(describe_empty(self._walk.tag, self._walk.declared))


class _Walk:
    """The parser's target: sees each start, each end and each piece of text once."""

    def __init__(self, summary: ReportSummary, case_limit: int | None) -> None:
        self.summary = summary
        self.cases: list[CaseRead] = []
        self.root = ""
        self.has_ampersands = False
        #: The root with its namespace, and how many test cases the outermost suites say that they hold.
        self.tag = ""
        self.declared = 0
        self._case_limit = case_limit
        self._identities = CaseIdentities()
        self._depth = 0
        self._kinds: dict[str, Kind] = {}
        self._case: OpenCase | None = None
        self._outer_cases: list[OpenCase] = []
        self._held_size = 0
        self._suite = NO_SUITE
        self._outer_suites: list[OpenSuite] = []
        self._is_playwright = False
        #: Where text goes, and the depth of the element that opened it; nothing else's text is wanted.
        self._sink: TextSink | None = None
        self._sink_depth = 0
        self._outer_sinks: list[tuple[TextSink | None, int]] = []
        self._try: OpenTry | None = None
        #: The only case of a suite while the suite's own output is read: it is that case's.
        self.held: CaseRead | None = None
        self._held_sink: OutputSink | None = None
        self._property = ""
        self._property_sink: TextSink | None = None
        self._root_properties = SuiteProperties("")
        #: Plain times by their text.
        self._times: dict[str, _Took] = {}

    # --- the parser calls these ---------------------------------------------------------------------

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        refuse_outside(name, public_id, system_id)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth = depth = self._depth + 1
        kind = self._kinds.get(tag)
        if kind is None:
            kind = self._learn(tag)
        if self.has_ampersands:
            attributes = mended(attributes)
        if kind is _CASE:
            if self._case is not None:
                self._hold(self._case)
            self._case = OpenCase(attributes, depth)
        elif kind is not _OTHER:
            self._start_notable(kind, attributes)
        if depth == 1:
            self._start_document(tag, attributes)
        elif depth > DEPTH_LIMIT:
            reason = f"Elements are nested deeper than {DEPTH_LIMIT:,}."
            raise ReportLimitError(reason)

    def end(self, _tag: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if self._sink is not None and depth == self._sink_depth:
            self._end_text()
        case = self._case
        if case is not None and depth == case.depth:
            self._end_case(case)
        elif depth == self._suite.depth:
            self._suite = self._outer_suites.pop()

    def data(self, text: str) -> None:
        if self._sink is not None:
            self._sink.add(text)

    def close(self) -> None:
        """The document's end."""

    # --- steps --------------------------------------------------------------------------------------

    def _learn(self, tag: str) -> Kind:
        kind = KINDS.get(tag.rpartition("}")[2], Kind.OTHER)
        # A hostile file may hold a million different names.
        if kind is not Kind.OTHER or len(self._kinds) < 1_000:  # noqa: PLR2004 - any bound will do
            self._kinds[tag] = kind
        return kind

    def _start_document(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.tag = tag
        self.root = tag.rpartition("}")[2]
        described = describe_root(self.root, known_only=True)
        if described:
            raise NotAReportError(described, line=1)
        # Playwright alone writes an `id` on `testsuites`; its `hostname` is the project ("chromium").
        self._is_playwright = "id" in attributes and "name" in attributes

    def _start_notable(self, kind: Kind, attributes: Mapping[str, str]) -> None:
        if kind is Kind.SUITE:
            self._start_suite(attributes)
        elif kind is Kind.PROPERTY:
            self._start_property(attributes)
        elif kind is Kind.ITEM:
            self._start_item(attributes)
        elif self._case is None:
            if self._depth != self._suite.depth + 1:
                return
            if kind in {Kind.FAILURE, Kind.ERROR}:
                self._start_suite_error(attributes)
            elif kind is Kind.SYSTEM_OUT:
                self._start_suite_output(self._suite)
        elif self._depth == self._case.depth + 1:
            self._start_child(self._case, kind, attributes)
        elif self._try is not None and kind is Kind.SYSTEM_OUT and self._depth == self._case.depth + 2:
            self._try.output = self._try.output or OutputSink(OUTPUT_LIMIT)
            self._open_sink(self._try.output)

    def _hold(self, case: OpenCase) -> None:
        """Keep a test case while those within it are read."""
        self._outer_cases.append(case)
        self._held_size += case.size
        if self._held_size > HELD_LIMIT:
            reason = f"Test cases within each other have more than {HELD_LIMIT:,} characters."
            raise ReportLimitError(reason)

    def _start_suite(self, attributes: Mapping[str, str]) -> None:
        self.summary.suite_count += 1
        declared = attributes.get("tests", "")
        if not self._outer_suites and declared.isdecimal() and len(declared) < 10:  # noqa: PLR2004 - any bound
            self.declared += int(declared)
        name = attributes.get("name", "").strip()
        outer = self._suite
        self._outer_suites.append(outer)
        self._suite = OpenSuite(
            name=name[:SUITE_NAME_LIMIT],
            hostname=attributes.get("hostname", "") if self._is_playwright else "",
            depth=self._depth,
            path=joined_path(outer.path, name),
            chain=longer_chain(outer.chain, name),
            services=outer.services,
            is_testcafe=name.startswith("TestCafe Tests: "),
            is_of_one=declared == "1",
            cases_before=self.summary.case_count,
        )
        self.summary.timestamp = self.summary.timestamp or attributes.get("timestamp", "")

    def _start_suite_error(self, attributes: Mapping[str, str]) -> None:
        self.summary.suite_error_count += 1
        if len(self.summary.suite_errors) < SUITE_ERROR_LIMIT:
            one = OpenTry(Kind.ERROR, attributes.get("type", ""), attributes.get("message", ""), None)
            self._open_sink(one.text)
            self._try = one

    def _start_suite_output(self, suite: OpenSuite) -> None:
        """Hold the suite's only case when it failed: what the suite printed is its, in Bazel's reports."""
        is_only = suite.is_of_one and self.summary.case_count == suite.cases_before + 1 and self.cases
        if is_only and self.held is None and self.cases[-1].attempts[0].failure is not None:
            self.held = self.cases.pop()
            self._held_sink = OutputSink(OUTPUT_LIMIT)
            self._open_sink(self._held_sink)

    def _start_property(self, attributes: Mapping[str, str]) -> None:
        name = attributes.get("name", "")
        value = attributes.get("value")
        if value is None:
            self._property = name
            self._property_sink = TextSink(PROPERTY_VALUE_LIMIT)
            self._open_sink(self._property_sink)
        else:
            self._keep_property(name, value)

    def _start_item(self, attributes: Mapping[str, str]) -> None:
        """See a file within a property, as Xray has them: its content stays in the raw report."""
        if self._property_sink is not None and self._case is not None:
            self._details().attach(Attachment(attributes.get("name", "").strip()[:200], ""))
            self._open_sink(TextSink(0))

    def _keep_property(self, name: str, value: str) -> None:
        if name in SERVICE_PROPERTIES:
            self._keep_services(value)
        if self._case is None:
            self.summary.keep_suite_property(self._properties_of_suite(), name, value)
            return
        details = self._details()
        if len(details.properties) < PROPERTY_LIMIT:
            details.properties.append(limited_property(name, value))
        else:
            self._note(f"A test case has more than {PROPERTY_LIMIT} properties; the first of them are kept.")
        named = named_by_property(name, value)
        if named is not None:
            details.attach(named)

    def _properties_of_suite(self) -> SuiteProperties:
        suite = self._suite
        if suite is NO_SUITE:
            return self._root_properties
        suite.properties = suite.properties or SuiteProperties(suite.path)
        return suite.properties

    def _keep_services(self, value: str) -> None:
        if self._case is not None:
            details = self._details()
            details.services = more_services(details.services, value)
        elif self._suite is not NO_SUITE:
            suite = self._suite
            suite.services = more_services(suite.services if suite.has_own_services else (), value)
            suite.has_own_services = True

    def _details(self) -> OpenDetails:
        case = self._case
        assert case is not None  # noqa: S101 - for the type checker; callers looked
        if case.details is None:
            case.details = OpenDetails()
        return case.details

    def _start_child(self, case: OpenCase, kind: Kind, attributes: Mapping[str, str]) -> None:
        details = case.details = case.details or OpenDetails()
        if kind is Kind.SKIPPED or kind is Kind.WARNING:
            details.is_skipped = details.is_skipped or kind is Kind.SKIPPED
            self._start_reason(details, attributes)
        elif kind is Kind.SYSTEM_OUT:
            details.output = details.output or OutputSink(OUTPUT_LIMIT)
            self._open_sink(details.output)
        elif kind in TRY_KINDS:
            is_first = kind in DECIDING_KINDS and not details.kinds & DECIDING_KINDS
            details.kinds.add(kind)
            if is_first or len(details.tries) < FAILURE_LIMIT:
                one = OpenTry(
                    kind, attributes.get("type", ""), attributes.get("message", ""), attributes.get("time")
                )
                details.tries.append(one)
                self._open_sink(one.text)
                self._try = one
            else:
                self._note(f"A test case has more than {FAILURE_LIMIT} failures; the first of them are kept.")

    def _start_reason(self, details: OpenDetails, attributes: Mapping[str, str]) -> None:
        details.reason = details.reason or attributes.get("message", "").strip()
        if not details.reason and details.reason_sink is None:
            details.reason_sink = TextSink(REASON_LIMIT)
            self._open_sink(details.reason_sink)

    def _open_sink(self, sink: TextSink) -> None:
        self._outer_sinks.append((self._sink, self._sink_depth))
        self._sink, self._sink_depth = sink, self._depth

    def _end_text(self) -> None:
        sink = self._sink
        self._sink, self._sink_depth = self._outer_sinks.pop()
        if sink is not None and sink is self._property_sink:
            self._keep_property(self._property, sink.text().strip())
            self._property, self._property_sink = "", None
        elif self.held is not None and self._held_sink is not None and sink is self._held_sink:
            case, left_count = with_output(self.held, self._held_sink)
            self.cases.append(case)
            self.summary.attachment_left_count += left_count
            self.held = self._held_sink = None
        elif self._try is not None and sink is self._try.text:
            if self._case is None:
                self.summary.suite_errors.append(SuiteError(self._suite.name, failure_of(self._try)))
            self._try = None

    def _end_case(self, case: OpenCase) -> None:
        self._case = None
        if self._outer_cases:
            self._case = self._outer_cases.pop()
            self._held_size -= self._case.size
        summary = self.summary
        summary.case_count += 1
        if self._case_limit is not None and summary.case_count > self._case_limit:
            reason = f"More than {self._case_limit:,} test cases."
            raise ReportLimitError(reason)
        attributes = case.attributes
        time = attributes.get("time", "")
        took = self._times.get(time) or self._took(time)
        summary.time_sum_seconds += took[0]
        is_marked = "status" in attributes or "result" in attributes
        if case.details is None and not (is_marked and says_skipped(attributes)):
            # Nearly all are passes that hold nothing: they get by without the questions below.
            attempts = took[2]
            summary.passed_count += 1
        else:
            attempts = attempts_of(case, took[1], self._note)
            self._count(case, attempts)
        name = attributes.get("name", "").strip()
        class_name = attributes.get("classname", "").strip()
        file = attributes.get("file", "")
        suite = self._suite
        if suite.is_testcafe:
            name, appended = testcafe_name(name)
            if appended:
                case.details = case.details or OpenDetails()
                case.details.properties += appended
        variant = suite.hostname if class_name == suite.name else ""
        line = attributes.get("line") or attributes.get("lineno")
        read = CaseRead(
            suite.path,
            class_name,
            name,
            file,
            int(line) if line and line.isdecimal() and len(line) < 10 else None,  # noqa: PLR2004 - 32 bits
            variant,
            attempts,
            self._identities.of(suite.chain, class_name, name, file, variant),
        )
        self.cases.append(read if case.details is None else self._with_details(read, case.details))

    def _with_details(self, read: CaseRead, details: OpenDetails) -> CaseRead:
        return read._replace(
            properties=tuple(details.properties),
            services=details.services or self._suite.services,
            attachments=self._attachments(details),
            reason=reason_of(details) if read.attempts[0].failure is None else "",
        )

    def _attachments(self, details: OpenDetails) -> tuple[Attachment, ...]:
        kept, left_count = attachments_of(details)
        self.summary.attachment_left_count += left_count + details.attachment_left_count
        return kept

    def _took(self, time: str) -> _Took:
        if not time or time.isspace():
            self.summary.time_missing_count += 1
            return _took(0.0, None)
        seconds = plain_seconds(time)
        if seconds is None:
            self.summary.time_bad_count += 1
            seconds = spelled_seconds(time)
            if seconds is None:
                self._note(f"The time “{time[:60]}” of a test case is no duration; it has none.")
                return _took(0.0, None)
            return _took(0.0, self._milliseconds(seconds, time))
        milliseconds = self._milliseconds(seconds, time)
        took = _took(seconds, milliseconds)
        if milliseconds is not None and len(self._times) < TIME_MEMORY:
            self._times[time] = took
        return took

    def _milliseconds(self, seconds: float, time: str) -> int | None:
        milliseconds = round(seconds * 1000)
        if milliseconds <= DURATION_LIMIT_MS:
            return milliseconds
        self._note(f"The time “{time[:60]}” of a test case is more than 24 days of seconds; it has none.")
        return None

    def _count(self, case: OpenCase, attempts: tuple[AttemptRead, ...]) -> None:
        summary = self.summary
        kinds = case.details.kinds if case.details else set()
        if Kind.ERROR in kinds or Kind.FAILURE in kinds:
            if Kind.ERROR in kinds:
                summary.errored_count += 1
            else:
                summary.failed_count += 1
            if Kind.RERUN_FAILURE in kinds or Kind.RERUN_ERROR in kinds:
                summary.rerun_failed_count += 1
            return
        if attempts[-1].outcome is Outcome.SKIPPED:
            summary.skipped_count += 1
        else:
            summary.passed_count += 1
        if kinds & FLAKY_KINDS:
            summary.flaky_count += 1

    def _note(self, text: str) -> None:
        self.summary.note(text)


def _took(seconds: float, milliseconds: int | None) -> _Took:
    return seconds, milliseconds, (AttemptRead(_PASSED, milliseconds),)
