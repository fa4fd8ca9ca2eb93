"""Read xUnit.net's own reports: `assemblies` (version 2 and later) or one `assembly` (version 1).

A case is known by its assembly's file name, its class and its name with parameters. Collections only say
what may run beside what, and some have a random name: they are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import override

from runs.ingestion.attachments import attachment
from runs.ingestion.records import Element, RecordWalk
from runs.ingestion.report import AttemptRead
from runs.ingestion.tally import Source, failure_text, file_name, output_text
from runs.vocabulary import FAILING, Outcome

_OUTCOMES = {
    "pass": Outcome.PASSED,
    "fail": Outcome.FAILED,
    "skip": Outcome.SKIPPED,
    "notrun": Outcome.SKIPPED,
}


class XUnitNetWalk(RecordWalk):
    """Sees `assembly` around `test`, and its `error`s."""

    records = frozenset({"test", "error", "failure"})

    def __init__(self, case_limit: int | None) -> None:
        super().__init__(case_limit)
        self._assembly = ""
        self._class = ""

    @override
    def container(self, tag: str, attributes: Mapping[str, str]) -> None:
        # Maven's assembly descriptors have no name.
        self.is_known = self.is_known or tag == "assemblies" or "name" in attributes
        if tag == "assembly":
            self.summary.suite_count += 1
            self._assembly = file_name(attributes.get("name", ""))
            run_at = f"{attributes.get('run-date', '')} {attributes.get('run-time', '')}".strip()
            self.summary.timestamp = self.summary.timestamp or attributes.get("start-rtf", "") or run_at
        elif tag == "class":
            self._class = attributes.get("name", "")

    @override
    def record(self, element: Element) -> None:
        if element.tag != "test":
            self._error(element)
            return
        class_name = element.get("type")
        name = element.get("name") or element.get("method")
        outcome = _OUTCOMES.get(element.get("result").lower())
        if outcome is None:
            outcome = self.unknown(element.get("result"))
        found = element.first("failure") or element
        failure = (
            failure_text(found.get("exception-type"), found.said("message"), found.said("stack-trace"))
            if outcome in FAILING
            else None
        )
        attempt = AttemptRead(
            outcome,
            self.milliseconds(element.get("time") or element.get("time-rtf")),
            failure,
            output_text(element.said("output")),
        )
        line = element.get("source-line")
        number = int(line) if line.isdecimal() and len(line) < 10 else None  # noqa: PLR2004 - 32 bits
        self.add(
            suites=[self._assembly] if self._assembly else [],
            class_name=class_name,
            name=name.removeprefix(f"{class_name}.") if class_name else name,
            attempts=[attempt],
            source=Source(element.get("source-file"), number),
            properties=[(one.get("name"), one.get("value")) for one in element.all("traits", "trait")],
            # Their content stands in the report itself.
            attachments=[
                attachment("", one.get("name"), one.get("media-type"))
                for one in element.all("attachments", "attachment")
            ],
            reason=element.said("reason") or element.said("warnings", "warning"),
        )

    def _error(self, element: Element) -> None:
        """A clean-up that failed, of a fixture, a class, a collection or the assembly."""
        found = element.first("failure") or element
        failure = failure_text(found.get("exception-type"), found.said("message"), found.said("stack-trace"))
        suite = " ".join(part for part in (element.get("type"), element.get("name")) if part)
        self.suite_error(suite or self._class or self._assembly, failure)
