"""What is stored is measured where it lies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from runs.analytics.storage import Stored
from runs.models import Artifact, Report
from runs.queries.storage import stored
from runs.vocabulary import Outcome, RunStatus
from tests.factories import make_run
from tests.rows import add_results

pytestmark = pytest.mark.django_db


def by_kind() -> dict[str, Stored]:
    return {each.kind: each for each in stored(timezone.now())}


def test_an_installation_without_anything_takes_some_room_and_does_not_grow() -> None:
    found = by_kind()

    assert all(each.daily == 0 for each in found.values())
    assert found["artifacts"].size == found["reports"].size == 0
    assert found["the rest of the database"].size > 1024**2


def test_results_are_measured_with_all_their_partitions_and_grow_by_their_number() -> None:
    now = timezone.now()
    names = {f"test_{number}": Outcome.PASSED for number in range(30)}
    add_results(make_run(status=RunStatus.PASSED, queued_at=now - timedelta(days=56)), names)
    before = by_kind()["results"]
    add_results(make_run(status=RunStatus.PASSED, queued_at=now - timedelta(days=2)), names)

    found = by_kind()["results"]

    assert before.daily == 0  # it came before the window
    assert found.size >= before.size > 0
    # Half of the results came within the 28 days.
    assert found.daily == pytest.approx(found.size / 2 / 28)


def test_files_count_while_they_are_kept(settings: Settings) -> None:
    settings.KEEP_ARTIFACTS_DAYS = 30
    run = make_run(status=RunStatus.PASSED)
    for name, size in (("a", 700), ("b", 21_300), ("", 4_000)):
        Artifact.objects.create(run=run, path=f"{name}.zip", size=size, sha256="0" * 64, storage_name=name)
    Artifact.objects.filter(path="a.zip").update(created_at=timezone.now() - timedelta(days=10))
    Report.objects.create(run=run, name="r", size=90, sha256="1", storage_name="r")

    found = by_kind()

    artifacts = found["artifacts"]
    assert (artifacts.size, artifacts.term) == (22_000, 30)
    assert artifacts.daily == pytest.approx(2_200, rel=0.001)  # all of it came within ten days
    assert found["reports"].size == 90


def test_the_command_says_where_it_ends(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    for kind in ("RESULTS", "ARTIFACTS", "REPORTS", "LOGS", "COUNTS"):
        setattr(settings, f"KEEP_{kind}_DAYS", 60)
    run = make_run(status=RunStatus.PASSED)
    gib = 1024**3
    Artifact.objects.create(run=run, path="a.zip", size=gib, sha256="0" * 64, storage_name="a")

    call_command("show_storage", "--days", "30")

    said = capsys.readouterr().out.splitlines()
    assert [line.split() for line in said if line.startswith("artifacts")] == [
        ["artifacts", "1.0", "GiB", "1.0", "GiB", "a", "day", "kept", "60", "days"]
    ]
    ending = next(line for line in said if line.startswith("At the pace"))
    assert ending.startswith("At the pace of the last 28 days: 31.0 GiB in 30 days.")
    assert ending.endswith("Retention keeps it at about 60.0 GiB.")

    settings.KEEP_ARTIFACTS_DAYS = 0
    call_command("show_storage")

    assert "Something grows that is kept for ever: nothing holds it." in capsys.readouterr().out
