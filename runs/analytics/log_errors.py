"""Which lines of a service's log report an error, and how many of them are usual."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime

from runs.analytics.windows import Window

#: A line is looked at this far: what it is stands at its beginning.
_LOOKED_AT = 400
#: Less time than this without a failing test is too little to say what is usual.
LEAST_CALM_SECONDS = 1.0
_ERROR = re.compile(
    r"\b(?:ERROR|FATAL|CRITICAL|PANIC|SEVERE|EMERG|ALERT|CRIT)\b"
    r"|\b(?:error|fatal|critical|panic)\b\s*[:\]]"
    r"|\b(?:level|severity|lvl)[\"']?\s*[=:]\s*[\"']?(?:error|err|fatal|critical|panic)\b"
    r"|^Traceback \(most recent call last\)|^Exception in thread|\bUnhandled(?:Promise)?\s?[Rr]ejection",
)
#: What says that there was none, with the word in it.
_NONE = re.compile(
    r"\b(?:0|no|without) errors?\b|\berrors?[\"']?\s*[=:]\s*[\"']?(?:0|null|none|false)\b", re.IGNORECASE
)


def is_error_line(line: str) -> bool:
    """Whether the line reports an error, by the words that loggers use."""
    head = line[:_LOOKED_AT]
    return _ERROR.search(head) is not None and _NONE.search(head) is None


class CalmTime:
    """The time in which tests passed and none was failing: what a service logs then is usual."""

    def __init__(self, passing: Sequence[Window], failing: Sequence[Window]) -> None:
        self._spans = _without(_merged(passing), _merged(failing))
        self._seconds = sum((end - start).total_seconds() for start, end in self._spans)

    def usual_count(self, moments: Sequence[datetime], seconds: float) -> float:
        """How many of these sorted moments are usual in so many seconds; 0 when there was no calm."""
        if self._seconds < LEAST_CALM_SECONDS:
            return 0.0
        within = sum(bisect_right(moments, end) - bisect_left(moments, start) for start, end in self._spans)
        return within / self._seconds * seconds


type Span = tuple[datetime, datetime]


def _merged(windows: Sequence[Window]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted((window.started_at, window.ended_at) for window in windows):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _without(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """What is left of sorted spans when other sorted spans are cut out of them."""
    left: list[Span] = []
    at = 0
    for start, end in spans:
        while at < len(taken) and taken[at][1] <= start:
            at += 1
        begin = start
        for off, on in taken[at:]:
            if off >= end:
                break
            if off > begin:
                left.append((begin, off))
            begin = max(begin, on)
        if begin < end:
            left.append((begin, end))
    return left
