"""Provisions an environment and kills itself with SIGKILL after the n-th request to the container engine.

Run by the kill tests as `python -m tests.chaos.environment_victim OWNER N`; prints the number of requests
when it lives to the end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from unittest import mock

import django

django.setup()

import requests  # noqa: E402 - settings first
from docker.api.client import APIClient  # noqa: E402 - settings first

from environments.docker_engine import DockerEngine  # noqa: E402
from environments.lifecycle import EnvironmentRequest, provisioned  # noqa: E402
from environments.spec import Condition, Mount, MountKind  # noqa: E402
from tests.contract.services import needs, service, slow_service, spec_of  # noqa: E402

_PROGRAM = "open('/results/report.xml', 'w').write('<testsuite/>')"


def main(owner: str, last: int) -> None:
    """Live a whole life, unless killed before."""
    requests_sent = _die_after(last)
    volume = Mount(MountKind.VOLUME, "/results", "results")
    anonymous = Mount(MountKind.VOLUME, "/anonymous")
    folder = Mount(MountKind.BIND, "/folder", os.path.dirname(__file__), read_only=True)  # noqa: PTH120 - its own folder
    spec = spec_of(
        slow_service("db", ready_after=0.2, mounts=(anonymous,)),
        service("migrate", "print('migrated')", depends_on=needs("db"), mounts=(folder,)),
        service(
            "tests", _PROGRAM, depends_on=needs("migrate", condition=Condition.COMPLETED), mounts=(volume,)
        ),
        volumes=("results",),
    )
    request = EnvironmentRequest(
        owner=owner,
        shard=1,
        spec=spec,
        tests="tests",
        expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
    )
    engine = DockerEngine()
    with provisioned(
        request, engine=engine, tell=lambda _: None, log=lambda _: None, stop=threading.Event()
    ) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=60)
        assert [file.stream.read() for file in environment.collect("tests", ["/results/*.xml"])]
    print(next(requests_sent) - 1)  # noqa: T201 - what the caller reads


def _die_after(last: int) -> count[int]:
    """Count requests to the engine; with the last one answered, die as if the power had gone."""
    numbers = count(1)
    send = APIClient.send

    def counted(self: APIClient, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        number = next(numbers)
        answer = send(self, request, **options)
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    mock.patch.object(APIClient, "send", counted).start()
    return numbers


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
