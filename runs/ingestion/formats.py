"""Files that are no reports, named for what they are, and faults of reports with their mend."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Names of reports and of archives of them.
REPORT_ENDINGS = (".xml", ".trx", ".json", ".gz", ".tgz", ".zip", ".tar")
REPORT_ROOTS = frozenset({"testsuites", "testsuite", "testcase"})


_EXPORT = "Let the tool write JUnit XML instead, and upload that."


class _Known(NamedTuple):
    """What a file is, and how to get a report instead."""

    what: str
    mend: str = _EXPORT

    @property
    def told(self) -> str:
        return f"This is {self.what}, not a test report that is read. {self.mend}"


_NO_TESTS = "It tells of no tests: the test runner writes a report beside it when it is asked to."
_MESSAGE_OF_A_PAGE = "Perhaps a log-in or error page was saved instead of the report."

#: Of these no test case is read, whatever is in them.
_REFUSED_ROOTS = {
    "robot": _Known("Robot Framework's own output", "`rebot --xunit FILE output.xml` makes a report of it."),
    "Site": _Known("a CTest dashboard file", "`ctest --output-junit FILE` writes a report."),
    "TestLog": _Known("Boost.Test's own log", "`--log_format=JUNIT --log_sink=FILE` writes a report."),
    "TestResult": _Known(
        "Boost.Test's own report", "`--log_format=JUNIT --log_sink=FILE` writes one that is."
    ),
    "failsafe-summary": _Known("Maven Failsafe's summary", "The reports are the TEST-*.xml files beside it."),
    "result": _Known("Jenkins' own junitResult.xml", "Upload the reports that Jenkins made it of."),
    "project": _Known("a Maven or Ant project file", _NO_TESTS),
    "html": _Known("an HTML page", _MESSAGE_OF_A_PAGE),
    "coverage": _Known("a coverage report (Cobertura or Clover)", _NO_TESTS),
    "checkstyle": _Known("a Checkstyle report", _NO_TESTS),
    "Result": _Known("an Android CTS result"),
    "TestSuites": _Known(
        "XML with the wrong case", "JUnit's elements are `testsuites`, `testsuite`, `testcase`."
    ),
}
#: These are only named when there is no test case in them: other files have elements of such names, too.
_OTHER_ROOTS = {
    "test-suite": _Known("an Allure 1 result", "Upload what the test runner itself writes for JUnit."),
    "testng-results": _Known("TestNG's own report", "Upload the files in its folder `junitreports`."),
    "suite": _Known("a TestNG suite file", _NO_TESTS),
    "testExecutions": _Known("SonarQube's test execution format"),
    "unitTest": _Known("SonarQube's test execution format"),
    "events": _Known(
        "Open Test Reporting", "Upload the TEST-*.xml files of JUnit's legacy listener or of the build tool."
    ),
    "execution": _Known(
        "Open Test Reporting", "Upload the TEST-*.xml files of JUnit's legacy listener or of the build tool."
    ),
    "TestRun": _Known("the own report of CppUnit, AUnit or their like", "Turn it into JUnit XML first."),
    "TestResults": _Known("FPCUnit's own report", "Turn it into JUnit XML first."),
    "testResults": _Known("a JMeter log", "Turn it into JUnit XML first."),
    "CUNIT_TEST_RUN_REPORT": _Known(
        "CUnit's own report", "Its JUnit output is switched on with `CU_automated_enable_junit_xml`."
    ),
    "gtester": _Known("GLib's own report", "Turn it into JUnit XML first, as `meson test` does by itself."),
    "valgrindoutput": _Known("Valgrind's own report", _NO_TESTS),
    "Catch": _Known("Catch2's own XML", "`--reporter junit` writes a report."),
    "Catch2TestRun": _Known("Catch2's own XML", "`--reporter junit` writes a report."),
    "doctest": _Known("doctest's own XML", "`--reporters=junit` writes a report."),
    "TestCase": _Known("Qt Test's own XML", "`-o FILE,junitxml` writes a report."),
    "unittest-results": _Known("UnitTest++'s own XML", "Turn it into JUnit XML first."),
    "report": _Known("a report of JaCoCo or Gallio", _NO_TESTS),
    "ResultsSession": _Known("Parasoft's own report", "Turn it into JUnit XML first."),
    "assembly": _Known("an assembly descriptor or an empty xUnit.net report", _NO_TESTS),
    "phpunit": _Known("PHPUnit's configuration", "`phpunit --log-junit FILE` writes a report."),
    "mutations": _Known("a report of mutation tests", _NO_TESTS),
    "issues": _Known("a report of Android Lint", _NO_TESTS),
    "lint": _Known("a report of a linter", _NO_TESTS),
    "pmd": _Known("a PMD report", _NO_TESTS),
    "pmd-cpd": _Known("a CPD report", _NO_TESTS),
    "BugCollection": _Known("a SpotBugs report", _NO_TESTS),
    "results": _Known("a report of Cppcheck or its like", _NO_TESTS),
    "Error": _Known(
        "an error message of a file store, such as S3",
        "The download failed before the upload: look at its log.",
    ),
}
#: Its root is one of JUnit's, in a namespace of its own.
_CHECK = _Known("Check's own log", "Turn it into JUnit XML first.")
#: Words that stand in JSON of known kinds, all of them; the first that fits.
_JSON = (
    (
        {"historyId", "uuid"},
        _Known("a result of Allure", "Upload what the test runner itself writes for JUnit."),
    ),
    ({"stage", "uuid"}, _Known("a result of Allure", "Upload what the test runner itself writes for JUnit.")),
    (
        {"elements", "keyword"},
        _Known(
            "JSON of Cucumber or behave",
            "`--format junit:FILE` (JVM: `--plugin junit:FILE`) or `behave --junit` writes a report.",
        ),
    ),
    (
        {"protocolVersion", "meta"},
        _Known("Cucumber's messages", "`--format junit:FILE` (JVM: `--plugin junit:FILE`) writes a report."),
    ),
    (
        {"numTotalTests"},
        _Known("JSON of Jest or Vitest", "`jest-junit`, or `vitest --reporter=junit`, writes a report."),
    ),
    ({"passPercent"}, _Known("JSON of Mochawesome", "`mocha-junit-reporter` writes a report.")),
    ({"stats", "passes", "pending"}, _Known("JSON of Mocha", "`mocha-junit-reporter` writes a report.")),
    ({"config", "suites"}, _Known("JSON of Playwright", "`--reporter=junit` writes a report.")),
    (
        {"created", "exitcode"},
        _Known("JSON of pytest-json-report", "`pytest --junitxml=FILE` writes a report."),
    ),
    (
        {"Action", "Package"},
        _Known("JSON of `go test`", "`gotestsum --junitfile FILE` or `go-junit-report` writes a report."),
    ),
    (
        {"type", "event"},
        _Known("JSON of Rust's test harness", "`cargo nextest` with `junit` in its profile writes a report."),
    ),
    ({"summary_line", "examples"}, _Known("JSON of RSpec", "`rspec_junit_formatter` writes a report.")),
    ({"collection", "run"}, _Known("JSON of Newman", "`newman run --reporters junit` writes a report.")),
    (
        {"metrics", "root_group"},
        _Known("a summary of k6", "Its `handleSummary` can write JUnit XML by `jUnit(data)`."),
    ),
    ({"aggregate", "intermediate"}, _Known("JSON of Artillery")),
    (
        {"_postman_id"},
        _Known("a Postman collection", "`newman run --reporters junit` runs it and writes a report."),
    ),
    ({"userAgents", "fixtures"}, _Known("JSON of TestCafe", "`--reporter xunit:FILE` writes a report.")),
    ({"runs", "$schema"}, _Known("SARIF, findings of an analysis", _NO_TESTS)),
    ({"statementMap"}, _Known("a coverage report of Istanbul", _NO_TESTS)),
    ({"filePath", "messages"}, _Known("JSON of a linter", _NO_TESTS)),
)
_JSON_KEY = re.compile(r'"([A-Za-z_$][A-Za-z_$ ]*)"\s*:')
#: How JSON may go on after its first bracket; a line of a log may begin with one, too.
_JSON_START = re.compile(rb"\{\s*(?:[\"}]|$)|\[\s*(?:[{\[\"\]]|-?[0-9.]+\s*[,\]]|true|false|null|$)")
#: Characters of JSON by which it is told.
JSON_LOOKED_AT = 64 * 1024

_PACKED = "Pack reports as .zip, .gz or .tar.gz."
#: How files of known kinds begin.
_BEGINNINGS = (
    (b"\x89PNG", _Known("an image")),
    (b"\xff\xd8\xff", _Known("an image")),
    (b"GIF8", _Known("an image")),
    (b"%PDF", _Known("a PDF")),
    (b"BZh", _Known("a file packed by bzip2", _PACKED)),
    (b"\xfd7zXZ", _Known("a file packed by xz", _PACKED)),
    (b"(\xb5/\xfd", _Known("a file packed by Zstandard", _PACKED)),
    (b"7z\xbc\xaf", _Known("a 7-Zip archive", _PACKED)),
    (b"Rar!", _Known("a RAR archive", _PACKED)),
    (b"SQLite format 3", _Known("a SQLite database", _NO_TESTS)),
    (b"\x1aE\xdf\xa3", _Known("a video")),
    (b"\x7fELF", _Known("a program")),
    (b"\x01\xc0\xc0", _Known("JaCoCo's raw coverage", _NO_TESTS)),
    (
        b"version https://git-lfs",
        _Known("a pointer of Git LFS", "Fetch the file itself first: `git lfs pull`."),
    ),
    (b"TN:", _Known("lcov, a coverage report", _NO_TESTS)),
    (b"SF:", _Known("lcov, a coverage report", _NO_TESTS)),
    (b"mode: ", _Known("a coverage profile of Go", _NO_TESTS)),
    (
        b"=== RUN ",
        _Known(
            "output of `go test`", "`gotestsum --junitfile FILE` or `go-junit-report` makes a report of it."
        ),
    ),
    *(
        (mark, _Known("TAP output", "Turn it into JUnit XML first, for example by `tap-junit`."))
        for mark in (b"TAP version", b"1..", b"ok ", b"not ok ")
    ),
    *(
        (mark, _Known("an HTML page", _MESSAGE_OF_A_PAGE))
        for mark in (b"<!doctype html", b"<html", b"<!DOCTYPE HTML")
    ),
)
_BLANK = b"\xef\xbb\xbf \t\r\n"
_LOOKED_AT = 512
_XML_WITHIN = re.compile(rb"<\?xml|<testsuites?[\s/>]")

#: Words of the parser's reasons, and what to do about it.
_MENDS = (
    (
        ("breaks off", "Premature end", "end of Start Tag", "EndTag"),
        "Its tool was stopped before it had written all.",
    ),
    (
        ("xmlChar value", "Char value", "invalid character in attribute"),
        "XML has no place for such a control character, even escaped: let the tool leave it and colours out.",
    ),
    (
        ("character encoding", "proper UTF-8"),
        "The bytes are not in the encoding that the first line names, or UTF-8 where it names none.",
    ),
    (("Unsupported encoding", "encoding name"), "Let the tool write UTF-8."),
    (
        ("xmlParseEntityRef", "not defined", "EntityRef"),
        "XML knows only `&amp;`, `&lt;`, `&gt;`, `&quot;` and `&apos;`: an `&` by itself is written `&amp;`.",
    ),
    (("Unescaped '<'", "'<' not allowed"), "Within an attribute `<` is written `&lt;`."),
    (
        ("'<' not found",),
        "Something else stands before the XML: let the tool write the report into a file of its own.",
    ),
    (
        ("too big", "too long", "size limit", "Resource limit"),
        "An attribute, a name or a comment has up to 10 million characters: let the tool write less.",
    ),
)
_SECOND = ("Extra content", "only at the start", "allowed only")


def describe_root(tag: str, *, known_only: bool = False) -> str:
    """Say what a document with this root element is; empty for an unknown one when `known_only`.

    `tag` may have a namespace, as lxml tells it.
    """
    root = tag.rpartition("}")[2]
    if root in _REFUSED_ROOTS:
        return _REFUSED_ROOTS[root].told
    if known_only:
        return ""
    if root in _OTHER_ROOTS:
        return _OTHER_ROOTS[root].told
    return f"This is XML with the root element “{root[:100]}”, and no test case is in it. {_EXPORT}"


def describe_empty(tag: str, declared: int) -> str:
    """Say that a report holds no test case, and what may be wrong with it."""
    if tag.startswith("{http://check.sourceforge.net/ns}"):
        return f"{_CHECK.told} No test case is in it."
    if declared:
        return f"No test case is in this report, though it says that it has {declared:,}."
    return "No test case is in this report."


def describe_doctype(name: str) -> str:
    """Say what a document is whose document type names this root; empty when nothing comes to mind."""
    known = _REFUSED_ROOTS.get(name.lower()) or _OTHER_ROOTS.get(name)
    return known.told if known else ""


def describe_bytes(beginning: bytes) -> str:
    """Say what a file that is no XML looks like; empty when nothing comes to mind."""
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        beginning = beginning[2:].replace(b"\0", b"")
    start = beginning.lstrip(_BLANK)
    if _JSON_START.match(start[:_LOOKED_AT]):
        return describe_json(start[:JSON_LOOKED_AT].decode("utf-8", "replace"))
    lower = start[:_LOOKED_AT].lower()
    for mark, known in _BEGINNINGS:
        if start.startswith(mark) or lower.startswith(mark):
            return known.told
    return ""


def describe_text(beginning: bytes) -> str:
    """Say what a file is that is neither XML nor anything known; empty when some XML is in it."""
    plain = beginning.replace(b"\0", b"").lstrip(_BLANK + b"\xff\xfe")
    if plain.startswith(b"<") or _XML_WITHIN.search(plain):
        return ""
    return _Known("a binary file" if b"\0" in beginning else "plain text, perhaps a log").told


def describe_json(beginning: str) -> str:
    """Say what JSON is that is no CTRF report."""
    words = set(_JSON_KEY.findall(beginning))
    for signs, known in _JSON:
        if signs <= words:
            return known.told
    return f"This is JSON, but no CTRF report: it has no array of `results.tests`. {_EXPORT}"


def mend_of(fault: str, beginning: bytes) -> str:
    """Say what to do about a fault that the parser found; empty when nothing comes to mind."""
    start = beginning.lstrip(_BLANK)
    if not start.startswith(b"<") and b"\0" not in start[:4]:
        if _XML_WITHIN.search(start):
            return (
                "Something else stands before the XML: let the tool write the report into a file of its own."
            )
        kind = "a binary file" if b"\0" in start else "plain text, perhaps a log"
        return _Known(kind).told
    if any(words in fault for words in _SECOND):
        if beginning[:1].isspace():
            return "Nothing may stand before the first line, not even an empty one."
        return "Something follows after the end, such as a second report: write each into a file of its own."
    return next((mend for words, mend in _MENDS if any(one in fault for one in words)), "")


def may_be_report(beginning: bytes) -> bool:
    """Whether a file that begins so (its first 512 bytes) may be XML, CTRF or an archive of reports."""
    if beginning.startswith((b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06", b"\xff\xfe", b"\xfe\xff")):
        return True
    text = beginning.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):  # CTRF begins with one of these
        return b'"results"' in text or b'"reportFormat"' in text
    return text.startswith(b"<") or not text or beginning[257:262] == b"ustar"
