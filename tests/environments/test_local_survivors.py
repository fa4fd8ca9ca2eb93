"""What keepers and workers that were killed leave, and how it is found and removed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from environments.engine import EngineEventKind
from environments.labels import EnvironmentRef
from environments.local_engine.processes import Identity
from environments.spec import (
    ServiceSpec,
)
from tests.environments.local import REF, ROOT, Local, keeper_of, python


def test_a_keeper_that_is_killed_takes_its_service_along(local: Local) -> None:
    stop = threading.Event()
    events = None
    local.services["web"] = python("web", "import time; time.sleep(600)")
    local.engine.create_environment(REF, local.spec)
    events = local.engine.events(REF, stop=stop)
    local.up(local.services["web"])
    keeper = keeper_of(local, "web")
    (main,) = keeper.children()

    keeper.kill()

    local.until(lambda: not main.is_running())
    assert local.ended("web").exit_code == 137
    local.until(lambda: local.state("web").finished_at)
    stop.set()
    assert [event.kind for event in events][-1] is EngineEventKind.DIED


def test_what_a_killed_worker_has_left_is_found_and_removed_by_another_process(local: Local) -> None:
    program = f"""
        import signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from environments.labels import EnvironmentRef
        from environments.local_engine import LocalEngine
        from environments.spec import EnvironmentSpec, ServiceSpec
        ref = EnvironmentRef({REF.name!r}, "tests", "run:42", 1, 2_000_000_000)
        words = ("sh", "-c", "sleep 600 & sleep 600 & echo up; wait")
        loop = ServiceSpec(name="loop", image="sh", command=words)
        db = ServiceSpec(name="db", image="postgres")
        spec = EnvironmentSpec(services={{"loop": loop, "db": db}})
        engine = LocalEngine(Path({str(local.root)!r}))
        engine.create_environment(ref, spec)
        for service in (loop, db):
            engine.create_service(ref, spec, service)
            engine.start_service(ref, service.name)
        print("started", flush=True)
        signal.pause()
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, start_new_session=True
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"started\n"
        os.kill(worker.pid, signal.SIGKILL)
    local.says("loop", "up")
    local.ready("db")
    left = local.processes()
    assert len(left) >= 6  # two keepers, a shell and two sleeps, PostgreSQL's main process

    began = time.monotonic()
    assert local.engine.environments("tests") == [REF]
    assert local.engine.environments("another installation") == []
    assert local.engine.remove_environment(REF) == []

    assert time.monotonic() - began < 5
    assert local.processes() == []
    assert not [process for process in left if process.is_running() and process.status() != "zombie"]
    assert not (local.root / REF.name).exists()
    assert local.engine.environments("tests") == []
    assert local.engine.remove_environment(REF) == []


def name_of(process: psutil.Process) -> str:
    """Its name; empty when it has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def test_an_orphan_of_a_killed_keeper_is_found_by_its_environment(local: Local) -> None:
    local.up(ServiceSpec(name="tree", image="sh", command=("sh", "-c", "setsid sleep 600 & echo up; wait")))
    local.says("tree", "up")
    keeper = keeper_of(local, "tree")
    local.until(lambda: len(keeper.children(recursive=True)) == 2)
    keeper.kill()
    (orphan,) = (process for process in local.processes() if name_of(process) == "sleep")

    assert local.engine.remove_environment(REF) == []

    assert not orphan.is_running() or orphan.status() == "zombie"


def test_a_number_that_is_another_process_by_now_is_left_alone() -> None:
    here = psutil.Process()
    tick = int(Path(f"/proc/{here.pid}/stat").read_text().rpartition(")")[2].split()[19])

    assert Identity(here.pid, tick).process() == here
    assert Identity(here.pid, tick + 1).process() is None


def test_a_half_removed_environment_is_still_found(local: Local) -> None:
    local.up(python("web", "pass"))
    local.ended("web")
    shutil.rmtree(local.root / REF.name / "services")

    assert local.engine.environments("tests") == [REF]
    assert local.engine.remove_environment(REF) == []


def test_what_is_written_while_a_folder_is_removed_goes_with_it(local: Local) -> None:
    local.up(python("web", "pass"))
    local.ended("web")
    folder = local.root / REF.name

    def write() -> None:
        """As one that was being started when its environment was ended, and is found a moment later."""
        end, number = time.monotonic() + 0.5, 0
        with suppress(OSError):
            while time.monotonic() < end:
                number += 1
                (folder / f"late-{number}").touch()

    late = threading.Thread(target=write)
    late.start()
    left = local.engine.remove_environment(REF)
    late.join()

    assert left == []
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../elsewhere", "..", "", "/etc", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(local: Local, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        local.engine.remove_environment(EnvironmentRef(name, "tests", "run:1", 1, 0))
