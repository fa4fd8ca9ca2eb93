"""What a Git host can tell us, in one form for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PayloadError(Exception):
    """A body that is not what its event promises; the message names the place and what was expected."""


class PullRequestAction(StrEnum):
    """What happened to a pull or merge request, as far as suites care."""

    #: Opened, opened again or given new commits.
    CHANGED = "changed"
    CLOSED = "closed"
    #: A title, a label, a review: nothing that tests could see.
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A branch or a tag that now points elsewhere."""

    #: Without `refs/heads/`; empty for a tag.
    branch: str
    #: Empty when the branch was deleted.
    commit: str
    #: What it pointed to; empty for a new branch.
    before: str = ""
    author: str = ""
    #: The first line of the newest commit's message.
    title: str = ""
    #: None when the host does not say, or not all.
    changed_paths: tuple[str, ...] | None = None
    tag: str = ""
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class PullRequestEvent:
    """A pull request, or GitLab's merge request."""

    action: PullRequestAction
    number: int
    title: str
    author: str
    commit: str
    source_branch: str
    target_branch: str
    #: Its commits come from another repository, so from somebody who may not be one of us.
    is_fork: bool
    #: Where the project's own repository holds the commit; empty where it does not.
    ref: str
    #: No host says in the event; None for that.
    changed_paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PingEvent:
    """The host tries the address."""


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """Something that starts no suite, such as a comment."""

    name: str


type Event = PushEvent | PullRequestEvent | PingEvent | OtherEvent
