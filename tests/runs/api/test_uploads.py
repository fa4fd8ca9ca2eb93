"""Uploads over the API, to the end: bytes in, results out."""

from __future__ import annotations

import gzip
import io
import tarfile
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from runs.actions import uploads as actions
from runs.actions.uploads import ingest_upload
from runs.models import Project, Report, Result, Run, Upload
from runs.vocabulary import RunStatus, Scope, UploadStatus
from tests.factories import make_project
from tests.runs.api.test_access import bearer

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_files")]

GOOD = b'<testsuite name="s"><testcase classname="c" name="a" time="1.5"/></testsuite>'
BAD = b'<testsuite name="s"><testcase classname="c" name="b"><failure message="no"/></testcase></testsuite>'
BROKEN = b'<testsuite name="s">\n<testcase name="a">\n</testsuite>'


@pytest.fixture
def project() -> Project:
    return make_project("shop")


def send(
    client: Client,
    project: Project,
    *contents: bytes,
    key: str = "",
    name: str = "junit.xml",
    wait: str = "",
    **fields: str,
) -> Answer:
    headers = bearer(project, Scope.UPLOAD) | ({"Idempotency-Key": key} if key else {})
    files = [SimpleUploadedFile(name, content) for content in contents]
    data = {"suite": "checkout", **{field.replace("__", "."): value for field, value in fields.items()}}
    return client.post(
        f"/api/v1/projects/{project.slug}/uploads{wait}", {**data, "files": files}, headers=headers
    )


def test_an_upload_is_accepted_with_its_run(client: Client, project: Project, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://itdash.example"

    answer = send(
        client,
        project,
        GOOD,
        branch="main",
        commit="A81F3C2",
        ci_url="https://ci.example/7",
        env__PYTHON="3.13",
        tag__browser="firefox",
    )

    upload = Upload.objects.get()
    assert answer.status_code == 202
    assert answer.json() == {
        "upload": {"id": upload.pk, "status": "received"},
        "run": {"id": upload.run_id, "number": 1, "url": "https://itdash.example/p/shop/runs/1/"},
    }
    run = upload.run
    assert (run.status, run.trigger, run.branch, run.commit) == ("ingesting", "upload", "main", "a81f3c2")
    assert (run.tags, run.environment_facts) == ({"browser": "firefox"}, {"PYTHON": "3.13"})


def test_its_results_make_the_runs_end(client: Client, project: Project) -> None:
    send(client, project, GOOD, BAD)

    assert ingest_upload(Upload.objects.get().pk) == UploadStatus.STORED

    run = Run.objects.get()
    assert (run.status, run.verdict, run.test_count, run.failed_count) == ("failed", "fail", 2, 1)
    assert run.duration_ms == 1_500


def test_what_became_of_it_is_told_with_every_problem(client: Client, project: Project) -> None:
    upload_id = send(client, project, GOOD, BROKEN).json()["upload"]["id"]
    ingest_upload(upload_id)

    answer = client.get(f"/api/v1/uploads/{upload_id}", headers=bearer(project, Scope.UPLOAD)).json()

    counts = {"files": 2, "test_cases": 1, "size": len(GOOD) + len(BROKEN), "problems": 1}
    assert (answer["status"], answer["counts"]) == ("partial", counts)
    assert [(one["status"], one["test_cases"]) for one in answer["files"]] == [("stored", 1), ("rejected", 0)]
    [problem] = answer["problems"]
    assert (problem["file"], problem["line"]) == ("junit.xml", 3)
    assert "Not well-formed XML" in problem["reason"]
    assert (problem["kept_count"], answer["run"]["status"]) == (0, "errored")


CUT = b"<testsuite name='s'>\n<testcase classname='c' name='a'/>\n<testcase classname='c' name='b'>"


def test_a_report_that_breaks_off_is_partial_and_says_how_much_is_kept(
    client: Client, project: Project
) -> None:
    upload_id = send(client, project, CUT).json()["upload"]["id"]
    ingest_upload(upload_id)

    answer = client.get(f"/api/v1/uploads/{upload_id}", headers=bearer(project, Scope.UPLOAD)).json()

    counts = {"files": 1, "size": len(CUT), "test_cases": 1, "problems": 1}
    assert (answer["status"], answer["counts"]) == ("partial", counts)
    [problem] = answer["problems"]
    assert (problem["file"], problem["line"], problem["kept_count"]) == ("junit.xml", 3, 1)
    assert "The test case before it is kept" in problem["reason"]
    run = Run.objects.get()
    assert (run.status, run.error_reason, run.test_count) == ("errored", "report_unreadable", 1)
    assert run.error_message.startswith("junit.xml, line 3: Not well-formed XML")


def test_the_whole_report_after_one_that_broke_off_makes_the_run_good(
    client: Client, project: Project
) -> None:
    for content in (CUT, CUT + b"</testcase></testsuite>"):
        answer = send(client, project, content, key=str(len(content)), run_key="build-1")
        ingest_upload(answer.json()["upload"]["id"])

    run = Run.objects.get()
    assert (run.status, run.test_count, run.flaky_count) == ("passed", 2, 0)


def test_its_delay_its_page_and_each_files_place_are_told(client: Client, project: Project) -> None:
    upload_id = send(client, project, GOOD).json()["upload"]["id"]
    received = Upload.objects.get().received_at
    headers = bearer(project, Scope.UPLOAD)

    waiting = client.get(f"/api/v1/uploads/{upload_id}", headers=headers).json()
    ingest_upload(upload_id)
    Upload.objects.update(stored_at=received + timedelta(milliseconds=340))
    answer = client.get(f"/api/v1/uploads/{upload_id}", headers=headers).json()

    assert (waiting["status"], waiting["delay_seconds"]) == ("received", None)
    assert answer["delay_seconds"] == 0.34
    assert answer["url"].endswith(f"/p/shop/uploads/{upload_id}/")
    [file] = answer["files"]
    assert file["sha256"] == sha256(GOOD).hexdigest()
    assert file["url"].endswith(f"/p/shop/runs/1/files/report/{Report.objects.get().pk}/")


def test_a_projects_uploads_are_listed_newest_first_by_status_and_run(
    client: Client, project: Project
) -> None:
    first, second, third = (
        send(client, project, content, run_key=key).json()
        for content, key in ((GOOD, "a"), (BROKEN, "b"), (BAD, "a"))
    )
    for one in (first, second, third):
        ingest_upload(one["upload"]["id"])
    send(client, make_project("other"), GOOD)

    def listed(query: str) -> list[int]:
        answer = client.get(f"/api/v1/projects/shop/uploads{query}", headers=bearer(project))
        return [item["id"] for item in answer.json()["items"]]

    ids = [one["upload"]["id"] for one in (first, second, third)]
    assert listed("") == ids[::-1]
    assert listed("?status=rejected") == [ids[1]]
    assert listed("?status=partial") == []
    assert listed(f"?run={first['run']['id']}") == [ids[2], ids[0]]
    assert listed("?run=999999999") == []
    page = client.get("/api/v1/projects/shop/uploads?limit=2", headers=bearer(project)).json()
    assert page["items"][1]["counts"] == {"files": 1, "size": len(BROKEN), "test_cases": 0, "problems": 1}
    rest = client.get(page["next"], headers=bearer(project)).json()
    assert [item["id"] for item in rest["items"]] == [ids[0]]


def test_an_unreadable_upload_is_an_errored_run_that_says_why(client: Client, project: Project) -> None:
    send(client, project, BROKEN)
    ingest_upload(Upload.objects.get().pk)

    run = Run.objects.get()
    assert (run.status, run.error_reason) == ("errored", "report_unreadable")
    assert run.error_message.startswith("junit.xml: Not well-formed XML")


def test_waiting_answers_200_once_it_is_stored(client: Client, project: Project) -> None:
    send(client, project, GOOD, key="k")
    ingest_upload(Upload.objects.get().pk)

    answer = send(client, project, GOOD, key="k", wait="?wait=5")

    assert answer.status_code == 200
    assert answer.json()["upload"]["status"] == "stored"


def test_waiting_ends_when_its_time_is_up(client: Client, project: Project) -> None:
    answer = send(client, project, GOOD, wait="?wait=0.01")

    assert (answer.status_code, answer.json()["upload"]["status"]) == (202, "received")


def test_the_same_key_twice_is_one_upload(client: Client, project: Project) -> None:
    first = send(client, project, GOOD, key="build-7")
    second = send(client, project, GOOD, key="build-7")

    assert first.json() == second.json()
    assert (Upload.objects.count(), Run.objects.count(), Report.objects.count()) == (1, 1, 1)


def test_the_same_key_with_other_content_is_refused(client: Client, project: Project) -> None:
    send(client, project, GOOD, key="build-7")

    answer = send(client, project, BAD, key="build-7")

    assert answer.status_code == 409
    assert "Use a new key" in answer.json()["detail"]
    assert Run.objects.count() == 1


def test_uploads_that_share_a_run_key_are_one_run(client: Client, project: Project) -> None:
    send(client, project, GOOD, run_key="pipeline-9", shard="1")
    send(client, project, BAD, run_key="pipeline-9", shard="2")
    for upload in Upload.objects.order_by("pk"):
        ingest_upload(upload.pk)

    run = Run.objects.get()
    assert (run.test_count, run.status) == (2, "failed")
    shards = Result.objects.filter(run=run).order_by("shard").values_list("shard", flat=True)
    assert list(shards) == [1, 2]


@pytest.mark.parametrize("said", [{"shard": "2/3"}, {"shard": "2", "shards": "3"}])
def test_a_sender_says_how_many_shards_there_are(
    client: Client, project: Project, said: dict[str, str]
) -> None:
    upload_id = send(client, project, GOOD, run_key="b", **said).json()["upload"]["id"]
    ingest_upload(upload_id)

    answer = client.get(f"/api/v1/uploads/{upload_id}", headers=bearer(project)).json()

    assert (answer["shard"], answer["run"]["status"]) == (2, "ingesting")
    assert answer["run"]["shards"] == {"expected": 3, "received": 1}


@pytest.mark.parametrize(
    "said",
    [{"shard": "2/3", "shards": "4"}, {"shard": "2/"}, {"shard": "x"}, {"shard": "4/3"}, {"shard": "-1"}],
)
def test_shards_that_cannot_be_are_refused(client: Client, project: Project, said: dict[str, str]) -> None:
    answer = send(client, project, GOOD, run_key="b", **said)

    assert (answer.status_code, "shard" in answer.json()["detail"]) == (422, True)
    assert not Upload.objects.exists()


def test_the_same_content_for_a_run_is_one_upload_even_without_a_key(
    client: Client, project: Project
) -> None:
    first = send(client, project, GOOD, run_key="pipeline-9")
    second = send(client, project, GOOD, run_key="pipeline-9")

    assert first.json() == second.json()
    assert Upload.objects.count() == 1


def test_a_file_that_came_before_is_counted_once(client: Client, project: Project) -> None:
    send(client, project, GOOD, run_key="r", branch="main")
    again = send(client, project, GOOD, run_key="r", branch="dev").json()["upload"]["id"]
    for upload in Upload.objects.order_by("pk"):
        ingest_upload(upload.pk)

    assert Result.objects.get().attempt_count == 1
    assert "counted once" in Upload.objects.get(pk=again).problems[0]["reason"]


def test_what_a_later_upload_says_of_the_run_is_taken_over_or_told_as_a_difference(
    client: Client, project: Project
) -> None:
    send(client, project, GOOD, run_key="r", commit="9c1f0e2", tag__os="linux")
    send(client, project, BAD, run_key="r", branch="main", commit="9c1f0e2aa0", tag__os="mac", tag__py="3.13")
    other = {"branch": "dev", "commit": "9c1f0e2", "pull_request": "7"}
    third = send(client, project, BAD, name="b.xml", run_key="r", **other).json()["upload"]["id"]

    run = Run.objects.get()
    assert (run.branch, run.commit, run.pull_request) == ("main", "9c1f0e2aa0", "7")
    assert run.tags == {"os": "linux", "py": "3.13"}
    assert [one["reason"] for one in Upload.objects.get(pk=third).problems] == [
        "It says that the branch is dev; an upload before said main, which holds."
    ]


def test_what_the_form_holds_besides_is_named_and_left_out(client: Client, project: Project) -> None:
    names_one = GOOD.replace(b"/>", b"><system-out>[[ATTACHMENT|named.png]]</system-out></testcase>")
    pictures = [SimpleUploadedFile(name, b"\x89PNG\r\n\x1a\n") for name in ("named.png", "other.png")]
    more = {
        "file": SimpleUploadedFile("b.xml", GOOD),
        "files": [SimpleUploadedFile("a.xml", names_one), *pictures],
    }
    answer = client.post(
        f"/api/v1/projects/{project.slug}/uploads",
        {"suite": "checkout", "brnach": "main", **more},
        headers=bearer(project, Scope.UPLOAD),
    )
    ingest_upload(answer.json()["upload"]["id"])

    upload = Upload.objects.get()
    assert [one["reason"] for one in upload.problems] == [
        "The field “brnach” of the form is not known; it was left out.",
        "Reports go into the field “files”; what “file” held was left out: b.xml.",
        "It is no report: it is kept as an attachment that a report of the run names.",
        "It is no report and was left out: no report of the run names it.",
    ]
    assert (upload.status, upload.run.status, Result.objects.count()) == ("stored", RunStatus.PASSED, 1)


def test_ringing_twice_stores_once(client: Client, project: Project) -> None:
    send(client, project, BAD)
    upload_id = Upload.objects.get().pk

    assert ingest_upload(upload_id) == UploadStatus.STORED
    assert ingest_upload(upload_id) is None
    assert Result.objects.get().attempt_count == 1


def test_the_bell_rings_after_the_commit(
    client: Client,
    project: Project,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        send(client, project, GOOD)

    assert len(callbacks) == 1


@pytest.mark.parametrize("packing", ["gz", "tar.gz"])
def test_packed_reports_are_opened(client: Client, project: Project, packing: str) -> None:
    packed = gzip.compress(GOOD)
    if packing == "tar.gz":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo("deep/junit.xml")
            info.size = len(GOOD)
            archive.addfile(info, io.BytesIO(GOOD))
        packed = buffer.getvalue()

    send(client, project, packed, name=f"all.{packing}")
    ingest_upload(Upload.objects.get().pk)

    assert Run.objects.get().test_count == 1


def test_an_upload_has_a_limit(client: Client, project: Project, settings: Settings) -> None:
    settings.UPLOAD_LIMIT_BYTES = 1024 * 1024

    answer = send(client, project, b"<a/>" + b" " * 1024 * 1024)

    assert answer.status_code == 413
    assert "1 MiB" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_a_form_of_too_many_files_is_refused_with_what_to_do(
    client: Client, project: Project, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2

    answer = send(client, project, GOOD, GOOD, GOOD)

    assert answer.status_code == 400
    assert answer.json()["detail"] == "A form has up to 2 files. Send them as one archive, .zip or .tar.gz."
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1
    assert "up to 1 fields" in send(client, project, GOOD, branch="main").json()["detail"]
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS, settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000, 8
    assert send(client, project, GOOD, branch="a-long-name").status_code == 413


def test_what_is_no_report_is_refused_by_name(client: Client, project: Project) -> None:
    answer = send(client, project, b'{"passed": 3}', name="report.json")

    assert answer.status_code == 415
    assert "report.json: This is JSON" in answer.json()["detail"]
    assert not Run.objects.exists()


def test_a_body_that_is_no_form_is_refused(client: Client, project: Project) -> None:
    answer = client.post(
        "/api/v1/projects/shop/uploads",
        GOOD,
        content_type="application/xml",
        headers=bearer(project, Scope.UPLOAD),
    )

    assert answer.status_code == 415
    assert "multipart/form-data" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"commit": "main"}, "commit"),
        ({"shard": "0"}, "shard"),
        ({"shard": "x"}, "shard"),
        ({"ci_url": "javascript:alert(1)"}, "ci_url"),
        ({"started_at": "1970-01-01T00:00:00Z"}, "started_at"),
        ({"started_at": "2026-11-20T08:00:00"}, "started_at"),
        ({"branch": "x" * 251}, "branch"),
        ({"suite": " "}, "suite"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(
    client: Client, project: Project, fields: dict[str, str], complaint: str
) -> None:
    answer = send(client, project, GOOD, **fields)

    assert answer.status_code == 422, answer.content
    assert complaint in answer.json()["detail"].lower()
    assert not Upload.objects.exists()
    assert not Run.objects.exists()


def test_an_upload_without_files_is_refused(client: Client, project: Project) -> None:
    assert send(client, project).status_code == 422


def test_a_token_of_another_project_sees_nothing(client: Client, project: Project) -> None:
    upload_id = send(client, project, GOOD).json()["upload"]["id"]
    other = make_project("other")

    assert client.get(f"/api/v1/uploads/{upload_id}", headers=bearer(other, Scope.UPLOAD)).status_code == 404
    assert (
        client.post("/api/v1/projects/shop/uploads", headers=bearer(other, Scope.UPLOAD)).status_code >= 400
    )


def test_nobody_uploads_sample_data(client: Client, project: Project) -> None:
    """It would be removed with what was made up."""
    answer = send(client, project, GOOD, **{"tag.sample": "1 of 2", "tag.sample_until": "tomorrow"})

    assert answer.status_code == 422
    assert not Run.objects.exists()
    assert send(client, project, GOOD, **{"tag.sample": "1 of 2"}).status_code == 202


def test_uploading_needs_the_scope(client: Client, project: Project) -> None:
    file = SimpleUploadedFile("junit.xml", GOOD)

    answer = client.post(
        "/api/v1/projects/shop/uploads",
        {"suite": "s", "files": [file]},
        headers=bearer(project, Scope.READ),
    )

    assert answer.status_code == 403


def test_an_upload_that_fails_again_and_again_for_our_reasons_comes_to_an_end(
    client: Client, project: Project
) -> None:
    send(client, project, GOOD)
    upload = Upload.objects.get()
    Report.objects.update(storage_name="gone/away.xml")

    for _ in range(actions.TRY_LIMIT):
        with pytest.raises(FileNotFoundError):
            ingest_upload(upload.pk)

    assert ingest_upload(upload.pk) == UploadStatus.REJECTED
    upload.refresh_from_db()
    assert "could not be stored" in upload.problems[-1]["reason"]
    assert Run.objects.get().status == RunStatus.ERRORED


def test_nothing_is_left_in_storage_of_a_refused_upload(
    client: Client, project: Project, tmp_path: Path
) -> None:
    send(client, project, GOOD, suite="\0")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
