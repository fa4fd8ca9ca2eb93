"""Make cases of what formats other than JUnit tell, and count them by the same rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runs.ingestion.attachments import Attachment, kept_attachments
from runs.ingestion.errors import ReportLimitError
from runs.ingestion.identity import CaseIdentities, longer_chain
from runs.ingestion.report import (
    DURATION_LIMIT_MS,
    MESSAGE_LIMIT,
    OUTPUT_LIMIT,
    PATH_LIMIT,
    PROPERTY_LIMIT,
    REASON_LIMIT,
    SERVICE_PROPERTIES,
    TEXT_LIMIT,
    AttemptRead,
    CaseRead,
    FailureText,
    Properties,
    ReportSummary,
    SuiteError,
    cut,
    joined_path,
    limited_property,
    more_services,
)
from runs.ingestion.text import shortened
from runs.ingestion.times import plain_seconds, spelled_seconds
from runs.vocabulary import Outcome

SUITE_ERROR_LIMIT = 50
#: Chains of suites that are remembered.
_CHAIN_LIMIT = 1_000


class Source(NamedTuple):
    """Where a case is written."""

    file: str
    line: int | None = None
    #: Whether the file is a part of the identity: where class and name alone do not tell tests apart.
    is_identifying: bool = False


NO_SOURCE = Source("")


class Tally:
    """The cases of one report as they are found, and its summary."""

    def __init__(self, case_limit: int | None) -> None:
        self.summary = ReportSummary()
        self.cases: list[CaseRead] = []
        self._case_limit = case_limit
        self._identities = CaseIdentities()
        self._chains: dict[tuple[str, ...], tuple[str, str]] = {}

    def add(  # noqa: PLR0913 - all that a case is
        self,
        *,
        suites: Sequence[str],
        class_name: str,
        name: str,
        attempts: Sequence[AttemptRead],
        source: Source = NO_SOURCE,
        variant: str = "",
        properties: Sequence[tuple[str, str]] = (),
        attachments: Sequence[Attachment] = (),
        reason: str = "",
    ) -> None:
        """Add a case with its attempts, in their order; there is at least one.

        Raises:
            ReportLimitError: it is one too many.
        """
        summary = self.summary
        summary.case_count += 1
        if self._case_limit is not None and summary.case_count > self._case_limit:
            reason = f"More than {self._case_limit:,} test cases."
            raise ReportLimitError(reason)
        path, chain = self._around(tuple(suites))
        services: tuple[str, ...] = ()
        told = self._kept_properties(properties) if properties else ()
        if told and any(one.failure is not None for one in attempts):
            for own, value in told:
                services = more_services(services, value) if own in SERVICE_PROPERTIES else services
        self._count([one.outcome for one in attempts])
        file = source.file if source.is_identifying else ""
        self.cases.append(
            CaseRead(
                path,
                class_name,
                name,
                source.file,
                source.line,
                variant,
                tuple(attempts),
                self._identities.of(chain, class_name, name, file, variant),
                told,
                services,
                self._kept_attachments(attachments) if attachments else (),
                cut(reason.strip(), REASON_LIMIT) if attempts[-1].failure is None else "",
            )
        )

    def suite_error(self, suite: str, failure: FailureText) -> None:
        """Keep a failure that belongs to none of the cases."""
        self.summary.suite_error_count += 1
        if len(self.summary.suite_errors) < SUITE_ERROR_LIMIT:
            self.summary.suite_errors.append(SuiteError(suite, failure))

    def note(self, text: str) -> None:
        """Keep what a person may want to know, once."""
        self.summary.note(text)

    def unknown(self, result: str) -> Outcome:
        """Say what a result comes to that no version of the format knows: an error, never a pass."""
        self.note(f"The result “{result[:60]}” of a test case is not known; it counts as an error.")
        return Outcome.ERRORED

    def milliseconds(self, time: str | None) -> int | None:
        """Read a duration in any of the forms that JUnit reports have; count those that are none."""
        if not time or time.isspace():
            self.summary.time_missing_count += 1
            return None
        seconds = plain_seconds(time)
        if seconds is None:
            seconds = spelled_seconds(time)
        if seconds is None or seconds * 1000 > DURATION_LIMIT_MS:
            self.summary.time_bad_count += 1
            self.note(f"The time “{time[:60]}” of a test case is no duration; it has none.")
            return None
        self.summary.time_sum_seconds += seconds
        return round(seconds * 1000)

    def _kept_properties(self, pairs: Sequence[tuple[str, str]]) -> Properties:
        named = [(name, value) for name, value in pairs if name]
        if len(named) > PROPERTY_LIMIT:
            self.note(f"A test case has more than {PROPERTY_LIMIT} properties; the first of them are kept.")
        return tuple(limited_property(name, value) for name, value in named[:PROPERTY_LIMIT])

    def _kept_attachments(self, found: Sequence[Attachment]) -> tuple[Attachment, ...]:
        kept, left_count = kept_attachments(found)
        self.summary.attachment_left_count += left_count
        return kept

    def _around(self, suites: tuple[str, ...]) -> tuple[str, str]:
        """The suites for people and for the identity; once, for a hostile name is long and around many."""
        known = self._chains.get(suites)
        if known is None:
            path = chain = ""
            for suite in suites:
                path = joined_path(path, suite)
                chain = longer_chain(chain, suite)
            if len(self._chains) >= _CHAIN_LIMIT:
                self._chains.clear()
            known = self._chains[suites] = (cut(path, PATH_LIMIT), chain)
        return known

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        summary = self.summary
        last = outcomes[-1]
        if last is Outcome.PASSED:
            summary.passed_count += 1
            summary.flaky_count += len(set(outcomes)) > 1
        elif last is Outcome.SKIPPED:
            summary.skipped_count += 1
        else:
            summary.rerun_failed_count += len(outcomes) > 1
            if outcomes[0] is Outcome.ERRORED:
                summary.errored_count += 1
            else:
                summary.failed_count += 1


def failure_text(kind: str, message: str, text: str) -> FailureText:
    """Return a failure within its limits; without a message, its text's first line stands in."""
    text = text.strip("\r\n").rstrip()
    said = message.strip() or next((line.strip() for line in text.splitlines() if line.strip()), "")
    return FailureText(kind.strip()[:500], cut(said, MESSAGE_LIMIT), cut(text, TEXT_LIMIT))


def output_text(*parts: str) -> str:
    """Return what a case printed, all streams together, within the limit."""
    return shortened("\n".join(part for part in parts if part.strip()), OUTPUT_LIMIT)


def file_name(path: str) -> str:
    """Return the last part of a path, whichever way its slashes lean: machines differ in the rest."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
