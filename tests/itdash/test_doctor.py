"""What `itdash doctor` says of the engine. Its other parts: `test_cli`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from itdash.cli import doctor
from itdash.env import Environment

if TYPE_CHECKING:
    from typing import Literal


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")


def wish(monkeypatch: pytest.MonkeyPatch, engine: Literal["auto", "docker", "local"]) -> None:
    monkeypatch.setattr(doctor, "environment", lambda: Environment().model_copy(update={"engine": engine}))


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("engine", "state", "beginning"),
    [
        ("auto", doctor.State.LIMITED, "local only: "),
        ("docker", doctor.State.BROKEN, "set in ITDASH_ENGINE, and does not answer: "),
        ("local", doctor.State.WORKS, "local: ITDASH_ENGINE says so"),
    ],
)
def test_an_engine_that_does_not_answer_matters_as_much_as_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    engine: Literal["auto", "docker", "local"],
    state: doctor.State,
    beginning: str,
) -> None:
    wish(monkeypatch, engine)

    found = doctor.engine()

    assert found.state is state
    assert found.text.startswith(beginning)


@pytest.mark.engine
def test_an_engine_that_answers_is_told_by_all_that_differs_from_one_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wish(monkeypatch, "docker")

    found = doctor.engine()
    lines = str(found).splitlines()

    assert found.state is doctor.State.WORKS
    assert lines[0].startswith("✓ engine    docker ")
    names = {line.strip().split("  ")[0] for line in lines[1:]}
    assert {"disk", "networks"} <= names
    assert {"api", "cgroup", "storage", "storage quota", "start_interval", "buildkit", "rootless"} <= names
    assert all(line.startswith(" " * 12) for line in lines[1:])


@pytest.mark.engine
def test_an_engine_without_room_is_limited_and_says_what_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    # More than any disk has, and a pool of one subnet.
    short = {"engine": "docker", "disk_reserve_gib": 1e6, "subnet_pool": "10.214.200.0/26"}
    monkeypatch.setattr(doctor, "environment", lambda: Environment().model_copy(update=short))

    found = doctor.engine()

    assert found.state is doctor.State.LIMITED
    room = {feature.name: feature for feature in found.features if feature.name in {"disk", "networks"}}
    assert not room["disk"].is_there
    assert room["disk"].text.endswith("GiB free; environments are begun from 1e+06 on")
    assert room["networks"].text == "1 of 1 free"


def test_a_pool_that_cannot_be_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"engine": "docker", "subnet_pool": "10.0.0.0/8", "subnet_prefix_length": 31}
    monkeypatch.setattr(doctor, "environment", lambda: Environment().model_copy(update=wrong))

    assert doctor.engine().state is doctor.State.BROKEN


@pytest.mark.django_db
@pytest.mark.usefixtures("no_engine")
def test_everything_is_one_document_for_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wish(monkeypatch, "docker")

    code = doctor.run(Namespace(data_dir=tmp_path, json=True))
    parts = json.loads(capsys.readouterr().out)["parts"]

    assert code == 1
    assert [part["part"] for part in parts] == ["engine", "git", "database", "broker", "storage", "clock"]
    assert (parts[0]["state"], parts[0]["features"]) == ("broken", [])
    assert parts[0]["mend"] == "Install or start Docker or Podman, or set ITDASH_ENGINE to auto."
    room = {feature["name"]: feature["text"] for feature in parts[4]["features"]}
    assert list(room) == ["disk", "data folder", "stored", "elsewhere", "forecast"]
    # The tests name their database: it may be on any machine.
    assert room["elsewhere"].startswith("the database (DATABASE_URL): how much is free there")
    assert room["forecast"] == "nothing grows here"
