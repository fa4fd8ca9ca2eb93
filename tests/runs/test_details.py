"""What reports tell besides outcomes is kept where there is any, shown, and its files are found again."""

from __future__ import annotations

import io
import zipfile

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from runs.actions.artifacts import keep_artifact
from runs.actions.results import ReportFile, store_reports
from runs.ingestion.attachments import Attachment
from runs.ingestion.details import Details, SuiteDetails, unpacked, unpacked_suites
from runs.models import Artifact, Attempt, Report, ResultDetails, Run, TestCase
from runs.queries.result_details import details_of
from tests.factories import make_project, make_run, make_suite
from tests.runs.api.test_access import bearer

pytestmark = pytest.mark.usefixtures("own_files")


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


def archive_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.django_db
def test_files_that_reports_name_are_kept_where_they_came_along() -> None:
    run = make_run()
    named = ["/ci/out/a.png", "out/a.png", "../x/trace.zip", "x/same.png", "y/same.png", "gone.png", "b.md"]
    marks = "".join(f"[[ATTACHMENT|{path}]]\n" for path in named)
    whole = suite_of(case_of("says", f"<system-out>{marks}</system-out>")).encode()
    members = {"r/junit.xml": whole, "../out/a.png": b"picture", "other/a.png": b"no", "same.png": b"which?"}
    contents = {
        "all.zip": archive_of(members),
        "trace.zip": archive_of({"network": b"{}"}),
        "b.md": b"# What happened",
        "broken.xml": b"<testsuite>",
        "note.txt": b"nobody names it",
    }
    files = [
        ReportFile(name, open=lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        for name, data in contents.items()
    ]

    stored = store_reports(run_id=run.pk, files=files)

    kept = {one.path: one for one in Artifact.objects.filter(run=run)}
    assert sorted(kept) == ["b.md", "out/a.png", "trace.zip"]
    with default_storage.open(kept["out/a.png"].storage_name) as file:
        assert file.read() == b"picture"
    assert dict(Report.objects.values_list("name", "status")) == {
        "all.zip": "stored",
        "trace.zip": "stored",
        "b.md": "stored",
        "broken.xml": "rejected",
        "note.txt": "rejected",
    }
    told = [problem.reason for problem in stored.problems if problem.file == "all.zip"]
    assert told[-1].startswith("Of the archive, 1 that")
    [says] = details_of(run, TestCase.objects.get(name="says"))
    assert [file.path for file in says.files if file.is_kept] == [
        "/ci/out/a.png",
        "out/a.png",
        "../x/trace.zip",
        "b.md",
    ]


@pytest.mark.django_db
def test_details_are_shown_with_the_files_that_were_sent(client: Client) -> None:
    run = make_run(make_suite(make_project("shop", visibility="public")))
    names = (
        "<property name='screenshot' value='https://ci.example/1'/>"
        "<property name='link' value='A-&lt;b&gt;'/>"
    )
    marks = "hello\n[[ATTACHMENT|/ci/out/a.png]]\n[[ATTACHMENT|../../etc/passwd]]"
    inner = f"<properties>{names}</properties><system-out>{marks}</system-out>"
    later = case_of("later", "<skipped message='not &lt;yet&gt;'/>")
    store(run, suite_of(case_of("says", inner), case_of("fails", "<failure message='m'/>"), later))
    stream = io.BytesIO(b"picture")
    artifact = keep_artifact(run_id=run.pk, shard=1, path="out/a.png", stream=stream)
    says, fails = (TestCase.objects.get(name=name) for name in ("says", "fails"))
    file = reverse("run-file", args=["shop", run.number, "artifact", artifact.pk])

    page, failed, test, whole = (
        client.get(address).content.decode()
        for address in (
            reverse("result", args=["shop", run.number, says.pk]),
            reverse("result", args=["shop", run.number, fails.pk]),
            reverse("test", args=["shop", says.pk]),
            reverse("run", args=["shop", run.number]),
        )
    )
    api = f"/api/v1/runs/{run.pk}"
    answer = client.get(f"{api}/results/{says.pk}", headers=bearer(run.project)).json()
    tries = client.get(f"{api}/results/{fails.pk}", headers=bearer(run.project)).json()["tries"]
    skipped = TestCase.objects.get(name="later").pk
    reason = client.get(f"{api}/results/{skipped}", headers=bearer(run.project)).json()["told"][0]["reason"]
    why = client.get(reverse("result", args=["shop", run.number, skipped])).content.decode()
    suites = client.get(f"{api}/suite-properties", headers=bearer(run.project)).json()

    for shown in (page, test):
        assert f'href="{file}"' in shown
        assert "named by the report, not sent" in shown
        assert 'href="https://ci.example/1"' in shown
        assert "A-&lt;b&gt;" in shown
        assert "hello" in shown
    assert "How it failed" in failed
    assert reason == "not <yet>"
    assert "Why it was skipped" in why
    assert "not &lt;yet&gt;" in why
    assert "java" in whole
    assert answer["told"] == [
        {
            "shard": 1,
            "properties": [
                {"name": "screenshot", "value": "https://ci.example/1"},
                {"name": "link", "value": "A-<b>"},
            ],
            "attachments": [
                {
                    "name": "a.png",
                    "path": "/ci/out/a.png",
                    "content_type": "image/png",
                    "size": 7,
                    "url": f"{settings.PUBLIC_URL}{file}",
                },
                {
                    "name": "passwd",
                    "path": "../../etc/passwd",
                    "content_type": None,
                    "size": None,
                    "url": None,
                },
            ],
            "output": marks,
            "reason": "",
        }
    ]
    assert [(one["number"], one["outcome"], one["failure"]["message"]) for one in tries] == [
        (1, "failed", "m")
    ]
    assert suites == [
        {"suites": ["s"], "suite_count": 1, "properties": [{"name": "java", "value": "21"}]},
    ]
    assert client.get(f"{api}/results/0", headers=bearer(run.project)).status_code == 404
