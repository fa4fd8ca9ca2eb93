"""Read NUnit's own reports: version 2 (`test-results`) and version 3 (`test-run`).

A case is known by its assembly's file name, its class and its name with parameters. Namespaces and fixtures
around it say the same once more and are left out; so are machines, directories, seeds and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import override

from runs.ingestion.attachments import attachment
from runs.ingestion.records import Element, RecordWalk
from runs.ingestion.report import AttemptRead, FailureText, SuiteProperties, joined_path
from runs.ingestion.tally import failure_text, file_name, output_text
from runs.vocabulary import FAILING, Outcome

_OUTCOMES = {
    "passed": Outcome.PASSED,
    "success": Outcome.PASSED,
    "warning": Outcome.PASSED,
    "failed": Outcome.FAILED,
    "failure": Outcome.FAILED,
    "error": Outcome.ERRORED,
    "cancelled": Outcome.ERRORED,
    # It cannot be a test as it is written, so it never ran; version 3 calls it failed itself.
    "notrunnable": Outcome.SKIPPED,
    "inconclusive": Outcome.SKIPPED,
    "skipped": Outcome.SKIPPED,
    "ignored": Outcome.SKIPPED,
}
#: What a failing case of NUnit 3 is labelled with when it did not fail by an assertion.
_ERROR_LABELS = frozenset({"error", "invalid", "cancelled"})
#: A suite that only failed because of what is in it or around it says so here.
_INHERITED_SITES = frozenset({"child", "parent"})
#: Characters of a suite's name, its end; an assembly's is a path.
_SUITE_NAME_LIMIT = 100_000
_ASSEMBLY_ENDINGS = (".dll", ".exe")


class NUnitWalk(RecordWalk):
    """Sees `test-suite` around `test-case`, in both versions."""

    records = frozenset({"test-case", "failure"})

    def __init__(self, case_limit: int | None) -> None:
        super().__init__(case_limit)
        #: Names, assemblies and sites of the open suites.
        self._suites: list[tuple[str, str, str]] = []
        self._properties: list[SuiteProperties] = []

    @override
    def container(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "property" and self._properties:
            name, value = attributes.get("name", ""), attributes.get("value", "")
            self.summary.keep_suite_property(self._properties[-1], name, value)
        self.is_known = True
        if tag != "test-suite":
            return
        self.summary.suite_count += 1
        name = attributes.get("name", "")[-_SUITE_NAME_LIMIT:]
        kind = attributes.get("type", "")
        is_assembly = kind == "Assembly" or (not kind and name.lower().endswith(_ASSEMBLY_ENDINGS))
        outer = self._suites[-1][1] if self._suites else ""
        site = attributes.get("site", "").lower()
        self._suites.append((name, file_name(name) if is_assembly else outer, site))
        path = self._properties[-1].suite if self._properties else ""
        self._properties.append(SuiteProperties(joined_path(path, file_name(name))))
        self.summary.timestamp = self.summary.timestamp or attributes.get("start-time", "")

    @override
    def container_end(self, tag: str) -> None:
        if tag == "test-suite" and self._suites:
            self._suites.pop()
            self._properties.pop()

    @override
    def record(self, element: Element) -> None:
        if element.tag == "failure":
            self._failed_suite(element)
            return
        full_name = element.get("fullname") or element.get("name")
        # Pester writes a sentence, in which dots are no steps, and tells it by itself as the description.
        own = element.get("name") if element.get("fullname") else element.get("description")
        class_name, name = split_name(full_name, own)
        # Some loggers write a class without its namespace: the full name knows better.
        class_name = class_name or element.get("classname")
        outcome = self._outcome(element)
        failure = self._failure(element) if outcome in FAILING else None
        attempt = AttemptRead(
            outcome,
            self.milliseconds(element.get("duration") or element.get("time")),
            failure,
            output_text(element.said("output")),
        )
        pairs = [(one.get("name"), one.get("value")) for one in element.all("properties", "property")]
        # Version 3 has them among the properties, under this name.
        pairs += [("Category", one.get("name")) for one in element.all("categories", "category")]
        files = [
            attachment(one.said("filePath"), one.said("description"))
            for one in element.all("attachments", "attachment")
        ]
        assembly = self._suites[-1][1] if self._suites else ""
        self.add(
            suites=[assembly] if assembly else [],
            class_name=class_name,
            name=name,
            attempts=[attempt],
            properties=pairs,
            attachments=files,
            reason=element.said("reason", "message"),
        )

    def _outcome(self, element: Element) -> Outcome:
        result = element.get("result").partition(":")[0].partition("(")[0]
        if not result:
            return self._outcome_of_old(element)
        outcome = _OUTCOMES.get(result.lower())
        if outcome is None:
            return self.unknown(result)
        if outcome is Outcome.FAILED and element.get("label").lower() in _ERROR_LABELS:
            return Outcome.ERRORED
        return outcome

    def _outcome_of_old(self, element: Element) -> Outcome:
        """Before 2.5 there was no `result`; and a list of tests has none in any version."""
        success = element.get("success").lower()
        if element.get("executed").lower() == "false" or not success:
            self.note("A test case has no result: it did not run, and counts as skipped.")
            return Outcome.SKIPPED
        if success == "false":
            return Outcome.FAILED
        return Outcome.PASSED if success == "true" else self.unknown(success)

    @staticmethod
    def _failure(element: Element) -> FailureText:
        found = element.first("failure") or element.first("error") or element
        reason = element.said("reason", "message")
        return failure_text(
            "", found.said("message") or reason or element.get("label"), found.said("stack-trace")
        )

    def _failed_suite(self, element: Element) -> None:
        """A broken set-up belongs to the suite; that one of its tests failed is no news."""
        name, _, site = self._suites[-1] if self._suites else ("", "", "")
        message = element.said("message")
        if site in _INHERITED_SITES or message.startswith(("One or more child tests", "Child test failed")):
            return
        if message.strip() or element.said("stack-trace").strip():
            self.suite_error(name, failure_text("", message, element.said("stack-trace")))


def split_name(full_name: str, name: str = "") -> tuple[str, str]:
    """Split `Shop.Orders.Refunds("a.b")` into the class `Shop.Orders` and `Refunds("a.b")`.

    `name` is the test's own name where the report has it. Dots within parentheses belong to parameters.
    """
    if name and full_name.endswith(f".{name}"):
        return full_name[: -len(name) - 1], name
    end = _method_end(full_name)
    dot = full_name.rfind(".", 0, end)
    return (full_name[:dot], full_name[dot + 1 :]) if dot > 0 else ("", full_name)


def _method_end(full_name: str) -> int:
    """Where the last pair of parentheses opens when the name ends in one, else its end."""
    if not full_name.endswith(")"):
        return len(full_name)
    opened = full_name.find("(")
    # A parameterised fixture has parentheses of its own: `Fixture(1).Test(2)`.
    later = full_name.find(").", opened)
    if later > 0 and '"' not in full_name[:later]:
        again = full_name.find("(", later)
        return again if again > 0 else opened
    return opened if opened >= 0 else len(full_name)
