"""The example on the local engine, through the lifecycle: what a machine without a container engine gets."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from environments.engine import LogLine
from environments.lifecycle import EnvironmentRequest, Happening, HappeningKind, provisioned
from environments.local_engine import LocalEngine
from environments.spec import load_environment
from tests.environments.local import belonging_to

SHOP = Path(__file__).parents[2] / "examples" / "shop"

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Played:
    """What a suite of the shop came to."""

    exit_code: int | None = None
    reports: dict[str, bytes] = field(default_factory=dict)
    happenings: list[Happening] = field(default_factory=list)
    log: list[LogLine] = field(default_factory=list)

    def kinds(self) -> list[HappeningKind]:
        return [happening.kind for happening in self.happenings]

    def asked(self) -> Sequence[tuple[str, str]]:
        return [
            (happening.data["action"], happening.service)
            for happening in self.happenings
            if happening.kind is HappeningKind.CONTROL
        ]


def play(tmp_path: Path, compose: str) -> Played:
    checkout = tmp_path / "checkout"
    shutil.copytree(SHOP, checkout, ignore=shutil.ignore_patterns("__pycache__"))
    spec = load_environment([checkout / compose], directory=checkout, variables={"SHOP_FLAKE_RATE": "0"})
    request = EnvironmentRequest(
        owner="run:17",
        shard=1,
        spec=spec,
        tests="integration-tests",
        expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
    )
    played = Played()
    with provisioned(
        request,
        engine=LocalEngine(tmp_path / "environments"),
        tell=played.happenings.append,
        log=played.log.append,
        stop=threading.Event(),
    ) as environment:
        environment.start_tests()
        played.exit_code = environment.wait_for_tests(deadline_seconds=120).exit_code
        for file in environment.collect("integration-tests", ["/results/**/*.xml"]):
            played.reports[file.path] = file.stream.read()
        folder = tmp_path / "environments" / environment.ref.name
    assert not folder.exists()
    assert belonging_to(folder) == []
    return played


def test_the_checkout_suite_stops_services_sees_503_starts_them_and_sees_201(tmp_path: Path) -> None:
    played = play(tmp_path, "docker-compose.test.yml")

    assert played.exit_code == 0, "\n".join(line.text for line in played.log)
    assert list(played.reports) == ["/results/checkout.xml"]
    assert b"test_without_user_service_an_order_is_refused" in played.reports["/results/checkout.xml"]
    assert played.asked()[:2] == [("stop", "user-service"), ("start", "user-service")]
    assert played.kinds().count(HappeningKind.MARK) >= 2
    assert HappeningKind.LEFT_BEHIND not in played.kinds()


def test_the_database_suite_needs_no_more_than_its_preset(tmp_path: Path) -> None:
    played = play(tmp_path, "docker-compose.database.yml")

    assert played.exit_code == 0, "\n".join(line.text for line in played.log)
    assert list(played.reports) == ["/results/database.xml"]
