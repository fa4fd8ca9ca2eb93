"""What is started, where, as whom; and waiting until it answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from environments.errors import EnvironmentsError


class WheelsError(EnvironmentsError):
    """A server cannot be started from its wheel; the sentence says what to do."""


class ProcessPlace(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that place a server: folder, account."""

    cwd: Path
    user: int
    group: int
    extra_groups: list[int]
    umask: int


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account that a server runs as."""

    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: `subprocess.Popen(launch.command, **launch.place())`."""

    command: list[str]
    folder: Path
    account: Account | None = None

    def place(self) -> ProcessPlace:
        """Where and as whom the command runs."""
        if self.account is None:
            return {"cwd": self.folder, "umask": 0o077}
        return {
            "cwd": self.folder,
            "umask": 0o077,
            "user": self.account.user_id,
            "group": self.account.group_id,
            "extra_groups": [],
        }


def wait(process: subprocess.Popen[bytes], name: str, answers: Callable[[], bool], seconds: float) -> None:
    """Return when the server answers; WheelsError when it ended or the time has passed."""
    deadline = time.monotonic() + seconds
    while not answers():
        # Waiting for the process's end is the pause between two questions.
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=0.02)
            message = f"{name} ended with exit code {code} while starting; its log says why."
            raise WheelsError(message)
        if time.monotonic() > deadline:
            message = f"{name} did not answer within {seconds:g} s; its log says why."
            raise WheelsError(message)
