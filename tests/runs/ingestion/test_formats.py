"""Reading TRX, NUnit 2 and 3, xUnit.net and CTRF: outcomes, identities, texts, what is hostile or broken."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from pathlib import Path

import pytest

from runs.ingestion import json_items, junit, trx
from runs.ingestion.errors import ReportError, ReportLimitError, UnsafeReportError
from runs.ingestion.junit import JUnitReader
from runs.ingestion.readers import report_reader
from tests.runs.ingestion.corpus import rows_of
from tests.runs.ingestion.reading import ctrf_of, kept_until_the_fault, names, outcomes, read

NATIVE = {"trx", "nunit2", "nunit3", "xunit.net"}


NUNIT3 = """<?xml version="1.0" encoding="utf-8"?>
<test-run id="2" testcasecount="6">
 <test-suite type="Assembly" name="Shop.Tests.dll" fullname="C:\\ci\\17\\Shop.Tests.dll">
  <test-suite type="TestSuite" name="Shop">
   <test-suite type="TestFixture" name="OrderTest" classname="Shop.OrderTest" result="Failed" site="Child">
    <failure><message>One or more child tests had errors</message></failure>
    <test-case id="1" name="Refunds(&quot;a.b&quot;,2)" fullname="Shop.OrderTest.Refunds(&quot;a.b&quot;,2)"
      classname="OrderTest" result="Passed" duration="0.25" seed="1"/>
    <test-case id="2" name="Pays" fullname="Shop.OrderTest.Pays" classname="Shop.OrderTest" result="Failed"
      duration="1.5"><properties><property name="service" value="payments"/></properties>
      <failure><message><![CDATA[Expected: 3]]></message><stack-trace>at Shop.Pays()</stack-trace></failure>
      <output><![CDATA[asked the bank]]></output></test-case>
    <test-case id="3" name="Ships" fullname="Shop.OrderTest.Ships" result="Failed" label="Error">
      <failure><message>System.TimeoutException : late</message></failure></test-case>
    <test-case id="4" name="Later" fullname="Shop.OrderTest.Later" result="Skipped" label="Ignored">
      <reason><message>not yet</message></reason></test-case>
    <test-case id="5" name="Perhaps" fullname="Shop.OrderTest.Perhaps" result="Inconclusive"/>
    <test-case id="6" name="Odd" fullname="Shop.OrderTest.Odd" result="Sideways"/>
   </test-suite>
   <test-suite type="TestFixture" name="Broken" result="Failed" label="Error" site="SetUp">
    <failure><message>no database</message><stack-trace>at Shop.Broken.SetUp()</stack-trace></failure>
   </test-suite>
  </test-suite>
 </test-suite>
</test-run>"""


def test_nunit_3_is_read() -> None:
    cases, summary = read(NUNIT3)

    assert names(cases)[:2] == [
        ("Shop.Tests.dll", "Shop.OrderTest", 'Refunds("a.b",2)'),
        ("Shop.Tests.dll", "Shop.OrderTest", "Pays"),
    ]
    assert outcomes(cases) == ["passed", "failed", "errored", "skipped", "skipped", "errored"]
    assert [case.attempts[0].duration_ms for case in cases] == [250, 1500, None, None, None, None]
    pays = cases[1]
    failure = pays.attempts[0].failure
    assert failure is not None
    assert (failure.message, failure.text) == ("Expected: 3", "at Shop.Pays()")
    assert (pays.attempts[0].output, pays.services) == ("asked the bank", ("payments",))
    assert [(one.suite, one.failure.message) for one in summary.suite_errors] == [("Broken", "no database")]
    assert summary.suite_error_count == 1
    assert [summary.passed_count, summary.failed_count, summary.errored_count, summary.skipped_count] == [
        1,
        1,
        2,
        2,
    ]
    assert any("Sideways" in note for note in summary.notes)


NUNIT2 = """<test-results name="C:\\ci\\17\\Shop.Tests.dll" total="5">
 <test-suite {kind} name="C:\\ci\\17\\Shop.Tests.dll"><results><test-suite name="OrderTest"><results>
  <test-case name="Shop.OrderTest.Pays" executed="True" success="True" time="0.047"/>
  <test-case name="Shop.OrderTest.Refunds(&quot;1.5&quot;)" executed="True" success="False" time="0,016">
    <failure><message>no</message><stack-trace>at line 3</stack-trace></failure></test-case>
  <test-case name="Shop.OrderTest.Later" executed="False"><reason><message>no</message></reason></test-case>
  <test-case name="Shop.OrderTest.Broken" executed="True" result="Error" success="False"/>
  <test-case name="Shop.OrderTest.Bad" executed="False" result="NotRunnable"/>
 </results></test-suite></results></test-suite></test-results>"""


@pytest.mark.parametrize("kind", ['type="Assembly"', ""], ids=["2.5", "2.2"])
def test_nunit_2_is_read(kind: str) -> None:
    cases, _ = read(NUNIT2.format(kind=kind))

    assert {case.path for case in cases} == {"Shop.Tests.dll"}
    assert {case.class_name for case in cases} == {"Shop.OrderTest"}
    assert [case.name for case in cases] == ["Pays", 'Refunds("1.5")', "Later", "Broken", "Bad"]
    assert outcomes(cases) == ["passed", "failed", "skipped", "errored", "skipped"]
    assert [case.attempts[0].duration_ms for case in cases] == [47, 16, None, None, None]


XUNIT = """<assemblies timestamp="11/21/2026 08:00:00">
 <assembly name="/ci/17/Shop.Tests.dll" run-date="2026-11-21" run-time="08:00:00">
  <errors><error type="test-class-cleanup" name="Shop.OrderTest"><failure exception-type="System.IOException">
    <message>disk full</message><stack-trace>at X</stack-trace></failure></error></errors>
  <collection name="Test collection for Shop.OrderTest (id: 4711)">
   <test name="Shop.OrderTest.Refunds(currency: &quot;eur&quot;)" type="Shop.OrderTest" time="0.25"
     result="Pass"><traits><trait name="team" value="money"/></traits></test>
   <test name="Shop.OrderTest.Pays" type="Shop.OrderTest" method="Pays" time="0,014" result="Fail"
     source-file="/ci/17/OrderTest.cs" source-line="12"><output>asked the bank</output>
     <failure exception-type="Xunit.Sdk.TrueException"><message>Assert.True() Failure</message>
     <stack-trace>at Shop.OrderTest.Pays()</stack-trace></failure></test>
   <test name="A sentence of its own" type="Shop.OrderTest" method="Later" time="0" result="Skip">
     <reason>not yet</reason></test>
   <test name="Shop.OrderTest.Explicit" type="Shop.OrderTest" method="Explicit" time="0" result="NotRun"/>
  </collection>
 </assembly>
</assemblies>"""


def test_xunit_net_is_read() -> None:
    cases, summary = read(XUNIT)

    assert names(cases) == [
        ("Shop.Tests.dll", "Shop.OrderTest", 'Refunds(currency: "eur")'),
        ("Shop.Tests.dll", "Shop.OrderTest", "Pays"),
        ("Shop.Tests.dll", "Shop.OrderTest", "A sentence of its own"),
        ("Shop.Tests.dll", "Shop.OrderTest", "Explicit"),
    ]
    assert outcomes(cases) == ["passed", "failed", "skipped", "skipped"]
    assert (cases[1].file, cases[1].line, cases[1].attempts[0].duration_ms) == ("/ci/17/OrderTest.cs", 12, 14)
    failure = cases[1].attempts[0].failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("Xunit.Sdk.TrueException", "Assert.True() Failure")
    assert cases[0].properties == (("team", "money"),)
    assert [(one.suite, one.failure.message) for one in summary.suite_errors] == [
        ("test-class-cleanup Shop.OrderTest", "disk full")
    ]


def trx_of(results: str, definitions: str = "", *, end: str = "</TestRun>") -> str:
    return (
        '<?xml version="1.0"?><TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010">'
        f"<Results>{results}</Results><TestDefinitions>{definitions}</TestDefinitions>{end}"
    )


def result(number: int, name: str, outcome: str | None, inside: str = "") -> str:
    told = "" if outcome is None else f' outcome="{outcome}"'
    return (
        f'<UnitTestResult executionId="e{number}" testId="t{number}" testName="{name}" computerName="ci-17"'
        f' duration="00:01:02.5000000"{told}>{inside}</UnitTestResult>'
    )


def definition(number: int, class_name: str) -> str:
    return (
        f'<UnitTest id="t{number}" storage="c:\\ci\\17\\shop.tests.dll">'
        f'<TestMethod codeBase="C:\\ci\\17\\Shop.Tests.dll" className="{class_name}" name="x"/></UnitTest>'
    )


def test_trx_is_read_with_the_classes_that_come_after_the_results() -> None:
    output = (
        "<Output><StdOut>asked the bank</StdOut><ErrorInfo><Message>no</Message><StackTrace>at X</StackTrace>"
        "</ErrorInfo></Output>"
    )
    cases, summary = read(
        trx_of(
            result(1, "Pays", "Passed")
            + result(2, "Shop.OrderTest.Refunds(1.5)", "Failed", output)
            + result(3, "Slow", "Timeout")
            + result(4, "Later", "NotExecuted")
            + result(5, "Nothing", None),
            "".join(
                definition(number, "Shop.OrderTest, Shop.Tests, Version=1.0.0.0") for number in range(1, 6)
            ),
        )
    )

    assert {case.path for case in cases} == {"shop.tests.dll"}
    assert {case.class_name for case in cases} == {"Shop.OrderTest"}
    assert [case.name for case in cases] == ["Pays", "Refunds(1.5)", "Slow", "Later", "Nothing"]
    assert outcomes(cases) == ["passed", "failed", "errored", "skipped", "errored"]
    assert cases[0].attempts[0].duration_ms == 62_500
    failed = cases[1].attempts[0]
    assert failed.failure is not None
    assert (failed.failure.message, failed.failure.text, failed.output) == ("no", "at X", "asked the bank")
    assert summary.case_count == 5


def test_rows_of_a_data_driven_trx_test_count_by_themselves() -> None:
    def rows(*told: str) -> str:
        inner = "".join(
            f'<UnitTestResult testId="t1" testName="Adds" dataRowInfo="{row}" outcome="{outcome}"/>'
            for row, outcome in enumerate(told)
        )
        return f"<InnerResults>{inner}</InnerResults>"

    cases, _ = read(trx_of(result(1, "Adds", "Failed", rows("Passed", "Failed")), definition(1, "C")))
    assert [(case.name, case.attempts[0].outcome.value) for case in cases] == [
        ("Adds [0]", "passed"),
        ("Adds [1]", "failed"),
    ]

    # Its clean-up failed: no row says so.
    cases, _ = read(trx_of(result(1, "Adds", "Failed", rows("Passed")), definition(1, "C")))
    assert [(case.name, case.attempts[0].outcome.value) for case in cases] == [
        ("Adds [0]", "passed"),
        ("Adds", "failed"),
    ]


def test_what_went_wrong_with_a_whole_trx_run_is_told() -> None:
    infos = "".join(
        f'<RunInfo outcome="{outcome}"><Text>{text}</Text></RunInfo>'
        for outcome, text in [
            ("Error", "The host crashed."),
            ("Warning", "mind"),
            ("Error", "Shop.Pays [FAIL]"),
        ]
    )
    _, summary = read(
        trx_of("", end=f"<ResultSummary><RunInfos>{infos}</RunInfos></ResultSummary></TestRun>")
    )

    assert [one.failure.message for one in summary.suite_errors] == ["The host crashed."]


def test_identities_last_over_machines_runs_and_builds() -> None:
    def identities(document: str) -> list[bytes]:
        return [case.identity for case in read(document)[0]]

    assert identities(NUNIT3) == identities(
        NUNIT3.replace("ci\\17", "ci\\18").replace('id="', 'id="9').replace("seed", "x")
    )
    assert identities(XUNIT) == identities(XUNIT.replace("/ci/17/", "D:\\b\\").replace("4711", "0815"))
    old = NUNIT2.format(kind="")
    assert identities(old) == identities(old.replace("ci\\17", "other"))
    results, classes = result(1, "Pays", "Passed"), definition(1, "Shop.OrderTest")
    assert identities(trx_of(results, classes)) == identities(
        trx_of(
            results.replace("t1", "t2").replace("ci-17", "ci-18"),
            classes.replace("t1", "t2").replace("ci\\17", "x"),
        )
    )
    assert identities(ctrf_of({"name": "t", "browser": "firefox 1", "filePath": "/a/b.ts"})) == identities(
        ctrf_of({"name": "t", "browser": "firefox 2.1", "filePath": "/c/b.ts", "id": "x", "threadId": "4"})
    )


@pytest.mark.parametrize(
    ("document", "kept", "line"),
    [
        (NUNIT3[: NUNIT3.index('<test-case id="3"') + 40], 2, 13),
        (NUNIT2.format(kind="")[: NUNIT2.index('<test-case name="Shop.OrderTest.Later"')], 2, 6),
        (XUNIT[: XUNIT.index('<test name="A sentence')] + "<test name='x'\x01", 2, 12),
        (ctrf_of({"name": "a", "status": "passed"}, {"name": "b", "status": "passed"})[:-25], 1, 1),
        (ctrf_of({"name": "a", "status": "passed"})[:-3] + ",3]}}", 1, 1),
    ],
    ids=["nunit3", "nunit2", "xunit", "ctrf cut", "ctrf wrong"],
)
def test_what_breaks_off_is_read_up_to_the_fault(document: str, kept: int, line: int) -> None:
    cases, fault = kept_until_the_fault(document)

    assert (len(cases), fault.line) == (kept, line)
    assert "Not well-formed" in fault.reason


def test_trx_that_breaks_off_before_its_classes_keeps_their_names_from_the_results() -> None:
    document = trx_of(result(1, "Shop.OrderTest.Pays", "Passed") + "<Unit", end="")

    cases, _ = kept_until_the_fault(document)

    assert names(cases) == [("", "Shop.OrderTest", "Pays")]


@pytest.mark.parametrize("root", ["TestRun", "test-run", "test-results", "assemblies", "assembly"])
def test_hostile_documents_of_every_format_are_refused(root: str) -> None:
    with pytest.raises(UnsafeReportError):
        read(f'<!DOCTYPE r [<!ENTITY x "y">]><{root}>&x;</{root}>')
    with pytest.raises(UnsafeReportError):
        read(f'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/e.dtd"><{root}/>')
    with pytest.raises(ReportLimitError, match="nested"):
        read(f"<{root}>" + "<a>" * 1_500)
    with pytest.raises(ReportLimitError, match="nested"):
        read(f"<{root}><test><test-case><UnitTestResult>" + "<InnerResults>" * 1_500)


def test_counts_and_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReportLimitError, match="More than 2 test cases"):
        read(NUNIT3, case_limit=2)
    with pytest.raises(ReportLimitError, match="More than 2 test cases"):
        read(ctrf_of({"name": "a"}, {"name": "b"}, {"name": "c"}), case_limit=2)
    monkeypatch.setattr(json_items, "ITEM_LIMIT", 1_000)
    with pytest.raises(ReportLimitError, match="characters"):
        read(ctrf_of({"name": "a" * 300_000}))
    with pytest.raises(ReportLimitError, match="nested"):
        read('{"results": ' + "[" * 300)
    monkeypatch.setattr(trx, "DEFINITION_LIMIT", 1)
    with pytest.raises(ReportLimitError, match="definitions"):
        read(trx_of("", definition(1, "C") + definition(2, "C")))


def test_one_long_name_around_many_tests_costs_once() -> None:
    """As many copies of it, or as much work on it, as there are tests would take minutes and gigabytes."""
    long = "x" * 3_000_000
    tests = "".join(f"<test name='t{number}' result='Pass'/>" for number in range(3_000))
    rows = "<UnitTestResult outcome='Passed'/>" * 250
    begun = time.process_time()

    cases, _ = read(f"<assemblies><assembly name='{long}'>{tests}</assembly></assemblies>")
    of_rows, _ = read(
        trx_of(f"<UnitTestResult testName='{long}'><InnerResults>{rows}</InnerResults></UnitTestResult>")
    )

    assert time.process_time() - begun < 10
    assert len({case.identity for case in cases}) == 3_000
    assert max(len(case.name) for case in of_rows[:-1]) < 3_000


def test_a_record_keeps_no_more_than_it_may() -> None:
    many = "".join(f"<test><failure><message>{'x' * 5_000}</message></failure></test>" for _ in range(2_000))
    own = "<failure><message>own</message></failure>"
    [case], _ = read(f"<assembly><test name='t' result='Fail'>{many}{own}</test></assembly>")

    assert case.attempts[0].failure is not None
    assert len(case.attempts[0].failure.message) < 100


def test_the_corpus_of_other_formats_is_read_with_its_own_counts(corpus: Path) -> None:
    found = {}
    known = {
        # A list of tests, none of which ran.
        "cli__nunit_list.xml": (6, 0, 6),
        # It says that nothing failed, and holds a failure.
        "publish-unit-test-result-action__jenkins_NUnit-multinamespace.xml": (4, 1, 0),
        # Aborted and not runnable are counted apart there.
        "publish-unit-test-result-action__trx_yami_YAMILEX_2015-10-24_04_18_59.trx.xml": (25, 3, 20),
    }
    rows = [(path, row) for path, row in rows_of(corpus, "not-junit") if row["dialect"] in NATIVE]
    for path, row in rows:
        cases, summary = read(path.read_bytes())
        counts = (summary.case_count, summary.failed_count + summary.errored_count, summary.skipped_count)
        native = tuple(int(row[f"native_{column}"]) for column in ("total", "failed", "skipped"))
        if counts != known.get(path.name, native):
            found[path.name] = (counts, native)
        assert len({case.identity for case in cases}) == len(cases), path

    assert found == {}
    assert len(rows) > 20


def test_whatever_is_junit_goes_to_its_own_reader(corpus: Path) -> None:
    for path, _ in rows_of(corpus, "ok", "empty"):
        with path.open("rb") as stream:
            assert isinstance(report_reader(stream), JUnitReader), path


def test_errors_of_files_that_are_no_reports_are_the_same_by_either_way(corpus: Path) -> None:
    for path, row in rows_of(corpus, "malformed", "empty-file", "unsafe"):
        data = path.read_bytes()
        with pytest.raises(ReportError) as caught:
            read(data)
        if row["dialect"] not in NATIVE and not data.lstrip().startswith(b"{"):
            with pytest.raises(type(caught.value)) as own:
                list(JUnitReader(io.BytesIO(data)).batches())
            assert (own.value.reason, own.value.line) == (caught.value.reason, caught.value.line), path


def test_an_ampersand_of_an_attribute_is_one() -> None:
    nunit = (
        "<test-run>"
        "<test-case fullname='Shop.A.Pays(&amp;)' classname='Shop.A' name='Pays(&amp;)' result='Passed'/>"
        "</test-run>"
    )
    xunit = (
        "<assemblies><assembly><collection>"
        "<test name='Shop.A.Pays(a: &#38;)' type='Shop.A' method='Pays' result='Pass'/>"
        "</collection></assembly></assemblies>"
    )

    assert [case.name for case in read(nunit)[0]] == ["Pays(&)"]
    assert [case.name for case in read(xunit)[0]] == ["Pays(a: &)"]


_MARKS = "".join(f"[[ATTACHMENT|/x/{number}.png]]\n" for number in [*range(130), 5, 129])
_PROPERTIES = "".join(f'<property name="screenshot" value="{number}.png"/>' for number in range(110))
_ATTACHED = "".join(f"<attachment><filePath>{number}.png</filePath></attachment>" for number in range(120))
_FILES = f"<attachments>{_ATTACHED}</attachments>"


_BEYOND = {
    "outputs": (f"<testcase name='a'><system-out>{_MARKS}</system-out></testcase>", 30),
    "properties": (f"<testcase name='a'><properties>{_PROPERTIES}</properties></testcase>", 10),
    "NUnit": (
        f"<test-run><test-case name='a' result='Passed'>{_FILES}</test-case></test-run>",
        20,
    ),
    "CTRF": (ctrf_of({"name": "a", "attachments": [{"path": f"{n}.png"} for n in range(101)]}), 1),
}


@pytest.mark.parametrize(("document", "left"), _BEYOND.values(), ids=_BEYOND.keys())
def test_attachments_beyond_the_limit_are_counted(document: str, left: int) -> None:
    [case], summary = read(document)

    assert (len(case.attachments), summary.attachment_left_count) == (100, left)


def test_all_rows_of_a_data_driven_test_are_kept() -> None:
    said = "<Output><ErrorInfo><Message>m</Message></ErrorInfo></Output>"
    row = f'<UnitTestResult outcome="Failed">{said}</UnitTestResult>'
    cases, summary = read(trx_of(result(1, "Adds", "Failed", f"<InnerResults>{row * 1_000}</InnerResults>")))

    assert (len(cases), summary.notes) == (1_000, [])


def test_categories_are_kept_as_properties() -> None:
    category = '<TestCategory><TestCategoryItem TestCategory="slow"/></TestCategory>'
    defined = definition(1, "C").replace("<TestMethod", f"{category}<TestMethod")
    [of_trx], _ = read(trx_of(result(1, "Adds", "Passed"), defined))
    [of_nunit], _ = read(
        "<test-results><test-case name='A.B' executed='True' success='True'>"
        "<categories><category name='slow'/></categories></test-case></test-results>"
    )

    assert of_trx.properties == of_nunit.properties == (("Category", "slow"),)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (
            "<assembly><test name='a' result='Pass'>" + "<x/>" * 301 + "</test></assembly>",
            "more than 300 elements",
        ),
        (
            "<assembly><test name='a' result='Pass'>" + f"<x>{'y' * 250_000}</x>" * 6 + "</test></assembly>",
            "more than 1,000,000 characters",
        ),
        (
            "<assembly><test name='a' result='Pass'><traits>"
            + "".join(f"<trait name='{n}' value='v'/>" for n in range(101))
            + "</traits></test></assembly>",
            "more than 100 properties",
        ),
        ("<testcase name='a'>" + "<failure/>" * 51 + "</testcase>", "more than 50 failures"),
        (
            json.dumps(
                {"results": {"tests": [{"name": "a", "retryAttempts": [{"status": "failed"}] * 201}]}}
            ),
            "201 earlier attempts",
        ),
    ],
    ids=["elements", "texts", "properties", "failures", "attempts"],
)
def test_what_is_cut_off_a_test_is_said(document: str, word: str) -> None:
    _, summary = read(document)

    assert [note for note in summary.notes if word in note]


def test_notes_that_are_too_many_say_so() -> None:
    _, summary = read(
        "".join(["<testsuite>", *(f"<testcase time='x{n}'/>" for n in range(60)), "</testsuite>"])
    )

    assert len(summary.notes) == 51
    assert summary.notes[-1] == "There are more than 50 notes; the rest is left out."


@pytest.mark.parametrize(
    "document",
    [
        "".join(f"<testcase name='{n}{'x' * 400}'>" for n in range(3)) + "</testcase>" * 3,
        trx_of("", "".join(definition(n, "x" * 400 + str(n)) for n in range(3))),
    ],
    ids=["test cases within each other", "definitions"],
)
def test_what_has_to_be_held_has_a_limit(monkeypatch: pytest.MonkeyPatch, document: str) -> None:
    monkeypatch.setattr(junit, "HELD_LIMIT", 500)
    monkeypatch.setattr(trx, "DEFINITIONS_LIMIT", 1_000)

    with pytest.raises(ReportLimitError, match="characters"):
        read(document)


@pytest.mark.parametrize(("suite", "case"), [("testsuite", "testcase"), ("test-suite", "test-case")])
def test_suites_within_each_other_hold_no_more_than_a_part_of_their_names(suite: str, case: str) -> None:
    suites = f"<{suite} name='{'x' * 500_000}'>" * 20 + f"<{case} name='a'/>" + f"</{suite}>" * 20
    document = f"<test-run>{suites}</test-run>".encode()
    tracemalloc.start()

    read(document)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 7_000_000
