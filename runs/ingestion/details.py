"""What a report tells of a test case besides its outcome, as it is kept: small, and only where there is any.

Most test cases that pass say nothing at all; for those nothing is made here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Buffer, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runs.ingestion.attachments import Attachment
from runs.ingestion.report import SUITE_PROPERTIES_LIMIT, CaseRead, Properties, SuiteProperties, clean
from runs.ingestion.text import shortened

#: Characters kept of what a case printed that did not fail, beginning and end, and of all of an upload's such
#: cases together.
PASSING_OUTPUT_LIMIT = 16_000
OUTPUTS_LIMIT = 16_000_000
#: Characters kept of the properties and attachments of all of an upload's cases together.
WORDS_LIMIT = 32_000_000
#: Names kept of suites whose properties are the same.
SUITE_NAME_LIMIT = 20
_QUICK = 1


class Details(NamedTuple):
    """What one `testcase` element told."""

    properties: Properties = ()
    attachments: tuple[Attachment, ...] = ()
    #: Of a case that did not fail: what failed has its output with its attempt.
    output: str = ""
    #: Why it was skipped, or what it warns of.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SuiteDetails:
    """Properties that one suite has, or several have alike."""

    #: The first of them, by their chains of names; an empty one is the whole report.
    suites: tuple[str, ...]
    suite_count: int
    properties: Properties

    @classmethod
    def of(cls, one: SuiteProperties) -> SuiteDetails:
        """Tell those of one suite."""
        return cls((one.suite,), 1, tuple(one.properties))


@dataclass(slots=True)
class DetailsBudget:
    """How much of an upload's details is kept, and how much was not."""

    outputs_left: int = OUTPUTS_LIMIT
    words_left: int = WORDS_LIMIT
    #: Cases without their output, or without their properties and attachments, and characters of them.
    cut_output_count: int = 0
    cut_output_size: int = 0
    cut_words_count: int = 0

    def of(self, case: CaseRead) -> bytes | None:
        """Return what is kept of a case, ready to be stored; None where it says nothing."""
        attempt = case.attempts[0]
        output = attempt.output
        if output and (len(case.attempts) > 1 or attempt.failure is not None):
            output = ""
        if not (output or case.properties or case.attachments or case.reason):
            return None
        if output:
            size = len(output)
            output = shortened(output, PASSING_OUTPUT_LIMIT)
            if len(output) > self.outputs_left:
                self.cut_output_count += 1
                self.cut_output_size += size
                output = ""
            self.outputs_left -= len(output)
        words = sum(len(text) for pair in case.properties for text in pair)
        words += sum(len(text) for one in case.attachments for text in one) + len(case.reason)
        if words > self.words_left:
            self.cut_words_count += 1
            return packed(Details(output=output)) if output else None
        self.words_left -= words
        details = Details(case.properties, case.attachments, output, case.reason)
        return packed(details) if any(details) else None

    def notes(self) -> list[str]:
        """Say what was cut since this was asked before; nothing where nothing was."""
        found = []
        if self.cut_output_count:
            found.append(
                f"What {self.cut_output_count:,} test cases printed that did not fail, "
                f"{self.cut_output_size:,} characters, is only in the raw report: an upload may have "
                f"{OUTPUTS_LIMIT:,} of such."
            )
        if self.cut_words_count:
            found.append(
                f"Properties and attachments of {self.cut_words_count:,} test cases are only in the raw "
                f"report: an upload may have {WORDS_LIMIT:,} characters of them."
            )
        self.cut_output_count = self.cut_output_size = self.cut_words_count = 0
        return found


def packed(details: Details) -> bytes:
    """Return details as they are stored."""
    parts = {
        "properties": [[clean(name), clean(value)] for name, value in details.properties],
        "attachments": [[clean(text) for text in one] for one in details.attachments],
        "output": clean(details.output),
        "reason": clean(details.reason),
    }
    return _packed({name: part for name, part in parts.items() if part})


def unpacked(stored: Buffer) -> Details:
    """Return what `packed` was given."""
    parts = json.loads(zlib.decompress(stored))
    return Details(
        properties=tuple((name, value) for name, value in parts.get("properties", ())),
        attachments=tuple(Attachment(*one) for one in parts.get("attachments", ())),
        output=parts.get("output", ""),
        reason=parts.get("reason", ""),
    )


class SuitesTold:
    """What the members of a report tell of suites, those put together whose properties are the same.

    A Maven module tells the same hundred of them with every class.
    """

    def __init__(self, *, limit: int = SUITE_PROPERTIES_LIMIT) -> None:
        self._groups: dict[Properties, SuiteDetails] = {}
        self._left = limit

    def add(self, found: SuiteDetails) -> bool:
        """Keep what is told of suites; false where it would be too much."""
        known = self._groups.get(found.properties)
        if known is None:
            size = sum(len(text) for pair in found.properties for text in pair)
            if size > self._left:
                return False
            self._left -= size
            known = SuiteDetails((), 0, found.properties)
        names = known.suites if len(known.suites) >= SUITE_NAME_LIMIT else (*known.suites, *found.suites)
        count = known.suite_count + found.suite_count
        self._groups[found.properties] = SuiteDetails(names[:SUITE_NAME_LIMIT], count, found.properties)
        return True

    @property
    def suites(self) -> list[SuiteDetails]:
        """In the order in which each was told first."""
        return list(self._groups.values())


def packed_suites(suites: Sequence[SuiteDetails]) -> bytes | None:
    """Return suites' properties as they are stored; None without any."""
    if not suites:
        return None
    return _packed(
        [
            [
                [clean(name) for name in one.suites],
                one.suite_count,
                [[clean(name), clean(value)] for name, value in one.properties],
            ]
            for one in suites
        ]
    )


def unpacked_suites(stored: Buffer | None) -> list[SuiteDetails]:
    """Return what `packed_suites` was given."""
    if stored is None:
        return []
    return [
        SuiteDetails(tuple(names), count, tuple((name, value) for name, value in properties))
        for names, count, properties in json.loads(zlib.decompress(stored))
    ]


def _packed(parts: object) -> bytes:
    return zlib.compress(json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode(), _QUICK)
