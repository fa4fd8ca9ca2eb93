"""Secrets among a project's variables are in nothing that a run leaves behind."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django import Settings

from environments.engine import CollectedFile
from runs.actions.events import NewEvent, NewLine
from runs.execution.collect import take_artifacts, take_reports
from runs.execution.masking import MASK, Masker
from runs.execution.recorder import Recorder
from runs.models import Artifact, Event, LogChunk, Project
from runs.vocabulary import RunStatus
from tests.executing import PASSED, executed, write, writing
from tests.factories import make_project, make_run, make_suite

VARIABLES = {
    "DB_PASSWORD": "s3cret/with+signs",
    "API_TOKEN": "tok-12345678",
    "API_TOKEN_OF_OLD": "tok-1234567890",
    "REGION": "eu-central-1",
    "ROOT_PASS": "root",
}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=s3cret/with+signs!", f"password={MASK}!"),
        ("postgres://u:s3cret%2Fwith%2Bsigns@db/x", f"postgres://u:{MASK}@db/x"),
        ("tok-12345678 and tok-1234567890", f"{MASK} and {MASK}"),
        ("eu-central-1 is no secret", "eu-central-1 is no secret"),
        ("root is too short to be one", "root is too short to be one"),
    ],
)
def test_values_that_are_called_like_secrets_are_masked(text: str, masked: str) -> None:
    assert Masker(VARIABLES).text(text) == masked


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("PASSWORD", True),
        ("db_passwd", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("GITHUB_TOKEN", True),
        ("APIKEY", True),
        ("STRIPE_API_KEY", True),
        ("GOOGLE_CREDENTIALS", True),
        ("COMPASS_URL", False),
        ("PASSENGERS", False),
        ("KEYBOARD", False),
        ("PUBLIC_KEY", False),
    ],
)
def test_a_name_tells_whether_its_value_is_a_secret(name: str, is_secret: bool) -> None:
    assert (Masker({name: "long enough"}).text("long enough") == MASK) is is_secret


def test_nested_values_are_masked_and_the_rest_is_left() -> None:
    data = {"out": ["tok-12345678", {"deep": "x tok-12345678"}], "code": 1, "none": None}

    assert Masker(VARIABLES).data(data) == {"out": [MASK, {"deep": f"x {MASK}"}], "code": 1, "none": None}
    assert Masker({}).data(data) is data


def test_secrets_of_a_compose_file_are_masked_from_the_moment_they_are_known() -> None:
    masker = Masker(VARIABLES)
    line = "hunter2-hunter2 and tok-12345678"
    assert masker.text(line) == f"hunter2-hunter2 and {MASK}"

    masker.learn(["hunter2-hunter2", "short"])

    assert masker.text(f"{line} are short") == f"{MASK} and {MASK} are short"


@pytest.mark.django_db(transaction=True)
def test_log_and_timeline_are_kept_without_secrets() -> None:
    run = make_run(make_suite(make_project("shop")))

    with Recorder(run.pk, masker=Masker(VARIABLES)) as recorder:
        recorder.line(NewLine(datetime.now(tz=UTC), 1, "db", "login with tok-12345678"))
        recorder.event(NewEvent("failed", "tok-12345678 was refused", data={"probe": ["tok-12345678"]}))

    assert "tok-" not in str(list(LogChunk.objects.values()))
    assert "tok-" not in str(list(Event.objects.values()))
    assert Event.objects.get(kind="failed").message == f"{MASK} was refused"
    assert MASK in LogChunk.objects.get().text


# --- files ------------------------------------------------------------------------------------------------

AWKWARD = {"PASSWORD": "a&b<c>d\"e'f", "TOKEN": "tök-12345678"}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a&b<c>d\"e'f", "***"),
        ("<system-out>a&amp;b&lt;c&gt;d\"e'f</system-out>", "<system-out>***</system-out>"),
        ('<failure message="a&amp;b&lt;c&gt;d&quot;e\'f"/>', '<failure message="***"/>'),
        ('{"password": "a&b<c>d\\"e\'f"}', '{"password": "***"}'),
        ('{"token": "t\\u00f6k-12345678"}', '{"token": "***"}'),
        ("https://u:t%C3%B6k-12345678@host/", "https://u:***@host/"),
        ("tök-1234567 is another", "tök-1234567 is another"),
    ],
)
def test_a_secret_in_a_file_is_masked_as_it_may_be_written_there(written: str, kept: str) -> None:
    masked = Masker(AWKWARD).file(io.BytesIO(written.encode()))

    assert masked.read().decode() == kept


@pytest.mark.parametrize("before", range(8192 - 13, 8192 + 2))
def test_a_secret_is_masked_where_blocks_meet(before: int) -> None:
    """The first block ends after 8,192 bytes: before, in and after the twelve bytes of the secret."""
    text = b"x" * before + b"tok-12345678" + b"y" * 300_000 + b"tok-12345678"

    masked = Masker({"TOKEN": "tok-12345678"}).file(io.BytesIO(text))
    blocks = list(iter(lambda: masked.read(1000), b""))

    assert max(map(len, blocks)) == 1000
    assert b"".join(blocks) == b"x" * before + b"***" + b"y" * 300_000 + b"***"


def test_what_is_no_text_is_kept_byte_for_byte() -> None:
    image = b"\x89PNG\0" + b"tok-12345678" * 40_000

    assert Masker({"TOKEN": "tok-12345678"}).file(io.BytesIO(image)).read() == image


def test_without_secrets_a_file_is_read_as_it_is() -> None:
    file = io.BytesIO(b"anything")

    assert Masker({"REGION": "eu-central-1"}).file(file) is file


@pytest.mark.django_db
def test_reports_and_artifacts_are_kept_without_secrets(tmp_path: Path, settings: Settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"
    run = make_run(make_suite(make_project("shop")))
    masker = Masker({"API_TOKEN": "tok-12345678"})
    report = b'<testsuite><testcase name="t"><failure message="tok-12345678 refused"/></testcase></testsuite>'
    files = [CollectedFile("/r/a.xml", len(report), io.BytesIO(report))]
    text = CollectedFile("/r/out.log", 12, io.BytesIO(b"tok-12345678"))

    [taken], _ = take_reports(files, tmp_path / "reports", masked=masker.file)
    take_artifacts([text], run_id=run.pk, shard=1, masked=masker.file)

    assert taken.name == "/r/a.xml"
    assert b'message="*** refused"' in (tmp_path / "reports" / "00001.xml").read_bytes()
    artifact = Artifact.objects.get()
    assert (artifact.size, artifact.sha256) == (3, hashlib.sha256(b"***").hexdigest())


TELLING = """
import sys
from pathlib import Path
for path in sys.argv[2:]:
    print("read:", Path(path).read_text().strip())
"""
WITH_SECRETS = """
services:
  integration-tests:
    image: python:3.13
    command: ["python3", "/src/suite.py", "/results", /run/secrets/token, /run/secrets/cert, /app.conf]
    volumes: [".:/src"]
    secrets: [token, cert]
    configs: [{source: app, target: /app.conf}]
secrets:
  token: {environment: DEPLOY}
  cert: {file: cert.pem}
configs:
  app: {content: "stage=${STAGE}"}
"""


@pytest.mark.django_db(transaction=True)
def test_a_run_reads_its_secrets_and_its_log_does_not_tell_them(project: Project) -> None:
    # The name says nothing; that the file calls it a secret does.
    project.variables = {"DEPLOY": "hunter2-hunter2", "STAGE": "testing"}
    project.save(update_fields=["variables"])
    write(
        project,
        {
            "docker-compose.test.yml": WITH_SECRETS,
            "cert.pem": "BEGIN CERTIFICATE\nMIIEvQIBADAN\n",
            "suite.py": TELLING + writing(PASSED),
        },
    )

    run = executed(project)

    assert (run.status, run.error_message) == (RunStatus.PASSED, "")
    said = LogChunk.objects.get(run=run, service="integration-tests").text
    assert f"read: {MASK}" in said
    assert "read: stage=testing" in said
    assert "hunter2" not in said
    assert "MIIE" not in said
