"""When each test of an environment's run ran: exact by the tests' own marks, else worked out.

Marks carry the name that a tool knows its test by. pytest's is a node id; other tools' are tried as the
ways in which class and name are usually written together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

#: Of the sum of durations over the time that passed: beyond this, tests ran side by side.
_SIDE_BY_SIDE = 1.05


class CaseName(NamedTuple):
    """What a report calls a test."""

    class_name: str
    name: str
    parameters: str = ""


class Mark(NamedTuple):
    """A test said that it starts, or ends, now."""

    test: str
    is_start: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when a test ran."""

    started_at: datetime
    ended_at: datetime
    #: Not by its own marks.
    is_estimated: bool = False

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.ended_at - self.started_at).total_seconds()


def name_of_node(node: str) -> CaseName:
    """Return what pytest's JUnit report calls the test of a node id.

    `tests/test_a.py::TestX::test_y[a/b]` is `test_y` with `[a/b]` of the class `tests.test_a.TestX`.
    """
    path, bracket, parameters = node.partition("[")
    file, *names = path.split("::")
    module = re.sub(r"\.py$", "", file.replace("/", "."))
    if not names:
        return CaseName("", module, bracket + parameters)
    return CaseName(".".join([module, *names[:-1]]), names[-1], bracket + parameters)


class Names:
    """Finds the test that a mark speaks of."""

    def __init__(self, tests: Iterable[tuple[int, CaseName]]) -> None:
        self._exact: dict[str, int] = {}
        self._bare: dict[str, int | None] = {}
        for case, name in tests:
            self._exact.setdefault(_spelled(name.class_name, name), case)
            bare = f"{name.name}{name.parameters}"
            # A name that several tests share tells none of them.
            self._bare[bare] = None if bare in self._bare else case

    def find(self, test: str) -> int | None:
        """The case, None when the name fits none or several."""
        node = name_of_node(test)
        exact = self._exact.get(_spelled(node.class_name, node))
        if exact is not None:
            return exact
        head, bracket, parameters = test.partition("[")
        plain = re.sub(r"::|[#/ ]", ".", head) + bracket + parameters
        found = self._exact.get(plain)
        return found if found is not None else self._bare.get(test)


def _spelled(class_name: str, name: CaseName) -> str:
    return f"{class_name}.{name.name}{name.parameters}" if class_name else f"{name.name}{name.parameters}"


def marked_windows(marks: Iterable[Mark], names: Names, *, ended_at: datetime | None) -> dict[int, Window]:
    """The window of each test's first try, by case. A test that never ended was cut off at `ended_at`."""
    open_since: dict[int, datetime] = {}
    windows: dict[int, Window] = {}
    for mark in sorted(marks, key=lambda mark: (mark.at, mark.is_start)):
        case = names.find(mark.test)
        if case is None or case in windows:
            continue
        if mark.is_start:
            open_since.setdefault(case, mark.at)
        elif case in open_since:
            windows[case] = Window(open_since.pop(case), mark.at)
    if ended_at is not None:
        for case, started_at in open_since.items():
            windows[case] = Window(started_at, max(started_at, ended_at))
    return windows


class Timed(NamedTuple):
    """A test and how long it took, in the report's order; None when the report does not say."""

    case: int
    duration_ms: int | None


def estimated_windows(tests: Sequence[Timed], started_at: datetime, ended_at: datetime) -> dict[int, Window]:
    """The earliest start and the latest end that each test can have had, run one after the other.

    What the durations do not explain (setting up, collecting) may have come before or after any test, so
    each window is wider by as much. Where durations are missing, or add up to more than the time that
    passed because tests ran side by side, each may have run at any time of it.
    """
    total = ended_at - started_at
    durations = [timedelta(milliseconds=one.duration_ms or 0) for one in tests]
    spent = sum(durations, timedelta())
    is_serial = all(one.duration_ms is not None for one in tests) and spent <= total * _SIDE_BY_SIDE
    if not is_serial:
        return {one.case: Window(started_at, ended_at, is_estimated=True) for one in tests}
    slack = max(total - spent, timedelta())
    windows = {}
    at = started_at
    for one, duration in zip(tests, durations, strict=True):
        end = min(at + duration + slack, ended_at)
        windows[one.case] = Window(min(at, end), end, is_estimated=True)
        at += duration
    return windows
