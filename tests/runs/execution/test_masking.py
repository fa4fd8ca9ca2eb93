"""Secrets among a project's variables are in nothing that a run leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runs.actions.events import NewEvent, NewLine
from runs.execution.masking import MASK, Masker
from runs.execution.recorder import Recorder
from runs.models import Event, LogChunk
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
