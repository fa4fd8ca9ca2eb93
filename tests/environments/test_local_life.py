"""The local engine's services from start to end: signals, output, health, commands."""

from __future__ import annotations

import threading
from datetime import timedelta

import psutil

from environments.engine import EngineEventKind, Health, ServiceStatus
from environments.local_engine.folders import EnvironmentFolder
from environments.spec import (
    HealthCheck,
    ServiceSpec,
)
from tests.environments.local import REF, Local, keeper_of, python


def test_what_a_service_leaves_in_the_background_ends_with_it(local: Local) -> None:
    hide = """
        import os, subprocess, sys, time
        # A daemon by the book: twice forked, a session of its own, nothing of its environment kept.
        daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", daemon], env={}, start_new_session=True).wait()
        print("hidden", flush=True)
        time.sleep(600)
    """
    local.up(python("parent", hide))
    local.says("parent", "hidden")
    keeper = keeper_of(local, "parent")
    tree = keeper.children(recursive=True)
    assert len(tree) == 2

    local.engine.kill_service(REF, "parent")

    assert local.state("parent").exit_code == 137
    assert not [process for process in tree if process.is_running()]


def test_a_service_that_ignores_the_request_to_stop_is_ended(local: Local) -> None:
    stubborn = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up", flush=True)
        time.sleep(600)
    """
    local.up(python("stubborn", stubborn))
    local.says("stubborn", "up")

    local.engine.stop_service(REF, "stubborn", grace_seconds=0.2)

    assert local.state("stubborn").exit_code == 137


def test_a_paused_service_can_be_stopped(local: Local) -> None:
    local.up(python("sleeper", "import time; print('up', flush=True); time.sleep(600)"))
    local.says("sleeper", "up")
    local.engine.pause_service(REF, "sleeper")
    assert local.state("sleeper").status is ServiceStatus.PAUSED

    local.engine.stop_service(REF, "sleeper")

    assert local.state("sleeper").exit_code == 143


def test_pausing_freezes_the_whole_tree(local: Local) -> None:
    local.up(ServiceSpec(name="tree", image="sh", command=("sh", "-c", "sleep 600 & sleep 600 & wait")))
    keeper = keeper_of(local, "tree")
    local.until(lambda: len(keeper.children(recursive=True)) == 3)

    local.engine.pause_service(REF, "tree")
    frozen = {process.status() for process in keeper.children(recursive=True)}
    local.engine.unpause_service(REF, "tree")
    local.until(lambda: psutil.STATUS_STOPPED not in {p.status() for p in keeper.children(recursive=True)})

    assert frozen == {psutil.STATUS_STOPPED}


def test_output_is_kept_line_by_line_whoever_writes_it(local: Local) -> None:
    write = """
        import os
        os.write(1, b"one\\ntwo\\nhal")
        os.write(1, b"f\\n\\n\\xff\\n")
        os.write(2, b"wrong\\n")
        os.write(1, b"x" * 200_000 + b"\\n" + b"no newline at the end")
    """
    local.up(python("writer", write))
    local.ended("writer")
    lines = list(local.engine.logs(REF, "writer"))

    assert [line.text for line in lines if not line.is_stderr] == [
        "one",
        "two",
        "half",
        "",
        "\N{REPLACEMENT CHARACTER}",
        "x" * 200_000,
        "no newline at the end",
    ]
    assert [line.text for line in lines if line.is_stderr] == ["wrong"]


def test_a_flood_of_lines_is_kept_whole(local: Local) -> None:
    local.up(python("flood", "for number in range(100_000): print(number)"))
    lines = list(local.engine.logs(REF, "flood", follow=True))
    late = next(line for line in lines if line.text == "77777")

    assert [int(line.text) for line in lines] == list(range(100_000))
    again = list(local.engine.logs(REF, "flood", since=late.at))
    assert again == [line for line in lines if line.at >= late.at]


def test_following_begins_before_the_start_and_ends_with_the_service(local: Local) -> None:
    service = python("late", "print('now')")
    local.services["late"] = service
    local.engine.create_environment(REF, local.spec)
    local.engine.create_service(REF, local.spec, service)
    heard: list[str] = []

    def follow() -> None:
        heard.extend(line.text for line in local.engine.logs(REF, "late", follow=True))

    follower = threading.Thread(target=follow)
    follower.start()
    local.engine.start_service(REF, "late")
    follower.join(10)

    assert heard == ["now"]


def test_only_lines_since_a_moment_are_read(local: Local) -> None:
    local.up(python("clock", "import time; print('a', flush=True); time.sleep(0.05); print('b')"))
    local.ended("clock")
    first, second = local.engine.logs(REF, "clock")

    def since(moment: object) -> list[str]:
        return [line.text for line in local.engine.logs(REF, "clock", since=moment)]  # type: ignore[arg-type]

    assert since(first.at) == ["a", "b"]
    assert since(second.at) == ["b"]
    assert since(second.at + timedelta(microseconds=1)) == []


def test_health_is_asked_at_the_interval_and_told(local: Local) -> None:
    check = HealthCheck(test=("CMD-SHELL", "test -f up"), interval_seconds=0.05, timeout_seconds=5, retries=2)
    stop = threading.Event()
    service = python("web", "import time; time.sleep(600)", healthcheck=check)
    local.services["web"] = service
    local.engine.create_environment(REF, local.spec)
    events = local.engine.events(REF, stop=stop)
    local.up(service)

    local.until(lambda: local.state("web").health is Health.UNHEALTHY)
    local.engine.execute(REF, "web", ["touch", "up"], timeout_seconds=5)
    local.until(lambda: local.state("web").health is Health.HEALTHY)
    local.engine.kill_service(REF, "web")
    stop.set()

    kinds = [event.kind for event in events]
    assert kinds == [
        EngineEventKind.CREATED,
        EngineEventKind.STARTED,
        EngineEventKind.UNHEALTHY,
        EngineEventKind.HEALTHY,
        EngineEventKind.DIED,
    ]
    assert local.state("web").health is Health.UNHEALTHY


def test_a_probe_asked_from_outside_makes_a_service_healthy_at_once(local: Local) -> None:
    check = HealthCheck(test=("CMD", "true"), interval_seconds=600)
    local.up(python("web", "import time; time.sleep(600)", healthcheck=check))
    assert local.state("web").health is Health.STARTING

    local.engine.execute(REF, "web", ["true"], timeout_seconds=5)

    assert local.state("web").health is Health.HEALTHY


def test_a_service_that_fails_is_started_again_when_the_file_says_so(local: Local) -> None:
    third_time = """
        import os, sys, time
        open("tries", "a").write(".")
        print("try", os.path.getsize("tries"), flush=True)
        if os.path.getsize("tries") < 3:
            sys.exit(9)
        time.sleep(600)
    """
    stop = threading.Event()
    service = python("web", third_time, restart="on-failure")
    local.services["web"] = service
    local.engine.create_environment(REF, local.spec)
    events = local.engine.events(REF, stop=stop)
    local.up(service)
    local.says("web", "try 3")

    assert local.log("web") == ["try 1", "try 2", "try 3"]
    assert (local.state("web").status, local.state("web").restart_count) == (ServiceStatus.RUNNING, 2)

    local.engine.stop_service(REF, "web")
    stop.set()

    assert local.state("web").status is ServiceStatus.EXITED
    assert [(event.kind.value, event.exit_code) for event in events] == [
        ("created", None),
        ("started", None),
        ("died", 9),
        ("started", None),
        ("died", 9),
        ("started", None),
        ("died", 143),
    ]


def test_a_service_that_waits_to_be_restarted_can_be_stopped_and_started(local: Local) -> None:
    local.up(python("web", "print('up')", restart="always"))
    # Four pauses have doubled the fifth to 1.6 s: time enough to stop it in one.
    local.until(
        lambda: (
            local.state("web").restart_count == 4 and local.state("web").status is ServiceStatus.RESTARTING
        )
    )

    local.engine.stop_service(REF, "web")
    stopped_at = local.state("web")
    local.engine.start_service(REF, "web")
    local.until(lambda: local.state("web").restart_count >= 1)
    local.engine.kill_service(REF, "web")

    assert (stopped_at.status, stopped_at.exit_code) == (ServiceStatus.EXITED, 0)
    assert local.state("web").status is ServiceStatus.EXITED


def test_a_command_in_a_service_knows_its_paths_and_ports(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)", ports=(8000,)))

    shown = local.engine.execute(REF, "web", ["echo", "http://web:8000", "/results/x"], timeout_seconds=5)
    missing = local.engine.execute(REF, "web", ["no-such-program"], timeout_seconds=5)

    port = EnvironmentFolder.of(local.root, REF.name).ports()["web"]["8000"]
    place = local.root / REF.name / "services/s-web/root/results/x"
    assert shown.output == f"http://127.0.0.1:{port} {place}\n"
    assert missing.exit_code == 127


def test_a_command_that_takes_too_long_is_ended_with_its_children(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)"))
    before = len(local.processes())

    result = local.engine.execute(REF, "web", ["sh", "-c", "sleep 600 & sleep 600"], timeout_seconds=0.3)

    assert result.timed_out
    local.until(lambda: len(local.processes()) == before)


def test_a_command_that_leaves_a_child_with_its_output_still_ends(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)"))

    result = local.engine.execute(REF, "web", ["sh", "-c", "sleep 600 & echo done"], timeout_seconds=10)

    assert (result.exit_code, result.output, result.timed_out) == (0, "done\n", False)


def test_more_output_than_is_kept_does_not_hold_a_command_up(local: Local) -> None:
    local.up(python("web", "import time; time.sleep(600)"))

    result = local.engine.execute(REF, "web", ["python3", "-c", "print('x' * 5_000_000)"], timeout_seconds=10)

    assert (result.exit_code, len(result.output)) == (0, 65_536)
