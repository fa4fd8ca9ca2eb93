"""Git hosts: is a delivery theirs, and what does it tell. Values in, values out; nothing is stored here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from runs.providers import bitbucket, generic, gitea, github, gitlab
from runs.providers.events import (
    Event,
    OtherEvent,
    PayloadError,
    PingEvent,
    PullRequestAction,
    PullRequestEvent,
    PushEvent,
)
from runs.providers.payload import read_json
from runs.providers.signatures import SignatureError
from runs.providers.statuses import CommitState, CommitStatus, HostCall


class Verify(Protocol):
    """Refuses a delivery that does not prove that it knows the secret, with `SignatureError`."""

    def __call__(self, headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
        """Return when it does."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What differs from host to host. `headers` are looked up whatever the case of their names."""

    name: str
    label: str
    verify: Verify
    delivery_id: Callable[[Mapping[str, str]], str]
    event_name: Callable[[Mapping[str, str], Mapping[str, Any]], str]
    #: Raises `PayloadError`.
    parse: Callable[[str, Mapping[str, Any]], tuple[Event, ...]]
    #: Whether whoever only saw a delivery cannot send it again under another id.
    is_id_signed: bool


PROVIDERS: Final[Mapping[str, Provider]] = {
    name: Provider(
        name,
        label,
        module.verify,
        module.delivery_id,
        module.event_name,
        module.parse,
        is_id_signed=is_id_signed,
    )
    for name, label, module, is_id_signed in (
        ("github", "GitHub", github, False),
        # Its token is sent along: whoever saw it can sign anything, so that an id proves as much as a body.
        ("gitlab", "GitLab", gitlab, True),
        ("gitea", "Gitea or Forgejo", gitea, False),
        ("bitbucket", "Bitbucket", bitbucket, False),
        ("generic", "Anything else, by HMAC", generic, True),
    )
}


@dataclass(frozen=True, slots=True)
class StatusHost:
    """How a Git host is told of a commit: plain functions from what there is to say to a request."""

    name: str
    label: str
    #: Where most people's repositories are; empty where everybody has a server of their own.
    default_address: str
    api_of: Callable[[str], str]
    auth_headers: Callable[[str], dict[str, str]]
    status_call: Callable[[CommitStatus, str], HostCall]
    probe_call: Callable[[str], HostCall]
    #: Takes the state that was told, the answer's code and its text.
    is_repeat: Callable[[CommitState, int, str], bool]


STATUS_HOSTS: Final[Mapping[str, StatusHost]] = {
    name: StatusHost(
        name,
        PROVIDERS[name].label,
        default_address,
        module.api_of,
        module.auth_headers,
        module.status_call,
        module.probe_call,
        module.is_repeat,
    )
    for name, default_address, module in (
        ("github", "https://github.com", github),
        ("gitlab", "https://gitlab.com", gitlab),
        ("gitea", "", gitea),
    )
}

__all__ = [
    "PROVIDERS",
    "STATUS_HOSTS",
    "CommitState",
    "CommitStatus",
    "Event",
    "HostCall",
    "OtherEvent",
    "PayloadError",
    "PingEvent",
    "Provider",
    "PullRequestAction",
    "PullRequestEvent",
    "PushEvent",
    "SignatureError",
    "StatusHost",
    "read_json",
]
