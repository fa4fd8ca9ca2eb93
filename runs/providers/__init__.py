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

__all__ = [
    "PROVIDERS",
    "Event",
    "OtherEvent",
    "PayloadError",
    "PingEvent",
    "Provider",
    "PullRequestAction",
    "PullRequestEvent",
    "PushEvent",
    "SignatureError",
    "read_json",
]
