"""What reports tell of cases besides outcomes: properties, files that they name, what passing cases print."""

from __future__ import annotations

import io
import json

import pytest

from runs.ingestion.attachments import (
    ATTACHMENT_LIMIT,
    Attachment,
    OutputSink,
    attachment,
    found_among,
    marked_paths,
    named_by_property,
    plain_path,
)
from runs.ingestion.details import (
    PASSING_OUTPUT_LIMIT,
    Details,
    DetailsBudget,
    SuiteDetails,
    SuitesTold,
    packed,
    packed_suites,
    unpacked,
    unpacked_suites,
)
from runs.ingestion.readers import report_reader
from runs.ingestion.report import AttemptRead, CaseRead, FailureText, ReportSummary, SuiteProperties
from runs.vocabulary import Outcome


def read(document: str) -> tuple[list[CaseRead], ReportSummary]:
    reader = report_reader(io.BytesIO(document.encode()))
    return [case for batch in reader.batches() for case in batch], reader.summary


def case_of(*attempts: AttemptRead, properties: tuple[tuple[str, str], ...] = ()) -> CaseRead:
    return CaseRead("s", "c", "t", "", None, "", attempts, b"", properties)


def passed(output: str) -> AttemptRead:
    return AttemptRead(Outcome.PASSED, 1, None, output)


# --- names of files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a\n[[ATTACHMENT|out/a.png]]\n[[ATTACHMENT|b.txt]]", ["out/a.png", "b.txt"]),
        ("[[ATTACHMENT| spaced name.png ]]", ["spaced name.png"]),
        ("[[ATTACHMENT|test[eur].png]]", ["test[eur].png"]),
        ("[[ATTACHMENT|test[eur]]]", ["test[eur]"]),
        ("[[ATTACHMENT|]] [[ATTACHMENT|   ]]", []),
        ("[[ATTACHMENT|begun\n]]", []),
        ("[[ATTACHMENT|begun [[ATTACHMENT|whole]]", ["whole"]),
        ("[[ATTACHMENT|never ended", []),
        (f"[[ATTACHMENT|{'x' * 1_001}]]", []),
    ],
)
def test_outputs_name_files_as_jenkins_reads_them(text: str, paths: list[str]) -> None:
    assert list(marked_paths(text)) == paths


def test_files_are_found_in_what_is_cut_out_of_an_output_too() -> None:
    sink = OutputSink(200)
    for piece in [
        "[[ATTACH",
        "MENT|first.png]]\n",
        "x" * 500,
        "\n[[ATTACHMENT|mid",
        "dle.png]]\n",
        "y" * 900,
    ]:
        sink.add(piece)
    # Two halves that only meet because of the cut are no name.
    sink.add("[[ATTACHMENT|last.png]]")

    assert "middle.png" not in sink.text()
    assert list(sink.paths) == ["first.png", "middle.png", "last.png"]


def test_no_output_names_more_files_than_are_kept() -> None:
    sink = OutputSink(64_000)
    sink.add("".join(f"[[ATTACHMENT|{number}.png]]\n" for number in range(500)))

    sink.text()

    assert len(sink.paths) == ATTACHMENT_LIMIT


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("a/./b//c.png", "a/b/c.png"),
        ("../../../../etc/passwd", "etc/passwd"),
        ("/etc/shadow", "etc/shadow"),
        ("a/../../b/../c.png", "c.png"),
        (r"C:\Users\x\y.png", "Users/x/y.png"),
        (r"MACHINE\shot.png", "MACHINE/shot.png"),
        ("file:///home/ci/a.png", "home/ci/a.png"),
        ("..", ""),
    ],
)
def test_a_path_leads_nowhere_but_down(path: str, plain: str) -> None:
    assert plain_path(path) == plain


@pytest.mark.parametrize(
    ("named", "sent", "found"),
    [
        ("out/a.png", ["out/a.png", "other/out/a.png"], "out/a.png"),
        ("/home/ci/shop/out/a.png", ["out/a.png", "out/b.png"], "out/a.png"),
        ("../npm/test-results/x/ctx.md", ["test-results/x/ctx.md"], "test-results/x/ctx.md"),
        ("a.png", ["results/a.png"], "results/a.png"),
        (r"HOST\a.png", ["In/17/HOST/a.png"], "In/17/HOST/a.png"),
        # The longer agreement is the better one.
        ("/ci/out/a.png", ["a.png", "out/a.png"], "out/a.png"),
        # One name, two files; another folder; a part of a name.
        ("a.png", ["x/a.png", "y/a.png"], None),
        ("x/a.png", ["y/a.png"], None),
        ("/ci/ba.png", ["a.png"], None),
        ("../..", ["a.png"], None),
    ],
)
def test_a_sent_file_is_told_by_the_end_of_its_path(named: str, sent: list[str], found: str | None) -> None:
    assert found_among(named, sent) == found


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("testrail_attachment", "/first.file", Attachment("first.file", "/first.file")),
        ("Attachment:the log", r"logs\run.txt", Attachment("the log", r"logs\run.txt")),
        ("trace", "true", None),
        ("screenshot", "https://ci.example/shot.png", None),
        ("team", "money.png", None),
    ],
)
def test_some_properties_name_files(name: str, value: str, expected: Attachment | None) -> None:
    assert named_by_property(name, value) == expected


# --- formats --------------------------------------------------------------------------------------


def test_junit_tells_of_suites_and_cases() -> None:
    cases, summary = read(
        "<testsuites><properties><property name='java' value='21'/></properties><testsuite name='s'>"
        "<properties><property name='os'>Linux</property></properties><testcase name='says'><properties>"
        "<property name='link' value='A-1'/><property name='link' value='A-2'/>"
        "<property name='testrun_evidence'><item name='shot.png'>aGVsbG8=</item></property></properties>"
        "<system-out>hello [[ATTACHMENT|out/a.png]]</system-out><system-err>careful</system-err></testcase>"
        "<testcase name='fails'><failure message='m'/><system-out>[[ATTACHMENT|b.png]]</system-out>"
        "<rerunFailure message='m'><system-out>[[ATTACHMENT|c.png]]</system-out></rerunFailure></testcase>"
        "<testcase name='silent'/></testsuite></testsuites>"
    )

    says, fails, silent = cases
    assert summary.suite_properties == [
        SuiteProperties("", [("java", "21")]),
        SuiteProperties("s", [("os", "Linux")]),
    ]
    assert says.properties == (("link", "A-1"), ("link", "A-2"), ("testrun_evidence", ""))
    assert says.attachments == (Attachment("shot.png", ""), attachment("out/a.png"))
    assert says.attempts[0].output == "hello [[ATTACHMENT|out/a.png]]careful"
    assert [one.path for one in fails.attachments] == ["b.png", "c.png"]
    assert (silent.properties, silent.attachments, silent.attempts[0].output) == ((), (), "")


def test_nunit_tells_of_suites_and_cases() -> None:
    [case], summary = read(
        "<test-run><test-suite type='Assembly' name='C:\\ci\\Shop.dll'><properties>"
        "<property name='_PID' value='17'/></properties><test-case name='Pays' result='Passed'><properties>"
        "<property name='Category' value='slow'/><property name='Category' value='money'/></properties>"
        "<output>paid</output><attachments><attachment><filePath>C:\\ci\\shot.png</filePath>"
        "<description>The till</description></attachment></attachments></test-case></test-suite></test-run>"
    )

    assert summary.suite_properties == [SuiteProperties("Shop.dll", [("_PID", "17")])]
    assert case.properties == (("Category", "slow"), ("Category", "money"))
    assert case.attachments == (Attachment("The till", "C:\\ci\\shot.png"),)
    assert case.attempts[0].output == "paid"


def test_trx_names_result_files() -> None:
    [case], _ = read(
        "<TestRun><Results><UnitTestResult testName='C.Pays' outcome='Passed'><Output><StdOut>paid</StdOut>"
        "</Output><ResultFiles><ResultFile path='HOST\\shot.png'/></ResultFiles><CollectorDataEntries>"
        "<Collector><UriAttachments><UriAttachment><A href='HOST\\video.mp4'/></UriAttachment>"
        "</UriAttachments></Collector></CollectorDataEntries></UnitTestResult></Results></TestRun>"
    )

    assert case.attachments == (
        Attachment("shot.png", "HOST\\shot.png"),
        Attachment("video.mp4", "HOST\\video.mp4"),
    )
    assert case.attempts[0].output == "paid"


def test_xunit_net_holds_its_attachments_itself() -> None:
    [case], _ = read(
        "<assemblies><assembly name='Shop.dll'><collection><test name='C.Pays' type='C' method='Pays' "
        "result='Pass'><output>paid</output><attachments><attachment name='shot' media-type='image/png'>aGk="
        "</attachment></attachments></test></collection></assembly></assemblies>"
    )

    assert case.attachments == (Attachment("shot", "", "image/png"),)
    assert case.attempts[0].output == "paid"


def test_ctrf_names_attachments_of_each_attempt() -> None:
    [case], _ = read(
        json.dumps(
            {
                "results": {
                    "tests": [
                        {
                            "name": "pays",
                            "status": "passed",
                            "stdout": ["paid"],
                            "attachments": [
                                {"name": "shot", "path": "out/2.png", "contentType": "image/png"},
                                {"name": "nowhere"},
                                "no object",
                            ],
                            "retryAttempts": [
                                {"status": "failed", "attachments": [{"name": "shot", "path": "out/1.png"}]}
                            ],
                        }
                    ]
                }
            }
        )
    )

    assert case.attachments == (
        Attachment("shot", "out/1.png"),
        Attachment("shot", "out/2.png", "image/png"),
    )
    assert [attempt.output for attempt in case.attempts] == ["", "paid"]


# --- what is kept ---------------------------------------------------------------------------------


def test_what_says_nothing_takes_nothing() -> None:
    no = FailureText("", "no", "")

    assert DetailsBudget().of(case_of(passed(""))) is None
    # What a failing attempt printed is kept with the attempt.
    assert DetailsBudget().of(case_of(AttemptRead(Outcome.FAILED, 1, no, "printed"))) is None
    assert DetailsBudget().of(case_of(AttemptRead(Outcome.FAILED, 1, no), passed("printed"))) is None


def test_details_come_back_as_they_were_but_for_what_no_database_holds() -> None:
    details = Details((("a", 'ü "x" \\'), ("a", "")), (Attachment("n", "p", "image/png"),), "line\n\ttab ␀")

    assert unpacked(packed(details)) == details
    assert unpacked(packed(Details((("a\0", "\ud800"),)))) == Details((("a", "?"),))
    assert unpacked(packed(Details())) == Details()


def test_passing_outputs_are_kept_with_both_ends_and_within_a_whole() -> None:
    budget = DetailsBudget(outputs_left=PASSING_OUTPUT_LIMIT + 100)
    long = budget.of(case_of(passed("a" * 20_000 + "z" * 20_000)))
    refused = budget.of(case_of(passed("b" * 500)))
    still = budget.of(case_of(passed("b" * 500), properties=(("p", "v"),)))

    assert long is not None
    half = PASSING_OUTPUT_LIMIT // 2
    assert unpacked(long).output == (
        f"{'a' * half}\n… 24,000 characters are only in the raw report …\n{'z' * half}"
    )
    assert refused is None
    assert still is not None
    assert unpacked(still) == Details((("p", "v"),))
    [note] = budget.notes()
    assert "2 test cases" in note
    assert "1,000 characters" in note
    assert budget.notes() == []


def test_words_have_a_bound_too() -> None:
    budget = DetailsBudget(words_left=5)

    assert budget.of(case_of(passed("x"), properties=(("name", "v"),))) is not None
    left = budget.of(case_of(passed("x"), properties=(("p", "v"),)))

    assert left is not None
    assert unpacked(left) == Details(output="x")
    assert "Properties and attachments of 1 test cases" in budget.notes()[0]


def test_suites_that_tell_the_same_are_put_together() -> None:
    told = SuitesTold(limit=8)
    java = [("java", "21")]

    assert [told.add(SuiteDetails.of(SuiteProperties(f"s{number}", list(java)))) for number in range(25)]
    assert told.add(SuiteDetails.of(SuiteProperties("s", [("a", "b")])))
    assert not told.add(SuiteDetails.of(SuiteProperties("s", [("too", "long")])))

    names = tuple(f"s{number}" for number in range(20))
    kept = [SuiteDetails(names, 25, (("java", "21"),)), SuiteDetails(("s",), 1, (("a", "b"),))]
    assert told.suites == kept
    assert unpacked_suites(packed_suites(kept)) == kept
    assert packed_suites([]) is None


# --- why a test was skipped -----------------------------------------------------------------------

REASONS = {
    "junit": "<testsuite><testcase name='t'><skipped message=' no net '>x:3</skipped></testcase></testsuite>",
    "junit text": "<testsuite><testcase name='t'><skipped>\n no net\n</skipped></testcase></testsuite>",
    "phpunit": "<testsuite><testcase name='t'><warning type='W'>no net</warning></testcase></testsuite>",
    "nunit": "<test-run><test-suite><test-case fullname='C.t' result='Skipped'>"
    "<reason><message>no net</message></reason></test-case></test-suite></test-run>",
    "xunit": "<assemblies><assembly name='a'><test name='t' result='Skip'><reason>no net</reason></test>"
    "</assembly></assemblies>",
    "trx": "<TestRun><Results><UnitTestResult testName='t' outcome='NotExecuted'><Output><ErrorInfo>"
    "<Message>no net</Message></ErrorInfo></Output></UnitTestResult></Results></TestRun>",
    "ctrf": '{"results": {"tests": [{"name": "t", "status": "skipped", "message": "no net"}]}}',
}


@pytest.mark.parametrize("document", REASONS.values(), ids=REASONS)
def test_why_a_test_was_skipped_is_kept(document: str) -> None:
    [case], _ = read(document)

    assert case.reason == "no net"
    assert len(case.attempts) == 1
    body = DetailsBudget().of(case)
    assert body is not None
    assert unpacked(body) == Details(reason="no net")


def test_a_failure_says_itself_why() -> None:
    [failed], _ = read(
        "<testsuite><testcase name='t'><skipped message='x'/><failure/></testcase></testsuite>"
    )
    [bare], _ = read("<testsuite><testcase name='t'><skipped/></testcase></testsuite>")
    [long], _ = read(
        f"<testsuite><testcase name='t'><skipped message='{'x' * 9_000}'/></testcase></testsuite>"
    )

    assert (failed.reason, bare.reason) == ("", "")
    assert DetailsBudget().of(bare) is None
    assert len(long.reason) < 2_100
