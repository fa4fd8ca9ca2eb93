"""Lives an environment whose tests fail and that is to be held, and kills itself at a point of it.

Run by the kill tests as `python -m tests.chaos.holding_victim FOLDER INSTANCE POINT`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402 - settings first

from environments.lifecycle import EnvironmentRequest, Keep, provisioned  # noqa: E402
from environments.local_engine import LocalEngine  # noqa: E402
from tests.contract.services import FOREVER, service, spec_of  # noqa: E402


def main(folder: str, instance: str, point: str) -> None:
    """Die before it is held, once it is, or once it is left to itself."""
    settings.INSTANCE = instance
    request = EnvironmentRequest(
        owner=f"run:{point}",
        shard=1,
        spec=spec_of(service("db", FOREVER), service("tests", "raise SystemExit(1)")),
        tests="tests",
        expires_at=datetime.now(tz=UTC) + timedelta(hours=1),
        keep=Keep(seconds=600, share="project:1", most_of_share=3, most=3),
    )
    with provisioned(
        request,
        engine=LocalEngine(Path(folder)),
        tell=lambda _: None,
        log=lambda _: None,
        stop=threading.Event(),
    ) as environment:
        environment.start_tests()
        environment.wait_for_tests(deadline_seconds=60)
        if point == "before":
            _die()
        environment.hold("1 test failed.")
        if point == "held":
            _die()
    _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
