"""Reports and artifacts in a bucket, on a real server: written, read in parts, removed after their term."""

from __future__ import annotations

import io
import random
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest
from asgiref.sync import async_to_sync
from botocore.exceptions import ClientError
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from pytest_django import Settings

from itdash.cli import doctor
from itdash.env import Environment
from itdash.s3 import BLOCK_BYTES, PART_BYTES, BucketMissingError, Place, S3Storage, told
from itdash.storages import file_storage
from runs.actions.artifacts import keep_artifact
from runs.actions.retention import Kind, Terms, remove_outlived
from runs.actions.uploads import ingest_upload
from runs.models import Artifact, Project, Report, Result, Upload
from runs.vocabulary import Role, Scope, UploadStatus
from runs.web.downloads import span
from tests.conftest import missing
from tests.factories import make_member, make_project
from tests.runs.api.test_access import bearer

if sys.platform == "linux":
    from tests.s3_server import Bucket, s3_server

#: More than a part and more than two blocks, and no block like another.
LARGE = random.Random(8).randbytes(PART_BYTES + 1_000_003)
ONE = b'<testsuite name="s"><testcase classname="c" name="%s" time="1.5"/></testsuite>'


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    if sys.platform != "linux":
        missing("The S3 server's package is for Linux.")
    with s3_server() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Bucket]:
    """What is stored, is stored in the bucket; it is empty."""
    for key in server.all_keys():
        server.client.delete_object(Bucket=server.name, Key=key)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    with override_settings(STORAGES=settings.STORAGES | {"default": file_storage(Environment())}):
        yield server


def send(client: Client, project: Project, **files: bytes) -> int:
    """Upload files over HTTP; returns the status."""
    data = [SimpleUploadedFile(name.replace("_", "."), content) for name, content in files.items()]
    answer = client.post(
        f"/api/v1/projects/{project.slug}/uploads",
        {"suite": "checkout", "run_key": "7", "files": data},
        headers=bearer(project, Scope.UPLOAD),
    )
    return answer.status_code


def download(client: AsyncClient, address: str, *, part: str = "") -> tuple[int, bytes]:
    async def read() -> tuple[int, bytes]:
        plain = await client.get(address, headers={"Range": part} if part else {})
        if not plain.streaming:
            return plain.status_code, plain.content
        answer = cast("StreamingHttpResponse", plain)
        assert answer["Content-Disposition"].startswith("attachment")
        parts = cast("AsyncIterator[bytes]", answer.streaming_content)
        content = b"".join([part async for part in parts])
        assert int(answer["Content-Length"]) == len(content)
        return answer.status_code, content

    return async_to_sync(read)()


@pytest.mark.django_db(transaction=True)
def test_files_live_in_the_bucket_from_their_upload_to_the_end_of_their_term(
    bucket: Bucket, client: Client
) -> None:
    project = make_project("shop")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("TEST-a.xml", ONE % b"a")
        archive.writestr("trace.bin", LARGE)
        archive.writestr("TEST-b.xml", ONE % b"b")

    assert send(client, project, TEST_c_xml=ONE % b"c", all_zip=packed.getvalue()) == 202
    upload = Upload.objects.get()
    assert ingest_upload(upload.pk) is UploadStatus.STORED

    # The path of files that are no reports: read once, of a length that nobody knows before.
    run = upload.run
    artifact = keep_artifact(run_id=run.pk, shard=1, path="/results/ä trace.bin", stream=io.BytesIO(LARGE))
    replaced = keep_artifact(run_id=run.pk, shard=1, path="/results/ä trace.bin", stream=io.BytesIO(LARGE))
    assert sorted(Result.objects.values_list("case__name", flat=True)) == ["a", "b", "c"]
    assert (artifact.sha256, artifact.size) == (sha256(LARGE).hexdigest(), len(LARGE))
    assert artifact.pk == replaced.pk
    names = [*Report.objects.values_list("storage_name", flat=True), replaced.storage_name]
    assert sorted(bucket.all_keys()) == sorted(f"some/prefix/{name}" for name in names)

    visitor = AsyncClient()
    visitor.force_login(make_member(project, Role.VIEWER))
    place = f"/p/shop/runs/{run.number}/files/artifact/{artifact.pk}/"
    assert download(visitor, place) == (200, LARGE)
    middle = f"bytes={BLOCK_BYTES - 2}-{BLOCK_BYTES + 1}"
    assert download(visitor, place, part=middle) == (206, LARGE[BLOCK_BYTES - 2 : BLOCK_BYTES + 2])
    assert download(visitor, place, part="bytes=-5") == (206, LARGE[-5:])
    assert download(visitor, place, part=f"bytes={len(LARGE)}-") == (416, b"")
    # Nobody gets to it around us.
    with pytest.raises(NotImplementedError):
        default_storage.url(artifact.storage_name)
    assert download(AsyncClient(), place)[0] == 404

    gone = remove_outlived(now=datetime.now(tz=UTC) + timedelta(days=2), terms=Terms(artifacts=1, reports=1))
    assert [(one.kind, one.count, one.left) for one in gone] == [
        (Kind.ARTIFACTS, 1, ""),
        (Kind.REPORTS, 2, ""),
    ]
    assert bucket.all_keys() == []
    assert download(visitor, place)[0] == 404


@pytest.mark.django_db
def test_a_bucket_that_does_not_answer_loses_no_upload(
    bucket: Bucket, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project("shop")
    assert send(client, project, junit_xml=ONE % b"a") == 202
    upload = Upload.objects.get()
    artifact = keep_artifact(run_id=upload.run_id, shard=1, path="/a.txt", stream=io.BytesIO(b"a"))

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with override_settings(STORAGES={"default": file_storage(Environment())}):
        assert send(client, project, other_xml=ONE % b"b") == 503
        for _ in range(10):  # more often than an upload of a file that cannot be stored is tried
            with pytest.raises(PermissionError, match="SignatureDoesNotMatch"):
                ingest_upload(upload.pk)
        [left] = remove_outlived(now=datetime.now(tz=UTC) + timedelta(days=2), terms=Terms(artifacts=1))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.secret_key)

    assert Upload.objects.count() == 1
    assert (left.count, left.left.startswith("The next night goes on; storage refused: ")) == (0, True)
    assert Artifact.objects.get().storage_name == artifact.storage_name
    assert ingest_upload(upload.pk) is UploadStatus.STORED


def test_a_file_is_read_from_anywhere_and_missing_ones_are_named(bucket: Bucket) -> None:
    name = default_storage.save("some/large.bin", ContentFile(LARGE))
    empty = default_storage.save("some/empty.bin", ContentFile(b""))

    with default_storage.open(name) as file:
        ends = [(file.seek(place), file.read(7))[1] for place in (len(LARGE) - 7, 0, BLOCK_BYTES - 3)]
    assert ends == [LARGE[-7:], LARGE[:7], LARGE[BLOCK_BYTES - 3 : BLOCK_BYTES + 4]]
    with default_storage.open(empty) as file:
        assert (file.size, file.read()) == (0, b"")
    assert (default_storage.size(name), default_storage.exists(name)) == (len(LARGE), True)
    for each in (name, empty, name):  # the last is gone already
        default_storage.delete(each)
    assert not default_storage.exists(name)
    with pytest.raises(FileNotFoundError, match=r"some/large\.bin in bucket files-of-tests"):
        default_storage.open(name)
    with pytest.raises(SuspiciousFileOperation):
        default_storage.open("../other/large.bin")


def test_the_doctor_tells_a_bucket_that_can_be_used_from_one_that_cannot(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(**changes: str) -> doctor.Finding:
        known = Environment().model_copy(update=changes)
        monkeypatch.setattr(doctor, "environment", lambda: known)
        return doctor.bucket()

    before = bucket.all_keys()
    assert looked().state is doctor.State.WORKS
    assert bucket.all_keys() == before
    away = looked(s3_endpoint="http://127.0.0.1:9")
    assert (away.state, "127.0.0.1:9" in away.text) == (doctor.State.BROKEN, True)
    assert away.mend.startswith("See that ITDASH_S3_ENDPOINT is the server's address")
    # These keys may use one bucket: of any other the server says nothing but that.
    forbidden = looked(storage="s3://another-bucket")
    assert (forbidden.state, "AccessDenied" in forbidden.text) == (doctor.State.BROKEN, True)
    assert "See that the bucket is there" in forbidden.mend
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refused = looked()
    assert (refused.state, refused.mend.startswith("Correct AWS_ACCESS_KEY_ID")) == (
        doctor.State.BROKEN,
        True,
    )
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    silent = looked()
    assert (silent.state, silent.mend.startswith("Set them for web")) == (doctor.State.BROKEN, True)


def test_a_bucket_that_is_not_there_is_told_from_a_file_and_loses_no_upload() -> None:
    """An upload whose file is missing is given up; one whose bucket is missing is tried again."""
    refused = {"Error": {"Code": "NoSuchBucket", "Message": "The specified bucket does not exist."}}

    with (
        pytest.raises(ConnectionError, match="bucket gone: NoSuchBucket The specified") as caught,
        told("gone"),
    ):
        raise ClientError(refused, "PutObject")

    assert isinstance(caught.value, BucketMissingError)


def test_settings_that_cannot_be_say_so() -> None:
    assert file_storage(Environment())["BACKEND"] == "django.core.files.storage.FileSystemStorage"
    assert Place.read("s3://my-bucket") == Place("my-bucket", "")
    assert Place.read("s3://my-bucket/a//b/") == Place("my-bucket", "a/b/")
    for wrong in ("my-bucket", "s3://", "s3://B", "s3://my-bucket/../other", "https://s3.example.org/bucket"):
        with pytest.raises(ImproperlyConfigured, match=r"ITDASH_STORAGE: .* names no bucket\. Like this: s3"):
            file_storage(Environment().model_copy(update={"storage": wrong}))
    with pytest.raises(ImproperlyConfigured, match="ITDASH_S3_ENDPOINT"):
        file_storage(
            Environment().model_copy(update={"storage": "s3://my-bucket", "s3_endpoint": "s3.example.org"})
        )
    assert S3Storage(place="s3://my-bucket").place == Place("my-bucket")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-9", range(10)),
        ("bytes=95-", range(95, 100)),
        ("bytes=95-200", range(95, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=100-", range(100, 100)),
        ("bytes=-0", range(100, 100)),
        ("bytes=9-3", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("", None),
    ],
)
def test_a_range_is_read_as_rfc_9110_says(header: str, wanted: range | None) -> None:
    assert span(header, 100) == wanted


def test_a_plain_folder_is_what_files_lie_in_by_default(tmp_path: Path, settings: Settings) -> None:
    settings.MEDIA_ROOT = tmp_path
    name = default_storage.save("a/b.txt", ContentFile(b"a"))
    assert (tmp_path / name).read_bytes() == b"a"
