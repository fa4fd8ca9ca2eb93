"""Storing reports: attempts, repeats, idempotence, bad files, parallel shards."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import connection, connections

from runs.actions import repeats, result_rows, results
from runs.actions.artifacts import keep_artifact
from runs.actions.partitions import ensure_partition
from runs.actions.results import ReportFile, StoredReports, store_reports
from runs.ingestion.errors import ReportLimitError
from runs.ingestion.junit import JUnitReader
from runs.models import Artifact, Attempt, Failure, Report, Result, Run, Shard, TestCase
from runs.vocabulary import UploadStatus
from tests.factories import make_run, make_suite
from tests.runs.ingestion.corpus import rows_of

pytestmark = pytest.mark.usefixtures("own_files")


def report(content: str | bytes, name: str = "report.xml") -> ReportFile:
    data = content.encode() if isinstance(content, str) else content
    return ReportFile(name, open=lambda: io.BytesIO(data))


def from_disk(path: Path, name: str) -> ReportFile:
    return ReportFile(name, open=lambda: path.open("rb"))


def store(run: Run, *contents: str | bytes, shard: int = 1) -> StoredReports:
    files = [report(content, f"report-{number}.xml") for number, content in enumerate(contents)]
    return store_reports(run_id=run.pk, shard=shard, files=files)


#: The corpus' formats that are read without being JUnit.
NATIVE = {"trx", "nunit2", "nunit3", "xunit.net"}
#: What makes a report be refused in the middle.
TOO_DEEP = "<a>" * 1_100


def suite_of(*cases: str) -> str:
    return f'<testsuite name="shop">{"".join(cases)}</testsuite>'


def passing(name: str, time: str = "0.5") -> str:
    return f'<testcase classname="c" name="{name}" time="{time}"/>'


def failing(name: str, message: str = "boom", kind: str = "E") -> str:
    return (
        f'<testcase classname="c" name="{name}" time="0.25">'
        f'<failure type="{kind}" message="{message}">trace of {message}</failure></testcase>'
    )


def outcomes(run: Run) -> dict[str, tuple[str, int]]:
    results = Result.objects.filter(run=run).select_related("case")
    return {one.case.name: (one.outcome, one.attempt_count) for one in results}


@pytest.mark.django_db
def test_a_report_becomes_cases_results_and_totals() -> None:
    run = make_run()

    stored = store(run, suite_of(passing("a"), failing("b"), '<testcase name="c"><skipped/></testcase>'))

    assert outcomes(run) == {"a": ("passed", 1), "b": ("failed", 1), "c": ("skipped", 1)}
    assert (stored.status, stored.case_count, stored.problems) == (UploadStatus.STORED, 3, [])
    counts = stored.counts
    assert (counts.tests, counts.passed, counts.failed, counts.skipped) == (3, 1, 1, 1)
    run.refresh_from_db()
    assert (run.test_count, run.failed_count) == (3, 1)
    case = TestCase.objects.get(name="b")
    assert (case.path, case.class_name, case.suite_id) == ("shop", "c", run.suite_id)
    result = Result.objects.get(case=case)
    assert (result.duration_ms, result.position, result.shard, result.run_at) == (250, 2, 1, run.run_at)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.message) == ("E", "boom")
    assert result.failure.text == "trace of boom"


@pytest.mark.django_db
def test_attempts_are_kept_where_there_is_something_to_say() -> None:
    run = make_run()

    store(run, suite_of(passing("a"), failing("b"), '<testcase name="c"><skipped/></testcase>'))

    attempts = Attempt.objects.filter(run=run).select_related("case", "failure")
    assert [(one.case.name, one.number, one.outcome) for one in attempts] == [("b", 1, "failed")]


@pytest.mark.django_db
def test_the_next_run_meets_the_same_cases_and_failures() -> None:
    suite = make_suite()
    first, second = make_run(suite), make_run(suite)
    xml = suite_of(passing("a"), failing("b"))

    store(first, xml)
    store(second, xml)

    assert TestCase.objects.filter(suite=suite).count() == 2
    assert Failure.objects.filter(project=suite.project).count() == 1
    assert Result.objects.filter(case__suite=suite).count() == 4


@pytest.mark.django_db
def test_bazels_earlier_try_comes_first_wherever_it_stands_in_an_upload() -> None:
    run = make_run()
    last = report(suite_of('<testcase name="t" time="1"/>'), "test.xml")
    first = report(suite_of('<testcase name="t" time="2"><failure/></testcase>'), "attempt_1.xml")

    store_reports(run_id=run.pk, shard=1, files=[last, first])

    assert outcomes(run) == {"t": ("flaky", 2)}


@pytest.mark.django_db
def test_a_pass_after_a_failed_try_is_flaky_and_every_try_is_kept() -> None:
    run = make_run()
    flaky = (
        '<testcase classname="c" name="f" time="2"><flakyFailure type="T" message="one"/>'
        '<flakyError message="two"><stackTrace>st</stackTrace><system-out>said</system-out></flakyError>'
        "</testcase>"
    )

    stored = store(run, suite_of(flaky))

    assert outcomes(run) == {"f": ("flaky", 3)}
    assert (stored.counts.flaky, stored.counts.passed) == (1, 0)
    tries = Attempt.objects.filter(run=run).select_related("failure").order_by("number")
    told = [(one.number, one.outcome, one.failure.message if one.failure else "") for one in tries]
    assert told == [(1, "failed", "one"), (2, "errored", "two"), (3, "passed", "")]
    assert tries[1].output == "said"
    assert tries[1].failure is not None
    assert tries[1].failure.text == "st"


@pytest.mark.django_db
def test_repeated_testcases_are_attempts_wherever_they_stand() -> None:
    run = make_run()

    store(run, suite_of(failing("a", "first"), passing("b"), passing("a", "0.75"), passing("b")))

    assert outcomes(run) == {"a": ("flaky", 2), "b": ("passed", 2)}
    assert Result.objects.get(run=run, case__name="a").duration_ms == 750


@pytest.mark.django_db
def test_pytests_teardown_error_is_no_retry() -> None:
    run = make_run()
    teardown = (
        '<testcase classname="c" name="{}" time="0.1"><error message="failed on teardown with x">t</error>'
        "</testcase>"
    )

    store(run, suite_of(passing("a"), teardown.format("a"), failing("b"), teardown.format("b")))

    assert outcomes(run) == {"a": ("errored", 1), "b": ("failed", 1)}


@pytest.mark.django_db
def test_a_later_report_of_the_run_adds_attempts() -> None:
    run = make_run()
    store(run, suite_of(failing("a"), passing("b"), passing("c")))

    stored = store(run, suite_of(passing("a")), suite_of(failing("b")))

    assert outcomes(run) == {"a": ("flaky", 2), "b": ("failed", 2), "c": ("passed", 1)}
    assert stored.counts.tests == 3
    tries = Attempt.objects.filter(run=run, case__name="b").order_by("number")
    assert [(one.number, one.outcome) for one in tries] == [(1, "passed"), (2, "failed")]


@pytest.mark.django_db
def test_the_same_report_twice_is_stored_once() -> None:
    run = make_run()
    xml = suite_of(failing("a"), passing("b"))

    first = store(run, xml)
    second = store(run, xml)

    assert first == second
    assert outcomes(run) == {"a": ("failed", 1), "b": ("passed", 1)}
    assert Report.objects.filter(run=run).count() == 1


@pytest.mark.django_db
def test_a_malformed_report_is_kept_up_to_its_fault_and_says_so() -> None:
    run = make_run()
    good = suite_of(passing("a"))
    bad = "<testsuite name='s'>\n" + passing("x") + failing("y") + "\n<testcase name='z'>"

    stored = store(run, good, bad)

    assert outcomes(run) == {"a": ("passed", 1), "x": ("passed", 1), "y": ("failed", 1)}
    assert (stored.status, stored.case_count, stored.counts.tests) == (UploadStatus.PARTIAL, 3, 3)
    [problem] = stored.problems
    assert (problem.file, problem.line, problem.kept_count) == ("report-1.xml", 3, 2)
    assert problem.reason.startswith("Not well-formed XML: ")
    assert "The 2 test cases before it are kept" in problem.reason
    kept = Report.objects.get(name="report-1.xml")
    assert (kept.status, kept.case_count) == (UploadStatus.PARTIAL, 2)
    with default_storage.open(kept.storage_name) as file:
        assert file.read() == bad.encode()


@pytest.mark.django_db
def test_a_malformed_report_without_a_case_before_its_fault_leaves_no_row() -> None:
    run = make_run()

    stored = store(run, "<testsuite name='s'>\n<testcase name='z'>")

    assert outcomes(run) == {}
    assert stored.status == UploadStatus.REJECTED
    assert [(one.line, one.kept_count) for one in stored.problems] == [(2, 0)]
    assert TestCase.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("tail", [TOO_DEEP, "<testcase name='n'/>" * 3], ids=["too-deep", "too-many"])
def test_a_report_beyond_a_limit_leaves_no_row_of_what_stood_before(
    tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "CASE_LIMIT", 2)
    run = make_run()

    stored = store(run, "<testsuite name='s'>" + passing("x") + tail)

    assert outcomes(run) == {}
    assert stored.status == UploadStatus.REJECTED
    assert [one.kept_count for one in stored.problems] == [None]


@pytest.mark.django_db
def test_a_failure_text_of_a_refused_report_is_kept_when_a_good_one_has_it_too() -> None:
    run = make_run()

    store(run, "<testsuite name='s'>" + failing("y", "same") + TOO_DEEP, suite_of(failing("a", "same")))

    result = Result.objects.select_related("failure").get(run=run)
    assert result.failure is not None
    assert result.failure.message == "same"


@pytest.mark.django_db
def test_nothing_readable_is_rejected() -> None:
    run = make_run()

    stored = store(run, b'{"tests": []}')

    assert stored.status == UploadStatus.REJECTED
    assert "JSON" in stored.problems[0].reason
    assert stored.counts.tests == 0


@pytest.mark.django_db
def test_names_of_any_length_and_any_characters_are_kept_whole() -> None:
    run = make_run()
    name = "tab&#9;back\\slash\\N line&#10;end é 漢 " + "x" * 5_000

    store(run, suite_of(f'<testcase classname="a\\tb" name="{name}"/>'))

    case = TestCase.objects.get()
    assert case.name == "tab\tback\\slash\\N line\nend é 漢 " + "x" * 5_000
    assert case.class_name == "a\\tb"


@pytest.mark.django_db
def test_parameters_are_told_apart() -> None:
    run = make_run()

    store(run, suite_of(passing("pay[eur-1]"), passing("pay[usd-1]")))

    cases = TestCase.objects.order_by("parameters").values_list("name", "parameters")
    assert list(cases) == [("pay", "[eur-1]"), ("pay", "[usd-1]")]


@pytest.mark.django_db
def test_playwrights_projects_are_variants_and_no_retries() -> None:
    run = make_run()
    suite = (
        '<testsuite name="a.spec.js" hostname="{}"><testcase classname="a.spec.js" name="t">{}</testcase>'
        "</testsuite>"
    )
    failure = '<failure message="m"/>'

    store(
        run,
        f'<testsuites id="" name="">{suite.format("chromium", failure)}{suite.format("firefox", "")}'
        "</testsuites>",
    )

    results = Result.objects.filter(run=run).select_related("case").order_by("case__variant")
    assert [(one.case.variant, one.outcome) for one in results] == [
        ("chromium", "failed"),
        ("firefox", "passed"),
    ]


@pytest.mark.django_db
def test_archives_are_opened_and_what_was_left_out_is_told() -> None:
    run = make_run()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one.xml", suite_of(passing("a")))
        archive.writestr("sub/two.xml", suite_of(failing("b")))
        archive.writestr("bad.xml", "<testsuite>")
        archive.writestr("shot.png", b"png")
    files = [
        report(packed.getvalue(), "all.zip"),
        report(gzip.compress(suite_of(passing("c")).encode()), "c.xml.gz"),
    ]

    stored = store_reports(run_id=run.pk, files=files)

    assert outcomes(run) == {"a": ("passed", 1), "b": ("failed", 1), "c": ("passed", 1)}
    assert stored.status == UploadStatus.PARTIAL
    assert [one.file for one in stored.problems] == ["all.zip/bad.xml", "all.zip"]
    assert "shot.png" in stored.problems[1].reason


@pytest.mark.django_db
def test_a_suites_own_error_is_told_as_a_problem() -> None:
    run = make_run()

    stored = store(run, '<testsuite name="db"><error message="no database"/></testsuite>')

    assert stored.status == UploadStatus.STORED
    assert "no database" in stored.problems[0].reason


@pytest.mark.django_db
def test_a_handful_of_queries_stores_thousands_of_results(
    django_assert_max_num_queries: object,
) -> None:
    run = make_run()
    xml = suite_of(*[failing(f"t{number}", f"m{number % 7}") for number in range(3_000)])

    ensure_partition(run.run_at)

    with django_assert_max_num_queries(32):  # type: ignore[operator]  # pytest-django's fixture
        stored = store(run, xml)

    assert stored.counts.failed == 3_000
    assert Failure.objects.count() == 7


@pytest.fixture
def _closing() -> Iterator[None]:
    yield
    connections.close_all()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["as a small report", "as a large one"])
def test_shards_and_runs_in_parallel_neither_deadlock_nor_lose_anything(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "as a large one":
        monkeypatch.setattr("runs.actions.result_rows._MANY_ATTEMPTS", 0)
    suite = make_suite()
    runs = [make_run(suite) for _ in range(3)]
    names = [f"t{number}" for number in range(400)]

    def work(job: tuple[Run, int]) -> StoredReports:
        run, shard = job
        own = names if shard % 2 else list(reversed(names))
        cases = [
            passing(name) if name.endswith("8") else failing(name, f"m{index % 50}")
            for index, name in enumerate(own)
        ]
        try:
            return store(run, suite_of(*cases, passing(f"only{shard}")), shard=shard)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, [(run, shard) for shard in range(1, 5) for run in runs]))

    for run in runs:
        found = outcomes(run)
        assert len(found) == 404
        assert found["t7"] == ("failed", 4)
        assert found["t8"] == ("passed", 4)
        assert found["only3"] == ("passed", 1)


@pytest.mark.django_db(transaction=True)
def test_the_same_report_in_parallel_is_stored_once() -> None:
    run = make_run()
    xml = suite_of(*[failing(f"t{number}") for number in range(300)])

    def work(_: int) -> StoredReports:
        try:
            return store(run, xml)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(work, range(4)))

    assert {one.counts.tests for one in stored} == {300}
    assert set(outcomes(run).values()) == {("failed", 1)}


@pytest.mark.django_db
def test_every_file_of_the_corpus_is_stored_or_refused_with_a_reason(corpus: Path) -> None:
    readable = rows_of(corpus, "ok", "empty")
    malformed = rows_of(corpus, "malformed")
    foreign = rows_of(corpus, "not-junit")
    native = [(path, row) for path, row in foreign if row["dialect"] in NATIVE]
    others = rows_of(corpus, "empty-file", "unsafe") + [one for one in foreign if one not in native]
    run = make_run()
    files = [from_disk(path, row["path"]) for path, row in [*readable, *native, *malformed, *others]]

    stored = store_reports(run_id=run.pk, files=files)

    by_status = Report.objects.values_list("status", "name")
    assert {name for status, name in by_status if status == "stored"} == {
        row["path"] for _, row in [*readable, *native]
    }
    partial = {name for status, name in by_status if status == "partial"}
    assert partial < {row["path"] for _, row in malformed}
    assert {name for status, name in by_status if status == "rejected"} == {
        row["path"] for _, row in [*malformed, *others]
    } - partial
    broken_off = {one.file: one for one in stored.problems if one.kept_count}
    assert set(broken_off) == partial
    assert all(one.line and "kept" in one.reason for one in broken_off.values())
    kept_count = sum(one.kept_count or 0 for one in broken_off.values())
    native_count = sum(int(row["native_total"]) for _, row in native)
    junit_count = sum(int(row["testcases"]) for _, row in readable)
    assert stored.case_count == junit_count + native_count + kept_count
    assert all(one.reason for one in stored.problems)
    rows = Result.objects.filter(run=run)
    assert stored.counts.tests == rows.count() == rows.values("case").distinct().count()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        result_rows._INSERT_CASES,
        result_rows._TOUCH_CASES,
        result_rows._INSERT_RESULTS,
        result_rows._INSERT_ATTEMPTS,
        result_rows._INSERT_DETAILS,
        repeats.INSERT_REPEATS_OF_EARLIER_REPORTS,
        repeats.SELECT_TRIES,
    ],
)
def test_cases_are_found_through_their_index_also_when_statistics_know_nothing_of_the_suite(
    statement: str,
) -> None:
    """It once took minutes to read a new suite again and again, for each of its cases."""
    old, new = make_run(), make_run()
    store(old, suite_of(*[failing(f"t{number}") for number in range(3_000)]))
    place = result_rows.Place(new.pk, new.run_at, new.suite_id, new.project_id, 1)
    staging = result_rows.Staging(place)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_testcase, runs_failure, runs_result")
        xml = suite_of(*[failing(f"t{number}") for number in range(2_000)])
        staging.add(JUnitReader(io.BytesIO(xml.encode())).batches())
        cursor.execute("ANALYZE itdash_staging_3 (identity)")
        cursor.execute(f"EXPLAIN {result_rows._BY_LOOKUP.of(statement)}", place.parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert f"Index Cond: ((suite_id = {new.suite_id}) AND (identity = s" in plan.replace("s_1.", "s.")


@pytest.mark.django_db
def test_a_large_report_is_merged_as_a_small_one() -> None:
    """Beyond some thousand attempts rows are found in another way, which must find the same."""
    run = make_run()
    names = [f"t{number}" for number in range(3_000)]
    store(run, suite_of(*[failing(name) for name in names[:10]]))

    stored = store(run, suite_of(*[failing(name, "first") for name in names], *map(passing, names)))

    assert outcomes(run) == {name: ("flaky", 3 if index < 10 else 2) for index, name in enumerate(names)}
    assert (stored.counts.flaky, stored.counts.tests) == (3_000, 3_000)
    assert Attempt.objects.filter(run=run).count() == 6_010


def about(services: str, case: str) -> str:
    return case.replace(
        "><failure", f"><properties><property name='service' value='{services}'/></properties><failure"
    )


@pytest.mark.django_db
def test_a_failing_attempt_keeps_the_services_that_the_report_names() -> None:
    run = make_run()
    odd = "back\\slash, &quot;quote&quot;, {brace}, tab&#9;and comma"

    store(run, suite_of(about("orders,stock", failing("a")), about(odd, failing("b")), failing("c")))

    kept = dict(Attempt.objects.filter(run=run).values_list("case__name", "services"))
    assert kept == {
        "a": ["orders", "stock"],
        "b": ["back\\slash", '"quote"', "{brace}", "tab and comma"],
        "c": [],
    }


@pytest.mark.django_db
def test_services_are_kept_through_retries_in_one_report_and_in_a_later_one() -> None:
    run = make_run()

    store(run, suite_of(about("orders", failing("a")), about("stock", failing("a"))))
    store(run, suite_of(passing("a")))

    attempts = Attempt.objects.filter(run=run).order_by("number")
    assert list(attempts.values_list("number", "outcome", "services")) == [
        (1, "failed", ["orders"]),
        (2, "failed", ["stock"]),
        (3, "passed", []),
    ]


@pytest.mark.django_db
def test_an_archive_may_mix_formats_and_json_that_is_no_report_is_left_out_with_a_note() -> None:
    run = make_run()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.xml", suite_of(passing("a")))
        archive.writestr(
            "b.trx", '<TestRun><Results><UnitTestResult testName="C.b" outcome="Passed"/></Results></TestRun>'
        )
        archive.writestr("c.json", '{"results": {"tests": [{"name": "c", "status": "failed"}]}}')
        archive.writestr("package.json", '{"name": "shop"}')
        archive.writestr("lines.json", '{"a": 1}\n{"a": 2}')

    stored = store(run, packed.getvalue())

    assert outcomes(run) == {"a": ("passed", 1), "b": ("passed", 1), "c": ("failed", 1)}
    assert stored.status == UploadStatus.STORED
    [problem] = stored.problems
    assert problem.reason.startswith("2 files of the archive are no reports and were left out: ")


@pytest.mark.django_db
def test_what_is_left_out_of_an_upload_is_counted_and_what_is_odd_in_it_can_be_stored() -> None:
    run = make_run()
    marks = "".join(f"[[ATTACHMENT|/ci/{number}.png]]" for number in range(103))
    errors = "<error message='no database'/>" * 52
    told = f"<system-out>{marks}</system-out>"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in {
            "a.xml": f"<testsuite name='s'>{errors}<testcase name='a'>{told}</testcase></testsuite>",
            "\udcff.xml": "<nothing",
            "c.json": '{"results": {"tests": [{"name": "\\ud800\\u0000c", "status": "\\ud800"}]}}',
            "1.png": "one",
            "2.txt": "two",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))

    stored = store(run, packed.getvalue())

    assert outcomes(run) == {"a": ("passed", 1), "?c": ("errored", 1)}
    assert stored.status == UploadStatus.PARTIAL
    reasons = [problem.reason for problem in stored.problems]
    assert [reason for reason in reasons if "no database" not in reason] == [
        "2 more failures outside of tests are only in the raw report.",
        "Attachments beyond 100 of a test case, 3, are only named in the raw report.",
        (
            "Not well-formed XML: Couldn't find end of Start Tag nothing. Its tool was stopped before it had "
            "written all."
        ),
        "The result “?” of a test case is not known; it counts as an error.",
        "1 file of the archive is no report and was left out: 2.txt",
        "Of the archive, 1 that reports of the run name are kept as attachments.",
    ]
    assert [problem.file for problem in stored.problems if problem.line] == ["report-0.xml/\ufffd.xml"]


@pytest.mark.django_db
def test_an_archive_of_json_none_of_which_is_a_report_is_rejected() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", "{}")

    stored = store(make_run(), packed.getvalue())

    assert stored.status == UploadStatus.REJECTED
    assert [problem.reason for problem in stored.problems] == [
        "The archive holds no .xml, .trx or .json file.",
        "1 file of the archive is no report and was left out: a.json",
    ]


@pytest.mark.django_db
def test_a_file_that_is_refused_half_way_leaves_nothing_in_storage(tmp_path: Path) -> None:
    class Bomb(io.RawIOBase):
        pieces = iter([b"x" * 100, b"x" * 100])

        def read(self, _size: int = -1) -> bytes:
            piece = next(self.pieces, None)
            if piece is None:
                reason = "The archive holds more than 200 MiB."
                raise ReportLimitError(reason)
            return piece

    with pytest.raises(ReportLimitError):
        keep_artifact(run_id=make_run().pk, shard=1, path="é" * 300 + ".png", stream=Bomb())

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Artifact.objects.exists()


@pytest.mark.django_db
def test_a_shards_totals_follow_what_another_shard_says_of_its_tests() -> None:
    run = make_run()
    first = Shard.objects.create(run=run, number=1)
    second = Shard.objects.create(run=run, number=2)
    store(run, suite_of(passing("a"), passing("b")), shard=1)

    store(run, suite_of(failing("a"), passing("only here")), shard=2)

    for shard, wanted in ((first, (2, 1)), (second, (1, 0))):
        shard.refresh_from_db()
        assert (shard.test_count, shard.failed_count) == wanted
