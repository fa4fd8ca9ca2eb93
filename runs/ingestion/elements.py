"""The elements of a JUnit report while they are open, and what a closed testcase comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from runs.ingestion.attachments import (
    ATTACHMENT_LIMIT,
    Attachment,
    OutputSink,
    attachment,
    kept_attachments,
)
from runs.ingestion.report import (
    DURATION_LIMIT_MS,
    MESSAGE_LIMIT,
    OUTPUT_LIMIT,
    REASON_LIMIT,
    TEXT_LIMIT,
    AttemptRead,
    CaseRead,
    FailureText,
    Properties,
    SuiteProperties,
    cut,
    limited_property,
)
from runs.ingestion.text import TextSink, shortened
from runs.ingestion.times import plain_seconds
from runs.vocabulary import Outcome

_SKIPPING_WORDS = frozenset({"notrun", "suppressed", "skipped", "disabled", "ignored"})


#: What TestCafe appends to a test's name: that it passed and failed in turns, and where its screenshots lie.
_TESTCAFE_ENDING = re.compile(r"(.*?)( \(unstable\))?(?: \(screenshots: (.*)\))?", re.DOTALL)
_TESTCAFE_LONGEST = 4_000


class Kind(IntEnum):
    """What an element is to us."""

    OTHER = 0
    CASE = 1
    SUITE = 2
    FAILURE = 3
    ERROR = 4
    SKIPPED = 5
    FLAKY_FAILURE = 6
    FLAKY_ERROR = 7
    RERUN_FAILURE = 8
    RERUN_ERROR = 9
    SYSTEM_OUT = 10
    PROPERTIES = 11
    PROPERTY = 12
    SUITES = 13
    ITEM = 14
    WARNING = 15


KINDS = {
    "testcase": Kind.CASE,
    "testsuite": Kind.SUITE,
    "testsuites": Kind.SUITES,
    "failure": Kind.FAILURE,
    "error": Kind.ERROR,
    "skipped": Kind.SKIPPED,
    "disabled": Kind.SKIPPED,
    "ignored": Kind.SKIPPED,
    "flakyFailure": Kind.FLAKY_FAILURE,
    "flakyError": Kind.FLAKY_ERROR,
    "rerunFailure": Kind.RERUN_FAILURE,
    "rerunError": Kind.RERUN_ERROR,
    "system-out": Kind.SYSTEM_OUT,
    "system-err": Kind.SYSTEM_OUT,
    "properties": Kind.PROPERTIES,
    "property": Kind.PROPERTY,
    "item": Kind.ITEM,
    "warning": Kind.WARNING,
}
TRY_KINDS = frozenset(
    {
        Kind.FAILURE,
        Kind.ERROR,
        Kind.FLAKY_FAILURE,
        Kind.FLAKY_ERROR,
        Kind.RERUN_FAILURE,
        Kind.RERUN_ERROR,
    }
)
FLAKY_KINDS = frozenset({Kind.FLAKY_FAILURE, Kind.FLAKY_ERROR})
#: A testcase's own failures; the other kinds tell of its further tries.
DECIDING_KINDS = frozenset({Kind.FAILURE, Kind.ERROR})
_ERRORS = frozenset({Kind.ERROR, Kind.FLAKY_ERROR, Kind.RERUN_ERROR})


@dataclass(slots=True)
class OpenTry:
    """A failing child of a testcase."""

    kind: Kind
    failure_kind: str
    message: str
    seconds: str | None
    text: TextSink = field(default_factory=lambda: TextSink(TEXT_LIMIT))
    output: OutputSink | None = None


@dataclass(slots=True)
class OpenDetails:
    """What a testcase holds beyond its attributes; most hold nothing and have none."""

    is_skipped: bool = False
    #: Why, or what a test that passed is warned of (PHPUnit): as an attribute says, else as the text does.
    reason: str = ""
    reason_sink: TextSink | None = None
    tries: list[OpenTry] = field(default_factory=list)
    #: Failing children by kind, also those beyond the limit.
    kinds: set[Kind] = field(default_factory=set)
    output: OutputSink | None = None
    properties: list[tuple[str, str]] = field(default_factory=list)
    #: Named by properties, or held by them.
    attachments: list[Attachment] = field(default_factory=list)
    attachment_left_count: int = 0
    #: What properties say the case is about.
    services: tuple[str, ...] = ()

    def attach(self, one: Attachment) -> None:
        """Keep an attachment, or count it where there are too many."""
        if len(self.attachments) < ATTACHMENT_LIMIT:
            self.attachments.append(one)
        else:
            self.attachment_left_count += 1


@dataclass(slots=True)
class OpenCase:
    """An open testcase."""

    attributes: Mapping[str, str]
    depth: int
    details: OpenDetails | None = None

    @property
    def size(self) -> int:
        """Characters of its attributes."""
        return sum(map(len, self.attributes.values()))


@dataclass(slots=True)
class OpenSuite:
    """An open testsuite."""

    name: str
    hostname: str
    depth: int
    #: The chain of names up to here: for people, and for the identity.
    path: str
    chain: str
    #: What properties say its cases are about; its own, or else those of the suite around it.
    services: tuple[str, ...] = ()
    has_own_services: bool = False
    properties: SuiteProperties | None = None
    is_testcafe: bool = False
    #: Whether it says that it holds one case; how many came before it.
    is_of_one: bool = False
    cases_before: int = 0


NO_SUITE = OpenSuite(name="", hostname="", depth=-1, path="", chain="")


def attempts_of(
    case: OpenCase, duration_ms: int | None, note: Callable[[str], None]
) -> tuple[AttemptRead, ...]:
    """Return the tries that a testcase's own children tell of, the deciding one where its time belongs."""
    details = case.details
    if details is None:
        outcome = Outcome.SKIPPED if says_skipped(case.attributes) else Outcome.PASSED
        return (AttemptRead(outcome, duration_ms),)
    output = details.output.text() if details.output else ""
    mains = [one for one in details.tries if one.kind in DECIDING_KINDS]
    others = [one for one in details.tries if one.kind not in DECIDING_KINDS]
    if details.kinds & DECIDING_KINDS:
        outcome = Outcome.ERRORED if Kind.ERROR in details.kinds else Outcome.FAILED
        first = AttemptRead(outcome, duration_ms, _joined(mains), output)
        return (first, *map(_attempt_of, others))
    skipped = details.is_skipped or says_skipped(case.attributes)
    final = AttemptRead(Outcome.SKIPPED if skipped else Outcome.PASSED, duration_ms, None, output)
    if details.kinds & FLAKY_KINDS and not skipped:
        return (*map(_attempt_of, others), final)
    if skipped and details.kinds:
        note("A test case failed first and was skipped in the end: it counts as skipped.")
    elif details.kinds:
        note("A test case was run again but has no failure: it counts as passed.")
    return (final,)


def attachments_of(details: OpenDetails) -> tuple[tuple[Attachment, ...], int]:
    """Return the files that a testcase names, in its properties and in outputs whose text was asked for, and
    how many there are beyond the limit."""
    outputs = [one for one in (details.output, *(each.output for each in details.tries)) if one is not None]
    marked = [attachment(path) for output in outputs for path in output.paths]
    if not marked and not details.attachments:
        return (), 0
    kept, left_count = kept_attachments([*details.attachments, *marked])
    return kept, left_count + len(set[int]().union(*(output.left for output in outputs)))


def with_output(case: CaseRead, sink: OutputSink) -> tuple[CaseRead, int]:
    """Return a case whose first try also printed this, and how many attachments are beyond the limit."""
    first, *others = case.attempts
    text = sink.text()
    printed = first._replace(output=shortened(f"{first.output}{text}", OUTPUT_LIMIT))
    kept, left_count = kept_attachments([*case.attachments, *map(attachment, sink.paths)])
    return case._replace(attempts=(printed, *others), attachments=kept), left_count + len(sink.left)


def testcafe_name(name: str) -> tuple[str, Properties]:
    """Split what TestCafe appends to a test's name from it: it differs from run to run."""
    match = _TESTCAFE_ENDING.fullmatch(name[:_TESTCAFE_LONGEST])
    if match is None or len(name) > _TESTCAFE_LONGEST:
        return name, ()
    appended = [("unstable", "true")] if match[2] else []
    appended += [limited_property("screenshots", match[3])] if match[3] else []
    return match[1], tuple(appended)


def reason_of(details: OpenDetails) -> str:
    """Return why a case was skipped, or what it is warned of; empty where the report does not say."""
    told = details.reason
    if not told and details.reason_sink is not None:
        told = details.reason_sink.text().strip()
    return cut(told, REASON_LIMIT)


def says_skipped(attributes: Mapping[str, str]) -> bool:
    """Whether googletest's and its like's `status` or `result` says that the case did not run."""
    status = attributes.get("status")
    result = attributes.get("result")
    return (status is not None and status.strip().lower() in _SKIPPING_WORDS) or (
        result is not None and result.strip().lower() in _SKIPPING_WORDS
    )


def _attempt_of(one: OpenTry) -> AttemptRead:
    seconds = plain_seconds(one.seconds) if one.seconds else None
    return AttemptRead(
        Outcome.ERRORED if one.kind in _ERRORS else Outcome.FAILED,
        min(round(seconds * 1000), DURATION_LIMIT_MS) if seconds is not None else None,
        failure_of(one),
        one.output.text() if one.output else "",
    )


def failure_of(one: OpenTry) -> FailureText:
    """Return what a failing element says; without a message, its text's first line stands in."""
    text = one.text.text().strip("\r\n").rstrip()
    message = one.message.strip() or next((line.strip() for line in text.splitlines() if line.strip()), "")
    return FailureText(one.failure_kind.strip()[:500], cut(message, MESSAGE_LIMIT), text)


def _joined(tries: list[OpenTry]) -> FailureText:
    """Several failures of one try, as googletest and its like write them: the first one's name, all texts."""
    failures = [failure_of(one) for one in tries]
    # An error decides over a failure, so it also gives the name.
    first = next(
        (one for one, own in zip(failures, tries, strict=True) if own.kind is Kind.ERROR), failures[0]
    )
    if len(failures) == 1:
        return first
    parts = [one.text or one.message for one in failures]
    return FailureText(first.kind, first.message, cut("\n\n".join(parts), TEXT_LIMIT))
