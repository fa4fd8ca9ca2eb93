"""What is no report is named for what it is, and what is broken is told with its mend."""

from __future__ import annotations

import io

import pytest

from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportError, UnsafeReportError
from runs.ingestion.formats import describe_bytes
from runs.ingestion.readers import report_reader
from runs.ingestion.report import CaseRead, ReportSummary
from runs.ingestion.sections import Sections


def read(document: str | bytes) -> tuple[list[CaseRead], ReportSummary]:
    data = document.encode() if isinstance(document, str) else document
    reader = report_reader(io.BytesIO(data))
    return [case for batch in reader.batches() for case in batch], reader.summary


def refusal(document: str | bytes) -> ReportError:
    with pytest.raises(ReportError) as caught:
        read(document)
    return caught.value


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('<!DOCTYPE report PUBLIC "-//JACOCO//DTD" "report.dtd"><report name="a"/>', "JaCoCo"),
        ('<!DOCTYPE coverage SYSTEM "http://x/coverage-04.dtd"><coverage/>', "coverage report"),
        ('<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "x.dtd"><html><p>a', "HTML page"),
        ('<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML" "x.dtd"><html/>', "HTML page"),
        ("<checkstyle/>", "Checkstyle"),
        ('<project xmlns="http://maven.apache.org/POM/4.0.0"/>', "Maven"),
        ("<testng-results><suite/></testng-results>", "junitreports"),
        (
            '<e:events xmlns:e="https://schemas.opentest4j.org/reporting/events/0.2.0"/>',
            "Open Test Reporting",
        ),
        ("<Catch2TestRun><TestCase/></Catch2TestRun>", "--reporter junit"),
        ("<TestCase><Environment/></TestCase>", "junitxml"),
        ('<testResults version="1.2"><httpSample/></testResults>', "JMeter"),
        ('<n:test-suite xmlns:n="urn:model.allure.qatools.yandex.ru"/>', "Allure"),
        ("<Error><Code>AccessDenied</Code></Error>", "The download failed"),
    ],
)
def test_other_xml_is_named_with_what_to_do(document: str, words: str) -> None:
    error = refusal(document)

    assert isinstance(error, NotAReportError)
    assert words in error.reason


@pytest.mark.parametrize(
    "document",
    [
        "<TestRun><FailedTests/><SuccessfulTests><Test id='1'/></SuccessfulTests></TestRun>",
        "<TestRun elapsed='0.1'><Statistics/></TestRun>",
        '<assembly xmlns="http://maven.apache.org/ASSEMBLY/2.0.0"><id>x</id></assembly>',
    ],
    ids=["CppUnit", "AUnit", "Maven"],
)
def test_a_root_that_two_formats_share_is_no_empty_report(document: str) -> None:
    assert isinstance(refusal(document), NotAReportError)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('[{"uri": "a.feature", "keyword": "Feature", "elements": []}]', "Cucumber"),
        ('{"uuid": "1", "historyId": "2", "status": "passed"}', "Allure"),
        ('{"stats": {"passPercent": 1}, "results": [{"suites": []}]}', "mocha-junit-reporter"),
        ('{"numFailedTests": 0, "numTotalTests": 3}', "jest-junit"),
        ('{"config": {"rootDir": "/"}, "suites": [], "stats": {}}', "--reporter=junit"),
        ('{"Time": "x", "Action": "run", "Package": "a"}\n{"Action": "pass", "Package": "a"}', "gotestsum"),
        ('{"metrics": {}, "root_group": {}}', "handleSummary"),
        ('{"$schema": "x/sarif.json", "runs": []}', "SARIF"),
        ('{"results": [{"name": "x"}]}', "no array of `results.tests`"),
        ("[1, 2]", "no CTRF"),
    ],
)
def test_other_json_is_named_with_what_to_do(document: str, words: str) -> None:
    error = refusal(document)

    assert isinstance(error, NotAReportError)
    assert words in error.reason
    assert words in describe_bytes(document.encode())


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "an image"),
        (b"BZh91AY&SY", "Pack reports as .zip"),
        (b"TN:\nSF:a.c\nend_of_record\n", "lcov"),
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
        (b"TAP version 13\n1..2\n", "TAP"),
        (b"=== RUN   TestA\n", "gotestsum"),
        (b"[INFO] 3 tests\n", "plain text, perhaps a log"),
        (b"[2026-11-21 10:00] started\n", "plain text, perhaps a log"),
        (b"\0" * 600, "a binary file"),
    ],
)
def test_what_is_no_xml_at_all_is_named(document: bytes, words: str) -> None:
    error = refusal(document)

    assert isinstance(error, NotAReportError)
    assert words in error.reason


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("Running tests\n<testsuite/>", "Something else stands before the XML"),
        ('\n<?xml version="1.0"?><testsuite/>', "not even an empty one"),
        ("<testsuite/><testsuite/>", "write each into a file of its own"),
        ("<testsuite><testcase name='a'><failure>", "was stopped before"),
        ("<testsuite><system-out><![CDATA[", "it breaks off"),
        ("<testsuite><testcase name='a'/><testcase na", "it breaks off"),
        ("<testsuite><testcase name='a'/><testcase name='b", "it breaks off"),
        ("<testsuite name='\x1b[31m'/>", "control character"),
        ("<testsuite name='&#27;'/>", "control character"),
        (b"<testsuite name='\xe9 '/>", "not in the encoding"),
        ("<testsuite name='a & b'/>", "`&amp;`"),
        ("<testsuite name='a < b'/>", "`&lt;`"),
    ],
)
def test_a_fault_is_told_with_its_mend(document: str | bytes, words: str) -> None:
    error = refusal(document)

    assert isinstance(error, MalformedReportError)
    assert error.reason.startswith("Not well-formed XML: ")
    assert words in error.reason


def test_a_report_without_test_cases_says_so() -> None:
    assert read("<testsuites/>")[1].notes == ["No test case is in this report."]
    assert read("<testsuites><testsuite tests='3'/><testsuite tests='2'/></testsuites>")[1].notes == [
        "No test case is in this report, though it says that it has 5."
    ]
    [note] = read('<testsuites xmlns="http://check.sourceforge.net/ns"><suite/></testsuites>')[1].notes
    assert "Check's own log" in note


def test_a_test_may_speak_of_entities() -> None:
    """Only a document type declares any: a test of an XML library prints what it reads."""
    text = "<![CDATA[<!DOCTYPE a [<!ENTITY b 'c'>]>]]>"
    cases, _ = read(f"<testsuite><testcase name='t'><failure>{text}</failure></testcase></testsuite>")
    assert cases[0].attempts[0].failure is not None
    assert "<!ENTITY b" in cases[0].attempts[0].failure.text

    nunit = (
        f"<test-run><test-case fullname='C.t' result='Passed'><output>{text}</output></test-case></test-run>"
    )
    assert [case.name for case in read(nunit)[0]] == ["t"]

    hidden = "<?xml version='1.0'?><!-- <a> --><!DOCTYPE t [<!ENTITY b 'c'>]><testsuite/>"
    assert isinstance(refusal(hidden), UnsafeReportError)


def test_ctrf_may_be_in_utf_16() -> None:
    document = '{"results": {"tests": [{"name": "é", "status": "passed", "duration": 1}]}}'

    assert [case.name for case in read(document.encode("utf-16"))[0]] == ["é"]
    assert isinstance(refusal('{"numTotalTests": 3}'.encode("utf-16")), NotAReportError)


def test_a_part_of_an_nunit_report_is_read() -> None:
    case = "<test-case name='N.C.t' success='True'/>"
    part = f"<test-suite type='TestFixture' name='C'><results>{case}</results></test-suite>"

    assert [(case.class_name, case.name) for case in read(part)[0]] == [("N.C", "t")]


def test_a_log_of_any_length_is_read() -> None:
    """The parser by itself refuses a section of ten million bytes."""
    line = "x" * 99 + "\n"
    log = f"[[ATTACHMENT|a.png]]{line * 130_000}the end"
    cases, _ = read(
        f"<testsuite><testcase name='a'><system-out><![CDATA[{log}]]></system-out></testcase>"
        "<testcase name='b'/></testsuite>"
    )

    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].attempts[0].output.endswith("the end")
    assert [one.path for one in cases[0].attachments] == ["a.png"]


@pytest.mark.parametrize("size", [1, 4, 10, 33])
def test_a_section_is_divided_between_characters_and_nowhere_else(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.ingestion.sections.PIECE_BYTES", 8)
    monkeypatch.setattr("runs.ingestion.feeding.CHUNK_BYTES", size)
    text = "]] >表é漢]]\n<!-- <![CDATA[ --> a]" * 9
    document = (
        f"<testsuite><!-- <![CDATA[ -->\n<testcase name='t'><failure><![CDATA[{text}]]></failure></testcase>"
        "<testcase name='u'/></testsuite>"
    )

    cases, _ = read(document)

    assert len(cases) == 2
    assert cases[0].attempts[0].failure is not None
    assert cases[0].attempts[0].failure.text == text.rstrip()


def test_utf_16_is_left_as_it_is() -> None:
    chunk = "<![CDATA[".encode("utf-16") + b"a\0" * 2_000_000

    assert Sections().divided(chunk) == chunk


def test_pesters_sentences_are_whole_names() -> None:
    case = "<test-case description='returns 1.5' name='Get-Price.with tax.returns 1.5' result='Success'/>"
    [pester] = read(f"<test-results><test-suite><results>{case}</results></test-suite></test-results>")[0]

    assert (pester.class_name, pester.name) == ("Get-Price.with tax", "returns 1.5")
    described = "<test-case description='It pays' name='N.C.Pays' result='Success'/>"
    [nunit] = read(f"<test-results><test-suite><results>{described}</results></test-suite></test-results>")[0]
    assert (nunit.class_name, nunit.name) == ("N.C", "Pays")
