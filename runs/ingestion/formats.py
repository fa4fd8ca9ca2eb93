"""Files that are no reports, named for what they are."""

from __future__ import annotations

REPORT_ROOTS = frozenset({"testsuites", "testsuite", "testcase"})

_EXPORT = "Let the tool write JUnit XML instead, and upload that."
_KNOWN_ROOTS = {
    "robot": "Robot Framework's own output; `rebot --xunit` turns it into JUnit XML",
    "Site": "a CTest dashboard file; `ctest --output-junit` writes JUnit XML",
    "TestLog": "Boost.Test's own log; `--log_format=JUNIT` writes JUnit XML",
    "TestResult": "Boost.Test's own report; `--log_format=JUNIT` writes JUnit XML",
    "failsafe-summary": "Maven Failsafe's summary; the reports are the TEST-*.xml files beside it",
    "test-suite": "an Allure 1 result",
    "result": "Jenkins' own junitResult.xml; the reports that it was made of are wanted",
    "project": "a Maven or Ant project file",
    "html": "an HTML page",
    "coverage": "a coverage report",
    "checkstyle": "a Checkstyle report",
    "Result": "an Android CTS result",
    "TestSuites": "XML with the wrong case: JUnit's elements are `testsuites`, `testsuite`, `testcase`",
}


def describe_root(root: str, *, known_only: bool = False) -> str:
    """Say what a document with this root element is; empty for an unknown one when `known_only`."""
    if root in _KNOWN_ROOTS:
        return f"This is {_KNOWN_ROOTS[root]}, not a JUnit report. {_EXPORT}"
    if known_only:
        return ""
    return f"This is XML with the root element “{root[:100]}”, and no test case is in it. {_EXPORT}"


def describe_bytes(beginning: bytes) -> str:
    """Say what a file that is no XML looks like; empty when nothing comes to mind."""
    start = beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"{", b"[")):
        return describe_json()
    if start.startswith((b"<!doctype html", b"<html")):
        return "This is an HTML page, not a JUnit report: perhaps a log-in or error page was saved instead."
    if start.startswith((b"1..", b"tap version", b"ok ", b"not ok ")):
        return f"This is TAP output, not a JUnit report. {_EXPORT}"
    return ""


def describe_json() -> str:
    """Say what JSON is that is no CTRF report."""
    return "This is JSON, but no CTRF report: it has no array of `results.tests`. " + _EXPORT


def may_be_report(beginning: bytes) -> bool:
    """Whether a file that begins so (its first 512 bytes) may be XML, CTRF or an archive of reports."""
    if beginning.startswith((b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06", b"\xff\xfe", b"\xfe\xff")):
        return True
    text = beginning.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):  # CTRF begins with one of these
        return b'"results"' in text or b'"reportFormat"' in text
    return text.startswith(b"<") or not text or beginning[257:262] == b"ustar"
