"""What a report says: cases with their attempts, and a summary. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from runs.ingestion.attachments import Attachment
from runs.vocabulary import Outcome

#: Characters kept of a failure's message, of its text, and of a case's output; the raw report keeps all.
MESSAGE_LIMIT = 10_000
TEXT_LIMIT = 200_000
OUTPUT_LIMIT = 64_000
#: Characters kept of a chain of suite names for people; the identity is made of the whole.
PATH_LIMIT = 2_000
#: Properties kept of a case or suite, and characters of each; and of all suites of a report together.
PROPERTY_LIMIT = 100
SUITE_PROPERTIES_LIMIT = 1_000_000
PROPERTY_NAME_LIMIT = 200
PROPERTY_VALUE_LIMIT = 2_000
#: Characters kept of why a case was skipped.
REASON_LIMIT = 2_000
#: Properties that name the services a case is about, several with commas or in several properties.
SERVICE_PROPERTIES = frozenset({"service", "itdash.service"})
SERVICE_LIMIT = 10
SERVICE_NAME_LIMIT = 250
#: Notes kept of a report; one more says that there were more.
NOTE_LIMIT = 50
#: The largest duration that a column of milliseconds holds, about 24 days.
DURATION_LIMIT_MS = 2**31 - 1


#: Names and values, in the report's order; a name may come again.
type Properties = tuple[tuple[str, str], ...]


class FailureText(NamedTuple):
    """How an attempt failed, in the tool's words."""

    kind: str
    message: str
    text: str


# Named tuples, not dataclasses: a report of 500,000 cases makes a million of them, and a tuple costs a
# third of a frozen dataclass.
class AttemptRead(NamedTuple):
    """One try of a case."""

    outcome: Outcome
    duration_ms: int | None
    failure: FailureText | None = None
    output: str = ""


class CaseRead(NamedTuple):
    """One `testcase` element, with what its own children say of its attempts."""

    path: str
    class_name: str
    #: As the tool tells it, parameters included.
    name: str
    file: str
    line: int | None
    variant: str
    attempts: tuple[AttemptRead, ...]
    identity: bytes
    properties: Properties = ()
    #: What a property of the case, or else of its suite, says it is about; empty for one that merely passed.
    services: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    #: Why it was skipped, or what it warns of, as the report says.
    reason: str = ""


class SuiteError(NamedTuple):
    """A failure or error that belongs to a suite and to none of its cases, such as a broken set-up."""

    suite: str
    failure: FailureText


@dataclass(slots=True)
class SuiteProperties:
    """What a report says of a suite, beside what it says of its cases."""

    #: The chain of suites for people; empty for the whole report.
    suite: str
    properties: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class ReportSummary:
    """Counts over a report's `testcase` elements; complete once the report has been read to its end."""

    suite_count: int = 0
    case_count: int = 0
    passed_count: int = 0
    failed_count: int = 0
    errored_count: int = 0
    skipped_count: int = 0
    #: Passed or skipped in the end, after a failed try; counted there too.
    flaky_count: int = 0
    #: Failed although tried again; counted in failed or errored too.
    rerun_failed_count: int = 0
    #: Sum of the times that are plain numbers of seconds.
    time_sum_seconds: float = 0.0
    #: Times that are no plain number, and times that are missing.
    time_bad_count: int = 0
    time_missing_count: int = 0
    suite_errors: list[SuiteError] = field(default_factory=list)
    suite_error_count: int = 0
    #: Of suites that have any, in the order of the file.
    suite_properties: list[SuiteProperties] = field(default_factory=list)
    #: Properties of suites beyond the limits.
    suite_property_left_count: int = 0
    _suite_property_size: int = 0
    #: Attachments of test cases beyond the limit of one.
    attachment_left_count: int = 0
    #: The first suite's `timestamp`, as written.
    timestamp: str = ""
    #: What was read in a way that a person may want to know, each once.
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a note, or say that there are more of them."""
        if len(self.notes) > NOTE_LIMIT or text in self.notes:
            return
        is_last = len(self.notes) == NOTE_LIMIT
        self.notes.append(
            f"There are more than {NOTE_LIMIT} notes; the rest is left out." if is_last else text
        )

    def keep_suite_property(self, kept: SuiteProperties, name: str, value: str) -> None:
        """Keep a property of a suite, or count it where there are too many."""
        size = len(name) + len(value)
        is_beyond = self._suite_property_size + size > SUITE_PROPERTIES_LIMIT
        if is_beyond or len(kept.properties) >= PROPERTY_LIMIT:
            self.suite_property_left_count += 1
            return
        if not kept.properties:
            self.suite_properties.append(kept)
        self._suite_property_size += size
        kept.properties.append(limited_property(name, value))


def limited_property(name: str, value: str) -> tuple[str, str]:
    """Return a property within its limits."""
    return name.strip()[:PROPERTY_NAME_LIMIT], cut(value, PROPERTY_VALUE_LIMIT)


def joined_path(outer: str, name: str) -> str:
    """The chain of suites for people. Its length is bounded: each of a thousand nested suites has one."""
    return cut(" › ".join(part for part in (outer, name) if part), PATH_LIMIT)  # noqa: RUF001 - a sign between suites


def more_services(known: tuple[str, ...], value: str) -> tuple[str, ...]:
    """Add the names in a property's value to those known, each once, within the limits."""
    names = (" ".join(part.split())[:SERVICE_NAME_LIMIT] for part in value.split(","))
    return tuple(dict.fromkeys((*known, *(name for name in names if name))))[:SERVICE_LIMIT]


def clean(text: str) -> str:
    """Make text storable: PostgreSQL takes no NUL, UTF-8 no half of a surrogate pair."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def cut(text: str, limit: int) -> str:
    """Keep the beginning, with a note where something is missing."""
    if len(text) <= limit:
        return text
    return text[:limit] + f"\n… {len(text) - limit:,} more characters in the raw report"
