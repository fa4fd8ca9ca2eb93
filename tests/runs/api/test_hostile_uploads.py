"""Whatever is uploaded is answered: by a refusal with its reason, or stored as far as it goes.

`make fuzz` runs the first of these for as long as it takes.
"""

from __future__ import annotations

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.actions.uploads import give_up_upload, ingest_upload
from runs.models import Project, Upload
from runs.vocabulary import Scope, UploadStatus
from tests.factories import make_project
from tests.runs.api.test_access import bearer
from tests.runs.ingestion.fuzzing import Change, damaged, documents

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_files")]

GOOD = b'<testsuite name="s"><testcase classname="c" name="a" time="1.5"/></testsuite>'
#: Names of fields, and what may be in them; most uploads have a suite that can be.
NAMES = [
    "suite",
    "branch",
    "commit",
    "run_key",
    "shard",
    "shards",
    "attempt",
    "ci_url",
    "pull_request",
    "started_at",
    "env.A",
    "tag.a",
    "env.",
    "files",
    "tag.\x00",
    "other\x00",
]
VALUES = [
    "x",
    "1",
    "0",
    "-1",
    "2/3",
    "0/3",
    "4/3",
    "1000000000",
    "1e9",
    "NaN",
    "�",
    "😀",
    "http://ci/1",
    "javascript:alert(1)",
    "abcdef0",
    "2026-11-21T08:00:00Z",
    "2026-11-21T08:00:00",
    "2026-11-21T08:00:00+23:59",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "",
    "a\x00b",
    "a\nb",
    "b" * 2001,
    "9" * 5000,
]
fields = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=4)
keys = st.sampled_from(["", "k", "a\tb", "k" * 251, "é"])


@pytest.fixture
def project() -> Project:
    return make_project("shop")


def named(name: str, content: bytes) -> io.BytesIO:
    """A file of any name: Django's own for tests refuses odd ones before they are sent."""
    file = io.BytesIO(content)
    file.name = name
    return file


@settings(
    # Each costs some fifty times what those of the plain core cost.
    max_examples=settings().max_examples // 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    fields,
    keys,
    st.lists(documents, min_size=1, max_size=2),
    st.sampled_from(["a.xml", "b\0.json", "..", "ü/c"]),
)
def test_every_upload_is_answered(
    client: Client,
    project: Project,
    told: dict[str, str],
    key: str,
    sent: list[tuple[bytes, list[Change]]],
    name: str,
) -> None:
    answer = client.post(
        f"/api/v1/projects/{project.slug}/uploads",
        {"suite": "checkout"}
        | {field: value.encode("utf-8", "surrogatepass") for field, value in told.items()}
        | {"files": [named(name, damaged(*one)) for one in sent]},
        headers=bearer(project, Scope.UPLOAD) | ({"Idempotency-Key": key} if key else {}),
    )

    if answer.status_code not in {200, 202}:  # 200: it came before and is stored
        assert 400 <= answer.status_code < 500
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]
        return
    upload_id = answer.json()["upload"]["id"]
    ingest_upload(upload_id)
    upload = Upload.objects.get(pk=upload_id)
    assert upload.status != UploadStatus.RECEIVED
    assert upload.status == UploadStatus.STORED or all(one["reason"] for one in upload.problems)
    assert upload.status == UploadStatus.STORED or upload.problems


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"env.A": "a\0b", "tag.\0t": "\0", "other\0": "x"}, 202),
        ({"started_at": "2026-11-20T08:00:00+23:59"}, 202),
        ({"started_at": "9999-12-31T23:59:59-14:00"}, 422),
        ({"branch": "a\0b"}, 422),
        ({"suite": ["checkout", "shop"]}, 202),
    ],
)
def test_odd_values_are_taken_in_a_form_that_can_be_stored_or_refused(
    client: Client, project: Project, told: dict[str, object], status: int
) -> None:
    answer = client.post(
        f"/api/v1/projects/{project.slug}/uploads",
        {"suite": "checkout", **told, "files": SimpleUploadedFile("a.xml", GOOD)},
        headers=bearer(project, Scope.UPLOAD),
    )

    assert answer.status_code == status
    if "env.A" in told:
        upload = Upload.objects.select_related("run").get()
        assert (upload.run.environment_facts, upload.run.tags) == ({"A": "ab"}, {"t": ""})
        assert [one["reason"] for one in upload.problems] == [
            "The field “other” of the form is not known; it was left out."
        ]
    if "checkout" in str(told):
        [problem] = Upload.objects.get().problems
        assert problem["reason"] == "The field “suite” came 2 times; the last one holds."


def test_an_upload_that_takes_for_ever_is_rejected_once(client: Client, project: Project) -> None:
    for content in (GOOD, GOOD.replace(b"1.5", b"2.5")):
        client.post(
            f"/api/v1/projects/{project.slug}/uploads",
            {"suite": "checkout", "files": SimpleUploadedFile("a.xml", content)},
            headers=bearer(project, Scope.UPLOAD),
        )
    endless, stored = Upload.objects.order_by("pk")
    ingest_upload(stored.pk)

    for upload in (endless, stored):
        give_up_upload(upload.pk, minutes=20)

    endless, stored = Upload.objects.select_related("run").order_by("pk")
    assert (endless.status, endless.run.status, stored.status) == ("rejected", "errored", "stored")
    [problem] = endless.problems
    assert "within 20 minutes" in problem["reason"]
    assert ingest_upload(endless.pk) is None
