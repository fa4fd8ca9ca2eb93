"""Lets processes live an environment's life each and kills them with SIGKILL at a point of it.

Run by the kill tests as `python -m tests.chaos.environment_victim ENGINE FOLDER OWNER [POINTS]`: the engine's
address, or the folder of a local one; a folder to write to; how each owner begins; the points as JSON.
Prints a line of JSON for each life: its owner, what killed it and when; for one that was not cut short, how
often it did what. Everything is loaded once: each life is a fork.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import django

django.setup()

import requests  # noqa: E402 - settings first
from docker.api.client import APIClient  # noqa: E402 - settings first

from environments.docker_engine import DockerEngine  # noqa: E402
from environments.engine import Engine  # noqa: E402
from environments.lifecycle import EnvironmentRequest, provisioned  # noqa: E402
from environments.local_engine import LocalEngine  # noqa: E402
from environments.spec import EnvironmentSpec, Mount, MountKind  # noqa: E402
from environments.subnets import Pool  # noqa: E402
from tests.chaos.kill_points import Moment, Point, kind_of  # noqa: E402
from tests.chaos.private_engine import POOL  # noqa: E402
from tests.contract.services import needs, service, slow_service, spec_of  # noqa: E402

AT_ONCE = 4
_PROGRAM = "open('{folder}/report.xml', 'w').write('<testsuite/>')"
_CALLS = (
    *("room", "prepare_image", "create_environment", "create_service", "start_service", "healthcheck"),
    *("inspect_service", "execute", "host_address", "collect", "remove_environment"),
)


class Death:
    """Counts what a life does and ends it at its point, as if the power had gone."""

    def __init__(self, point: Point | None) -> None:
        self.counts: Counter[str] = Counter()
        self._point = point
        self._lock = threading.Lock()

    def around[T](self, kind: str, act: Callable[[], T]) -> T:
        """Do it, unless this is where it ends."""
        with self._lock:
            self.counts[kind] += 1
            is_here = self._point is not None and (kind, self.counts[kind]) == (
                self._point.kind,
                self._point.number,
            )
        if not is_here or self._point is None:
            return act()
        if self._point.moment is Moment.WHILE:
            threading.Timer(self._point.delay_seconds, _die).start()
        if self._point.moment is not Moment.BEFORE:
            act()
        _die()
        raise AssertionError

    def watch_requests(self) -> None:
        """Count requests to a container engine."""
        send = APIClient.send

        def counted(api: APIClient, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            kind = kind_of(str(request.method), str(request.url))
            return self.around(kind, lambda: send(api, request, **options))

        mock.patch.object(APIClient, "send", counted).start()

    def watch_calls(self) -> None:
        """Count calls of the local engine: it has no requests."""
        for name in _CALLS:
            call = getattr(LocalEngine, name)

            @functools.wraps(call)
            def counted(
                *arguments: Any, _name: str = name, _call: Callable[..., Any] = call, **options: Any
            ) -> Any:
                return self.around(_name, lambda: _call(*arguments, **options))

            mock.patch.object(LocalEngine, name, counted).start()


def main(address: str, folder: str, owner: str, points: str = "") -> None:
    """Let as many processes live as there are points, or one to its end."""
    wanted: list[Point | None] = [Point(**point) for point in json.loads(points)] if points else [None]
    waiting = list(enumerate(wanted))
    alive: dict[int, int] = {}
    while waiting or alive:
        while waiting and len(alive) < AT_ONCE:
            number, point = waiting.pop(0)
            child = os.fork()
            if child == 0:
                _live_and_leave(address, Path(folder), f"{owner}:{number}", point)
            alive[child] = number
        child, status = os.wait()
        number = alive.pop(child)
        said = Path(folder) / f"{owner}:{number}.json"
        facts = json.loads(said.read_text()) if said.exists() else {}
        code = os.waitstatus_to_exitcode(status)
        print(  # noqa: T201 - what the caller reads
            json.dumps({"owner": f"{owner}:{number}", "code": code, "at": time.time(), **facts}), flush=True
        )


def _live_and_leave(address: str, folder: Path, owner: str, point: Point | None) -> None:
    code = 1
    try:
        death = Death(point)
        _live(address, owner, death, folder)
        (folder / f"{owner}.json").write_text(json.dumps({"counts": death.counts}))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _live(address: str, owner: str, death: Death, folder: Path) -> None:
    engine: Engine
    if address.startswith("unix:"):
        death.watch_requests()
        engine = DockerEngine(address, subnet_pool=Pool.read(POOL, 26))
        spec, results = _containers(), "/results"
    else:
        death.watch_calls()
        engine = LocalEngine(Path(address))
        spec, results = _processes(folder), "/results"
    request = EnvironmentRequest(
        owner=owner,
        shard=1,
        spec=spec,
        tests="tests",
        expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
    )
    with provisioned(
        request, engine=engine, tell=lambda _: None, log=lambda _: None, stop=threading.Event()
    ) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=120)
        assert [file.stream.read() for file in environment.collect("tests", [f"{results}/*.xml"])]


def _containers() -> EnvironmentSpec:
    """Two services with everything that can be left behind: named, anonymous and filled volumes."""
    return spec_of(
        slow_service("db", ready_after=0.1, mounts=(Mount(MountKind.VOLUME, "/anonymous"),)),
        service(
            "tests",
            _PROGRAM.format(folder="/results"),
            depends_on=needs("db"),
            mounts=(
                Mount(MountKind.VOLUME, "/results", "results"),
                Mount(MountKind.BIND, "/folder", str(Path(__file__).parent / "filling"), read_only=True),
            ),
        ),
        volumes=("results",),
    )


def _processes(folder: Path) -> EnvironmentSpec:
    del folder
    return spec_of(
        slow_service("db", ready_after=0.1),
        service(
            "tests",
            _PROGRAM.format(folder="/results"),
            depends_on=needs("db"),
            mounts=(Mount(MountKind.VOLUME, "/results", "results"),),
        ),
        volumes=("results",),
    )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
