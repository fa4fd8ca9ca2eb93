"""Why a report cannot be taken: each says what, where and what to do.

ReportError
├── MalformedReportError      not well-formed XML; names the line
├── UnsafeReportError         declares entities or points outside of itself
├── NotAReportError           another format, or nothing at all; names it
└── ReportLimitError          too large, too deep, too many
"""

from __future__ import annotations


class ReportError(Exception):
    """A report that cannot be taken. `line` counts from 1 where it is known."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class MalformedReportError(ReportError):
    """The XML is not well-formed: the file was cut, or the tool that wrote it has a fault."""


class UnsafeReportError(ReportError):
    """The XML declares entities or points to another file; no test tool needs that."""


class NotAReportError(ReportError):
    """Something else than a JUnit report, named for what it is."""


class ReportLimitError(ReportError):
    """More than is taken of one report or one archive."""
