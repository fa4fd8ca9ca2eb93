"""Reading JUnit reports: outcomes, attempts, texts, hostile input, memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.ingestion.errors import (
    MalformedReportError,
    NotAReportError,
    ReportError,
    ReportLimitError,
    UnsafeReportError,
)
from runs.ingestion.junit import JUnitReader
from runs.ingestion.report import MESSAGE_LIMIT, CaseRead, ReportSummary, SuiteProperties
from runs.vocabulary import Outcome


def read(xml: str | bytes, *, case_limit: int | None = None) -> tuple[list[CaseRead], ReportSummary]:
    data = xml.encode() if isinstance(xml, str) else xml
    reader = JUnitReader(io.BytesIO(data), case_limit=case_limit)
    return [case for batch in reader.batches() for case in batch], reader.summary


def only(xml: str) -> CaseRead:
    [case] = read(xml)[0]
    return case


def test_a_case_has_the_names_around_it() -> None:
    case = only(
        '<testsuites><testsuite name="outer"><testsuite name="inner">'
        '<testcase classname=" C " name=" t[1] " file="a/b.py" line="7" time="1.25"/>'
        "</testsuite></testsuite></testsuites>"
    )

    assert (case.path, case.class_name, case.name) == ("outer › inner", "C", "t[1]")  # noqa: RUF001 - a sign
    assert (case.file, case.line) == ("a/b.py", 7)
    [attempt] = case.attempts
    assert (attempt.outcome, attempt.duration_ms) == (Outcome.PASSED, 1250)


def test_cases_after_a_nested_suite_belong_to_the_outer_one() -> None:
    cases, _ = read(
        '<testsuite name="o"><testsuite name="i"><testcase name="a"/></testsuite><testcase name="b"/>'
        "</testsuite>"
    )

    assert [case.path for case in cases] == ["o › i", "o"]  # noqa: RUF001 - a sign


@pytest.mark.parametrize(
    ("children", "outcome"),
    [
        ("", Outcome.PASSED),
        ("<skipped/>", Outcome.SKIPPED),
        ("<disabled/>", Outcome.SKIPPED),
        ("<failure/>", Outcome.FAILED),
        ("<error/>", Outcome.ERRORED),
        ("<skipped/><failure/><error/>", Outcome.ERRORED),
        ("<skipped/><failure/>", Outcome.FAILED),
        ("<system-out><![CDATA[<failure/>]]></system-out>", Outcome.PASSED),
        ("<other><failure/></other>", Outcome.PASSED),
        ("<properties><property name='failure' value='1'/></properties>", Outcome.PASSED),
    ],
)
def test_direct_children_decide(children: str, outcome: Outcome) -> None:
    assert only(f"<testsuite><testcase name='t'>{children}</testcase></testsuite>").attempts[0].outcome == (
        outcome
    )


def test_a_failure_is_told_whole() -> None:
    case = only(
        "<testsuite><testcase name='t'><failure type='T' message='m'><![CDATA[one]]> &amp; two</failure>"
        "<system-out>out</system-out><system-err>err</system-err></testcase></testsuite>"
    )

    failure = case.attempts[0].failure
    assert failure is not None
    assert (failure.kind, failure.message, failure.text) == ("T", "m", "one & two")
    assert case.attempts[0].output == "outerr"


def test_a_text_stands_in_for_a_missing_message() -> None:
    case = only("<testsuite><testcase name='t'><failure>\n\n  boom\nat x</failure></testcase></testsuite>")

    failure = case.attempts[0].failure
    assert failure is not None
    assert failure.message == "boom"


def test_several_failures_of_one_try_are_one_with_all_texts() -> None:
    case = only(
        "<testsuite><testcase name='t'><failure message='a'>one</failure><failure message='b'/>"
        "<error message='c' type='E'>three</error></testcase></testsuite>"
    )

    [attempt] = case.attempts
    assert attempt.outcome == Outcome.ERRORED
    assert attempt.failure is not None
    assert (attempt.failure.kind, attempt.failure.message) == ("E", "c")
    assert attempt.failure.text == "one\n\nb\n\nthree"


def test_reruns_are_attempts() -> None:
    case = only(
        "<testsuite><testcase name='t' time='3'><failure message='1'/>"
        "<rerunFailure message='2' time='0.5'><stackTrace>st</stackTrace><system-out>o</system-out>"
        "</rerunFailure><rerunError message='3'/></testcase></testsuite>"
    )

    told = [
        (one.outcome.value, one.failure.message if one.failure else None, one.duration_ms)
        for one in case.attempts
    ]
    assert told == [("failed", "1", 3000), ("failed", "2", 500), ("errored", "3", None)]
    assert case.attempts[1].failure is not None
    assert (case.attempts[1].failure.text, case.attempts[1].output) == ("st", "o")


def test_a_flaky_case_ends_with_its_pass() -> None:
    case = only("<testsuite><testcase name='t'><flakyFailure message='1'/></testcase></testsuite>")

    assert [one.outcome.value for one in case.attempts] == ["failed", "passed"]


def test_properties_are_kept_within_bounds() -> None:
    many = "".join(f"<property name='p{number}' value='v'/>" for number in range(500))
    cases, summary = read(
        f"<testsuite><properties><property name='s'>text</property></properties>"
        f"<testcase name='t'><properties>{many}</properties></testcase></testsuite>"
    )

    assert summary.suite_properties == [SuiteProperties("", [("s", "text")])]
    assert cases[0].properties == tuple((f"p{number}", "v") for number in range(100))
    assert "more than 100 properties" in summary.notes[0]


def test_a_suites_own_error_is_in_the_summary() -> None:
    _, summary = read("<testsuite name='db'><error message='no database' type='E'>trace</error></testsuite>")

    [error] = summary.suite_errors
    assert (error.suite, error.failure.message, error.failure.text) == ("db", "no database", "trace")


@pytest.mark.parametrize("size", [1, 7, 64])
def test_it_does_not_matter_how_the_bytes_arrive(size: int) -> None:
    xml = (
        '<?xml version="1.0" encoding="UTF-16"?><testsuite name="é"><testcase name="漢"><failure>ü'
        "</failure></testcase></testsuite>"
    ).encode("utf-16")

    class Trickle(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            return super().read(size)

    reader = JUnitReader(Trickle(xml))
    [case] = [case for batch in reader.batches() for case in batch]

    assert (case.path, case.name) == ("é", "漢")
    assert case.attempts[0].failure is not None
    assert case.attempts[0].failure.text == "ü"


def test_an_ampersand_of_an_attribute_is_one() -> None:
    case = only(
        "<testsuite name='R&amp;D'><testcase classname='a&#38;b' name='pays [x &amp; y] &amp;lt; &#38;#38;'>"
        "<properties><property name='url' value='http://x.example/?a=1&amp;b=2'/></properties>"
        "<failure type='T&amp;' message='1 &amp;&amp; 2 &lt; 3'>4 &amp; 5</failure></testcase></testsuite>"
    )

    assert (case.path, case.class_name, case.name) == ("R&D", "a&b", "pays [x & y] &lt; &#38;")
    assert case.properties == (("url", "http://x.example/?a=1&b=2"),)
    [attempt] = case.attempts
    assert attempt.failure is not None
    assert (attempt.failure.kind, attempt.failure.message) == ("T&", "1 && 2 < 3")
    assert attempt.failure.text == "4 & 5"


def test_playwrights_projects_are_variants() -> None:
    suite = '<testsuite name="a.spec.ts" hostname="{}"><testcase classname="a.spec.ts" name="t"/></testsuite>'
    xml = f'<testsuites id="" name="">{suite.format("chromium")}{suite.format("firefox")}</testsuites>'

    first, second = read(xml)[0]

    assert (first.variant, second.variant) == ("chromium", "firefox")
    assert first.identity != second.identity


def test_machines_are_no_variants() -> None:
    suite = '<testsuite name="s" hostname="{}"><testcase classname="C" name="t"/></testsuite>'

    assert only(suite.format("runner-1")).identity == only(suite.format("runner-2")).identity


def test_the_same_case_is_itself_with_and_without_a_wrapper() -> None:
    suite = '<testsuite name="s"><testcase classname="C" name="t"/></testsuite>'

    assert only(suite).identity == only(f'<testsuites name="all">{suite}</testsuites>').identity


def test_endless_texts_are_cut_with_a_note() -> None:
    case = only(
        f"<testsuite><testcase name='t'><failure message='{'m' * 20_000}'>{'x' * 500_000}</failure>"
        "</testcase></testsuite>"
    )

    failure = case.attempts[0].failure
    assert failure is not None
    assert failure.message.startswith("m" * MESSAGE_LIMIT + "\n… 10,000 more characters")
    assert "300,000 characters are only in the raw report" in failure.text


def test_malformed_xml_names_the_line() -> None:
    with pytest.raises(MalformedReportError) as caught:
        read("<testsuite>\n<testcase name='t'>\n</testsuite>")

    assert caught.value.line == 3
    assert caught.value.reason.startswith("Not well-formed XML: ")


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE t [<!ENTITY x "y">]>',
        '<!DOCTYPE t [\n<!ENTITY % p SYSTEM "http://127.0.0.1:9/e.dtd"> %p;]>',
        '<!DOCTYPE t SYSTEM "http://127.0.0.1:9/e.dtd">',
        '<!DOCTYPE t PUBLIC "-//x" "e.dtd">',
    ],
)
def test_what_points_outside_is_refused(doctype: str) -> None:
    with pytest.raises(UnsafeReportError):
        read(f"{doctype}<testsuite><testcase name='t'/></testsuite>")


def test_entities_are_refused_in_any_encoding() -> None:
    xml = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE t [<!ENTITY x "y">]><testsuite/>'

    with pytest.raises(UnsafeReportError):
        read(xml.encode("utf-16"))


def test_a_harmless_document_type_is_no_reason() -> None:
    assert len(read("<!DOCTYPE testsuite><testsuite><testcase name='t'/></testsuite>")[0]) == 1


def test_depth_and_count_are_bounded() -> None:
    with pytest.raises(ReportLimitError, match="nested"):
        read("<testsuite>" * 1_500 + "</testsuite>" * 1_500)
    with pytest.raises(ReportLimitError, match="More than 2 test cases"):
        read("<testsuite>" + "<testcase name='t'/>" * 3 + "</testsuite>", case_limit=2)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"a": 1}', "JSON"),
        (b"1..3\nok 1", "TAP"),
        (b"<!DOCTYPE html><html><body><p>Sign in</body></html>", "HTML"),
        (b"<robot/>", "Robot Framework"),
        (b"<something/>", "something"),
    ],
)
def test_other_formats_are_named(data: bytes, word: str) -> None:
    with pytest.raises(NotAReportError, match=word):
        read(data)


def test_testcases_under_an_unknown_root_are_read() -> None:
    assert only("<report><testcase name='t'/></report>").name == "t"


class Endless(io.RawIOBase):
    """A report of so many cases that is never held whole."""

    def __init__(self, count: int) -> None:
        self.parts = self.written(count)
        self.left = b""

    @staticmethod
    def written(count: int) -> Iterator[bytes]:
        yield b"<testsuite name='s'>"
        for number in range(count):
            yield (
                b"<testcase classname='c' name='t%d' time='0.1'><system-out>hello</system-out></testcase>\n"
                % (number)
            )
        yield b"</testsuite>"

    def read(self, size: int = -1) -> bytes:
        while len(self.left) < size and (part := next(self.parts, b"")):
            self.left += part
        piece, self.left = self.left[:size], self.left[size:]
        return piece


def peak_of(count: int) -> int:
    tracemalloc.start()
    reader = JUnitReader(Endless(count))  # type: ignore[arg-type]  # all that is asked of it is read
    assert sum(len(batch) for batch in reader.batches()) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_file() -> None:
    small, large = peak_of(5_000), peak_of(50_000)

    assert large < small * 1.2


PIECES = [
    *("<testsuites>", "</testsuites>", "<testsuite name='s'>", "</testsuite>", "<testcase name='t'>"),
    *("</testcase>", "<testcase/>", "<failure message='m'>", "</failure>", "<error/>", "<skipped/>"),
    *("<flakyFailure>", "</flakyFailure>", "<rerunError/>", "<system-out>", "</system-out>", "text"),
    *("<properties>", "</properties>", "<property name='a'>", "</property>", "&amp;", "&x;", "\x00"),
    *("<![CDATA[", "]]>", "<!--", "-->", "<x:testcase xmlns:x='u'/>", "<?pi?>", "<!DOCTYPE a>"),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_whatever_comes_is_read_or_refused_with_a_reason(pieces: list[str]) -> None:
    try:
        cases, summary = read("".join(pieces))
    except ReportError as error:
        assert error.reason  # noqa: PT017 - a refusal is as good as a reading
    else:
        assert len(cases) == summary.case_count


def services_of(xml: str) -> list[tuple[str, ...]]:
    return [case.services for batch in JUnitReader(io.BytesIO(xml.encode())).batches() for case in batch]


def prop(value: str, name: str = "service") -> str:
    return f"<properties><property name='{name}' value='{value}'/></properties>"


def test_a_case_is_about_the_services_that_its_properties_name() -> None:
    failed = "<failure message='boom'/>"
    [found] = services_of(
        f"<testsuite>{prop('suite')}<testcase name='t'>"
        "<properties><property name='itdash.service' value=' orders, payments '/>"
        "<property name='service'>stock</property><property name='service' value='orders'/></properties>"
        f"{failed}</testcase></testsuite>"
    )

    assert found == ("orders", "payments", "stock")


def test_a_suites_services_are_its_cases_and_those_of_the_suites_within() -> None:
    failing_case = "<testcase name='t'><failure/></testcase>"
    found = services_of(
        f"<testsuites>{prop('nobody')}"
        f"<testsuite>{prop('orders')}{failing_case}"
        f"<testsuite>{failing_case}</testsuite>"
        f"<testsuite>{prop('stock')}{failing_case}</testsuite>"
        f"{failing_case}<testcase name='passes'/></testsuite>"
        f"<testsuite>{failing_case}</testsuite></testsuites>"
    )

    assert found == [("orders",), ("orders",), ("stock",), ("orders",), (), ()]


def test_hostile_service_names_are_cut_and_counted() -> None:
    many = ",".join(f"s{number}" for number in range(30))
    [found] = services_of(
        f"<testsuite><testcase name='t'>{prop('a' * 9_000 + ',,' + many)}<failure/></testcase></testsuite>"
    )

    assert found == ("a" * 250, *(f"s{number}" for number in range(9)))


def test_what_testcafe_appends_to_names_becomes_properties() -> None:
    cases, _ = read(
        '<testsuite name="TestCafe Tests: Chrome 119.0 / Ubuntu"><testcase classname="Cart" name="adds"/>'
        '<testcase classname="Cart" name="adds (unstable) (screenshots: /ci/shots/2026-11-21)"/>'
        '<testcase classname="Cart" name="pays (unstable)"/></testsuite>'
    )

    assert [(case.name, case.properties) for case in cases] == [
        ("adds", ()),
        ("adds", (("unstable", "true"), ("screenshots", "/ci/shots/2026-11-21"))),
        ("pays", (("unstable", "true"),)),
    ]
    assert (
        only('<testsuite name="s"><testcase name="pays (unstable)"/></testsuite>').name == "pays (unstable)"
    )


BAZEL = """<testsuites><testsuite name="shop/smoke" tests="1" failures="0" errors="1">
<testcase name="shop/smoke" status="run" time="12"><error message="exited with error code 1"/></testcase>
<system-out>Generated test.log:<![CDATA[asked the bank [[ATTACHMENT|out/a.png]]]]></system-out>
</testsuite></testsuites>"""


def test_what_a_suite_of_one_failed_case_printed_is_that_cases() -> None:
    case = only(BAZEL)

    assert case.attempts[0].output == "Generated test.log:asked the bank [[ATTACHMENT|out/a.png]]"
    assert [one.path for one in case.attachments] == ["out/a.png"]
    assert only(BAZEL.replace('tests="1"', 'tests="2"')).attempts[0].output == ""
    assert only(BAZEL.replace("error message", "ok message")).attempts[0].output == ""


def test_a_case_is_kept_when_its_suites_output_breaks_off() -> None:
    reader = JUnitReader(io.BytesIO(BAZEL[:-60].encode()))
    cases: list[CaseRead] = []
    with pytest.raises(MalformedReportError):  # noqa: PT012 - what came before the fault is wanted
        for batch in reader.batches():
            cases.extend(batch)

    assert [case.name for case in cases] == ["shop/smoke"]
    assert reader.summary.case_count == 1
