"""What reports tell besides outcomes is kept where there is any, shown, and its files are found again."""

from __future__ import annotations

import io

import pytest

from runs.actions.results import ReportFile, store_reports
from runs.ingestion.attachments import Attachment
from runs.ingestion.details import Details, SuiteDetails, unpacked, unpacked_suites
from runs.models import Attempt, Report, ResultDetails, Run
from tests.factories import make_run


def store(run: Run, *contents: str, shard: int = 1) -> list[str]:
    files = [
        ReportFile(f"{number}.xml", open=lambda text=content: io.BytesIO(text.encode()))  # type: ignore[misc]
        for number, content in enumerate(contents)
    ]
    return [problem.reason for problem in store_reports(run_id=run.pk, shard=shard, files=files).problems]


def case_of(name: str, inner: str = "") -> str:
    return f"<testcase classname='c' name='{name}'>{inner}</testcase>"


def suite_of(*cases: str) -> str:
    said = "<properties><property name='java' value='21'/></properties>"
    return f"<testsuite name='s'>{said}{''.join(cases)}</testsuite>"


def kept(run: Run) -> list[tuple[str, int, int, Details]]:
    rows = ResultDetails.objects.filter(run=run).order_by("case__name", "number").select_related("case")
    return [(row.case.name, row.number, row.attachment_count, unpacked(row.body)) for row in rows]


@pytest.mark.django_db
def test_details_have_a_row_each_time_a_case_tells_any() -> None:
    run = make_run()
    link = "<properties><property name='link' value='A-1'/></properties>"
    marked = "<system-out>[[ATTACHMENT|out/a.png]]</system-out>"

    store(
        run,
        suite_of(case_of("silent"), case_of("links", link), case_of("prints", marked)),
        suite_of(case_of("fails", f"{link}<failure message='m'/>{marked}")),
    )
    store(run, suite_of(case_of("prints", "<system-out>again</system-out>"), case_of("silent")), shard=2)

    shot = (Attachment("a.png", "out/a.png"),)
    links = (("link", "A-1"),)
    assert kept(run) == [
        ("fails", 1, 1, Details(links, shot)),
        ("links", 1, 0, Details(links)),
        ("prints", 1, 1, Details((), shot, "[[ATTACHMENT|out/a.png]]")),
        ("prints", 2, 0, Details((), (), "again")),
    ]
    assert Attempt.objects.get(run=run, case__name="fails").output == "[[ATTACHMENT|out/a.png]]"
    suites = [unpacked_suites(body) for body in Report.objects.values_list("suite_properties", flat=True)]
    assert suites == [[SuiteDetails(("s",), 1, (("java", "21"),))]] * 3
