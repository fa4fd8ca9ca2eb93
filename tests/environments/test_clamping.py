"""What is lowered instead of refused, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from environments import policy
from environments.clamping import Ceiling, clamped
from environments.docker_engine import DockerEngine, payload
from environments.engine import ServiceStatus
from environments.lifecycle import HappeningKind
from environments.local_engine import LocalEngine
from tests.contract.services import service, slow_service, spec_of
from tests.environments.checkout import Checkout
from tests.environments.lab import Lab

GIBIBYTE = 1024**3
HERE = Ceiling(cpus=2.0, memory_bytes=6 * GIBIBYTE, refused_ulimits=frozenset({("nofile", 1_048_576)}))


@pytest.mark.parametrize(
    ("asks", "field", "value", "said"),
    [
        ("mem_limit: 7g", "memory_bytes", 6 * GIBIBYTE, "mem_limit: 7168 MiB became 6144 MiB, all that the"),
        ("cpus: 3.5", "cpus", 2.0, "cpus: 3.5 became 2, all that the engine has."),
        (
            "pids_limit: 100000",
            "pids_limit",
            4096,
            "pids_limit: 100000 became 4096, the most of one service.",
        ),
        (
            "stop_grace_period: 1h",
            "stop_grace_period_seconds",
            60.0,
            "stop_grace_period: 3600 s became 60 s, the longest grace there is.",
        ),
        (
            "ulimits: {nofile: 1048576, nproc: 100}",
            "ulimits",
            {"nproc": (100, 100)},
            "ulimits: the engine may not grant nofile 1048576; its own limit holds.",
        ),
        ("oom_kill_disable: true", "privileges", {}, "oom_kill_disable is not passed on: a service that"),
        ("oom_score_adj: -1000", "privileges", {}, "oom_score_adj is not passed on: the host decides"),
    ],
)
def test_a_limit_is_lowered_to_what_there_is_and_said(
    checkout: Checkout, asks: str, field: str, value: object, said: str
) -> None:
    spec = checkout.load(f"services:\n  web:\n    image: web\n    {asks}\n")

    lowered, sentences = clamped(spec, HERE)

    assert getattr(lowered.services["web"], field) == value
    [sentence] = sentences
    assert sentence.startswith(f"services.web.{said}")
    assert clamped(lowered, HERE) == (lowered, ())


def test_what_can_be_granted_is_left_as_it_is(checkout: Checkout) -> None:
    asks = "mem_limit: 6g\n    cpus: 2\n    pids_limit: 4096\n    stop_grace_period: 1m"
    spec = checkout.load(f"services:\n  web:\n    image: web\n    {asks}\n    ulimits: {{nofile: 1024}}\n")

    assert clamped(spec, HERE) == (spec, ())


def test_where_no_engine_is_known_only_what_holds_everywhere_is_lowered(checkout: Checkout) -> None:
    spec = checkout.load(
        "services:\n  web: {image: web, cpus: 64, mem_limit: 9g, ulimits: {nofile: 99999999}}\n"
    )

    lowered, sentences = clamped(spec)

    assert sentences == ("services.web.mem_limit: 9216 MiB became 8192 MiB, the most of one service.",)
    assert lowered.services["web"].cpus == 64


def test_whom_the_host_ends_first_is_no_refusal(checkout: Checkout) -> None:
    spec = checkout.load("services:\n  web: {image: w, oom_kill_disable: true, oom_score_adj: 500}\n")

    policy.check(spec)
    assert len(clamped(spec)[1]) == 2


# --- on real engines ---------------------------------------------------------------------------------------


@pytest.fixture
def docker() -> Iterator[Lab]:
    lab = Lab(DockerEngine())
    yield lab
    left = [ref for ref in lab.engine.environments(settings.INSTANCE) if ref.owner.startswith("run:")]
    lab.engine.close()  # type: ignore[attr-defined] # the container engine's own
    assert left == []


LIMITS = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
GREEDY = (
    "import time; held = bytearray(b'x') * ({} * 1024 * 1024); print('ready', flush=True); time.sleep(60)"
)


@pytest.mark.engine
@pytest.mark.django_db(transaction=True)
def test_open_files_are_bounded_and_more_than_an_engine_may_grant_still_starts(docker: Lab) -> None:
    """Whether the engine may grant 2^30 depends on its rights; either way everything starts."""
    asked = service("asked", LIMITS, ulimits={"nofile": (1000, 2000)})
    greedy = service("greedy", LIMITS, ulimits={"nofile": (2**30, 2**30)})
    tests = service("tests", LIMITS)

    with docker.provisioned(spec_of(asked, greedy, tests)) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=20)

    [usual] = docker.texts("tests")
    [most] = docker.texts("greedy")
    notices = [one.message for one in docker.happenings if one.kind is HappeningKind.NOTICE]
    was_refused = any(f"ulimits: the engine may not grant nofile {2**30}" in text for text in notices)
    assert docker.texts("asked") == ["1000 2000"]
    assert all(int(number) <= payload.Limits().open_files for number in usual.split())
    assert (most == f"{2**30} {2**30}") is not was_refused


@pytest.mark.django_db(transaction=True)
def test_services_that_hold_too_much_together_lose_the_greediest(tmp_path: Path) -> None:
    lab = Lab(LocalEngine(tmp_path / "environments"))
    tests = service("tests", GREEDY.format(150))

    with lab.provisioned(spec_of(slow_service("db"), tests), most_memory_bytes=120 * 1024**2) as environment:
        environment.start_tests()
        ended = environment.wait_for_tests(deadline_seconds=30)
        db = next(one for one in environment.states() if one.service == "db")

    [told] = [one for one in lab.happenings if one.kind is HappeningKind.SERVICE_OUT_OF_MEMORY]
    assert told.service == "tests"
    assert re.fullmatch(
        r"tests was ended: the services held \d+ MiB together, more than the 120 MiB of the project's quota,"
        r" and it held most \(1\d\d MiB\)\.",
        told.message,
    )
    assert ended.exit_code == 137
    assert db.status is ServiceStatus.RUNNING
