"""What an environment logs and uses, kept through bursts, ends and kills, on real engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from environments.docker_engine import DockerEngine
from environments.engine import Engine, LogLine
from environments.lifecycle import HappeningKind
from environments.local_engine import LocalEngine
from environments.models import ServiceUsage
from tests.contract.services import needs, service, slow_service, spec_of
from tests.environments.lab import Lab

type Lines = Iterator[LogLine]

pytestmark = pytest.mark.django_db(transaction=True)

BURST_LINES = 200_000
BURST = f"""
import sys
for number in range({BURST_LINES}):
    sys.stdout.write(f"line {{number:06}} of a burst without a pause\\n")
"""


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "local"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    docker = DockerEngine()
    lab = Lab(docker if request.param == "docker" else LocalEngine(tmp_path / "environments"))
    yield lab
    left = [ref for ref in lab.engine.environments(settings.INSTANCE) if ref.owner.startswith("run:")]
    for ref in left:
        lab.engine.remove_environment(ref)
    docker.close()
    assert left == []


def test_every_line_of_a_burst_is_kept_once(lab: Lab) -> None:
    with lab.provisioned(spec_of(service("tests", BURST))) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=60)

    texts = lab.texts("tests")
    assert len(texts) == BURST_LINES
    assert texts == [f"line {number:06} of a burst without a pause" for number in range(BURST_LINES)]
    stamps = [line.at for line in lab.lines]
    assert stamps == sorted(stamps)


def test_what_is_used_is_kept_by_service(lab: Lab) -> None:
    tests = service("tests", "import time; held = bytearray(b'x') * (40 * 1024 * 1024); time.sleep(2.2)")
    with lab.provisioned(spec_of(slow_service("db"), tests)) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=20)

    rows = ServiceUsage.objects.filter(service__environment=environment.record).order_by("began_at")
    by_service: dict[str, list[int]] = {}
    for row in rows.select_related("service"):
        assert len(row.offsets_ms) == len(row.memory_kib) == len(row.cpu_millis) == len(row.throttled_ms)
        by_service.setdefault(row.service.name, []).extend(row.memory_kib)
    assert by_service.keys() == {"db", "tests"}
    assert 2 <= len(by_service["tests"]) <= 5
    assert 40 * 1024 <= max(by_service["tests"]) <= 80 * 1024
    assert max(by_service["db"]) < 40 * 1024


@dataclass(eq=False)
class Forgetful:
    """An engine whose log streams, unlike its logs, leave out every third line."""

    engine: Engine
    follows: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def logs(
        self, ref: Any, service: str, *, since: datetime | None = None, **facts: Any
    ) -> Iterator[LogLine]:
        self.follows[service] += bool(facts.get("follow"))
        for number, line in enumerate(self.engine.logs(ref, service, since=since, **facts)):
            if not (facts.get("follow") and number % 3 == 1):
                yield line


def test_what_the_stream_leaves_out_is_read_from_the_log(tmp_path: Path) -> None:
    lab = Lab(Forgetful(LocalEngine(tmp_path / "environments")))  # type: ignore[arg-type]
    tests = service("tests", "for number in range(10): print(number % 2, number // 5)")

    with lab.provisioned(spec_of(tests)) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=20)

    assert Counter(lab.texts("tests")) == {"0 0": 3, "1 0": 2, "0 1": 2, "1 1": 3}


@dataclass(eq=False)
class Broken(Forgetful):
    """An engine whose log streams break after each line while the service goes on."""

    def logs(
        self, ref: Any, service: str, *, since: datetime | None = None, **facts: Any
    ) -> Iterator[LogLine]:
        self.follows[service] += bool(facts.get("follow"))
        for line in self.engine.logs(ref, service, since=since, **facts):
            yield line
            if facts.get("follow") and (since is None or line.at > since):
                return


def test_a_stream_that_breaks_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    broken = Broken(LocalEngine(tmp_path / "environments"))
    lab = Lab(broken)  # type: ignore[arg-type]
    db = slow_service("db", ready_after=0.1)

    with lab.provisioned(
        spec_of(db, service("tests", "print('done')", depends_on=needs("db")))
    ) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=20)
        environment.run_in("db", ["python3", "-c", "import time; time.sleep(1.2)"], timeout_seconds=10)

    assert lab.texts("db") == ["starting", "ready"]
    assert broken.follows["db"] >= 2


@pytest.mark.engine
@pytest.mark.parametrize("lab", ["docker"], indirect=True)
def test_a_child_killed_for_want_of_memory_is_told_though_the_exit_code_is_0(lab: Lab) -> None:
    program = """
import subprocess, sys, time
print(subprocess.run([sys.executable, "-c", "bytearray(b'x') * 300_000_000"]).returncode, flush=True)
time.sleep(3)  # long enough to be measured, on a busy machine too
"""
    hungry = service("tests", program, memory_bytes=64 * 1024 * 1024)

    with lab.provisioned(spec_of(hungry)) as environment:
        environment.start_tests()
        ended = environment.wait_for_tests(deadline_seconds=20)

    assert ended.exit_code == 0
    assert lab.texts("tests") == ["-9"]
    told = [one for one in lab.happenings if one.kind is HappeningKind.SERVICE_OUT_OF_MEMORY]
    assert told[0].message == "tests ran out of memory: a process was killed at its limit of 64 MiB."
    assert told[0].data == {"memory_limit_bytes": 64 * 1024 * 1024}
    assert environment.record.services.get(name="tests").out_of_memory is True
    samples = ServiceUsage.objects.filter(service__environment=environment.record)
    assert {row.memory_limit_bytes for row in samples} == {64 * 1024 * 1024}
