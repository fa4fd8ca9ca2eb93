"""What is said of a comparison: the verdict, the likely cause, what to do next, and all of it as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runs.analytics.comparison import Change
from runs.models import TestCase
from runs.queries.compare_page import Findings, Section
from runs.queries.text import one_line
from runs.vocabulary import RunStatus

_TITLES = {
    Change.BROKE: "Broke",
    Change.STILL_FAILING: "Failing in both",
    Change.FLAKY: "Flaky",
    Change.FIXED: "Fixed",
    Change.NEW_TEST: "New tests",
    Change.REMOVED: "Removed",
    Change.SLOWER: "Slower",
}
_MARKUP = re.compile(r"[\\`*_\[\]<>|]")
#: Tests of a category that the summary names.
_NAMED = 15


@dataclass(frozen=True, slots=True)
class Said:
    """The comparison in words."""

    #: What broke, to be read first; empty when nothing did. `rest` goes on with its own space.
    broke: str
    rest: str
    cause: list[str]
    limits: list[str]
    markdown: str


def said_of(found: Findings, *, address: str) -> Said:
    """Put it into words; `address` is the page's, for the summary."""
    broke, rest = _verdict(found)
    cause = list(_cause(found))
    limits = list(_limits(found))
    markdown = "\n".join(_markdown(found, f"{broke}{rest}", cause, limits, address))
    return Said(broke, rest, cause, limits, markdown)


def title_of(change: Change) -> str:
    """A category as people call it."""
    return _TITLES[change]


def _verdict(found: Findings) -> tuple[str, str]:
    counts = found.counts
    broke = f"{_tests(counts[Change.BROKE])} broke" if counts[Change.BROKE] else ""
    parts = []
    if found.new_failing_count:
        parts.append(f"{_tests(found.new_failing_count, 'new test')} fail{_s(found.new_failing_count)}")
    if counts[Change.FIXED]:
        parts.append(f"{counts[Change.FIXED]} {'was' if counts[Change.FIXED] == 1 else 'were'} fixed")
    if counts[Change.STILL_FAILING]:
        parts.append(f"{counts[Change.STILL_FAILING]} fail{_s(counts[Change.STILL_FAILING])} in both")
    if counts[Change.SLOWER]:
        parts.append(f"{counts[Change.SLOWER]} got slower")
    joined = _joined(parts)
    if broke:
        return broke, f" and {joined}." if len(parts) == 1 else f"; {joined}." if parts else "."
    return "", f"Nothing broke; {joined}." if parts else "Nothing broke, and nothing got slower."


def _cause(found: Findings) -> Iterator[str]:
    """Only what speaks for it: blamed services, the one thing that differs, the one commit."""
    suspicion = found.suspicion
    for service, count in suspicion.services:
        yield f"{count} of {suspicion.looked_at} new failures are held against the service {_one(service)}."
    if suspicion.looked_at and not suspicion.services:
        yield "No service is blamed for the new failures."
    if not suspicion.looked_at:
        return
    differing = found.settings.differing
    if found.settings.differing_count == 1:
        yield f"One setting differs: {_one(differing[0].name)}."
    if found.base.commit and found.base.commit == found.head.commit:
        yield "Both ran the same commit: what broke did not break by a change of the code under test."
    elif len(found.commits) == 1:
        yield f"One commit that this suite ran on lies between: {found.commits[0].commit[:8]}."


def _limits(found: Findings) -> Iterator[str]:
    """What the comparison cannot tell, and why."""
    comparison = found.comparison
    if comparison.selected_count is not None:
        selected = found.head if found.head.selection else found.base
        yield f"#{selected.number} ran selected tests only: {_tests(comparison.selected_count)} compared."
    if comparison.is_partial:
        yield (
            "These runs are large: only tests that did not pass in one of them were compared. New, removed "
            "and slower tests are not known."
        )
    for run in (found.base, found.head):
        if run.status not in {RunStatus.PASSED, RunStatus.FAILED}:
            ended = str(run.status).replace("_", " ")
            yield f"#{run.number} ended {ended}: tests that it did not reach are missing from it."


def _markdown(
    found: Findings, verdict: str, cause: list[str], limits: list[str], address: str
) -> Iterator[str]:
    base, head = found.base, found.head
    yield f"### #{base.number} against #{head.number}"
    yield ""
    yield verdict
    yield ""
    yield "| | base | head |"
    yield "|---|---|---|"
    yield f"| run | #{base.number}, {base.status} | #{head.number}, {head.status} |"
    yield f"| branch | {_code(base.branch)} | {_code(head.branch)} |"
    yield f"| commit | {_code(base.commit[:12])} | {_code(head.commit[:12])} |"
    for setting in found.settings.differing[:_NAMED]:
        yield f"| {_code(setting.name)} | {_code(setting.base)} | {_code(setting.head)} |"
    for cause_group in found.causes:
        message = cause_group.failure.message or cause_group.failure.kind if cause_group.failure else ""
        yield ""
        yield f"**Broke, {_tests(cause_group.count)}:** {_code(message or 'failed without a message')}"
        yield ""
        for row in cause_group.rows[:_NAMED]:
            yield f"- {_code(_name(row.case))}"
    for change, section in found.sections.items():
        if change is not Change.BROKE and section.count:
            yield from _listed(section)
    for sentences in (cause, limits):
        if sentences:
            yield ""
            yield from (f"- {_plain(sentence)}" for sentence in sentences)
    yield ""
    yield address


def _plain(sentence: str) -> str:
    """A sentence that may hold strangers' names, which make no markup and call nobody where it is pasted."""
    return _MARKUP.sub(r"\\\g<0>", sentence).replace("@", "@\u200b")


def _listed(section: Section) -> Iterator[str]:
    yield ""
    yield f"**{title_of(section.change)}, {_tests(section.count)}**"
    yield ""
    for row in section.rows[:_NAMED]:
        yield f"- {_code(_name(row.case))}"
    if section.count > _NAMED:
        yield f"- and {section.count - _NAMED} more"


def _name(case: TestCase | None) -> str:
    return f"{case.name}{case.parameters}" if case else "a test that is gone"


def _code(text: str | None) -> str:
    """Strangers' text as code that cannot end early, break a table or run on."""
    line = one_line(text or "", 200).replace("`", "'").replace("|", "¦")
    return f"`{line}`" if line else "–"  # noqa: RUF001 - a dash in a table's empty cell


def _one(text: str) -> str:
    return one_line(text, 80)


def _tests(count: int, noun: str = "test") -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _s(count: int) -> str:
    """The verb's ending."""
    return "s" if count == 1 else ""


def _joined(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
