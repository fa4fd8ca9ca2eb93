"""What `itdash doctor` says of the engine. Its other parts: `test_cli`."""

from __future__ import annotations

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
