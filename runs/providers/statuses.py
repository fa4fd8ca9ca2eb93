"""What a Git host is told of a commit, in one form for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CommitState(StrEnum):
    """How far a suite is on a commit, and how it ended."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """One suite's state on one commit."""

    commit: str
    state: CommitState
    #: Tells it from other statuses of the same commit.
    context: str
    description: str
    target_url: str


@dataclass(frozen=True, slots=True)
class HostCall:
    """A request below the address of a host's API; `body` is JSON."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
