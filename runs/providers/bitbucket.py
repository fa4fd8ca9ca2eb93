"""Bitbucket, in the cloud and as Data Center: one header for the signature, two forms of payload."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runs.providers.events import Event, OtherEvent, PingEvent, PullRequestAction, PullRequestEvent, PushEvent
from runs.providers.payload import Reader, branch_and_tag
from runs.providers.signatures import check_hex

_ACTIONS = {
    "pullrequest:created": PullRequestAction.CHANGED,
    "pullrequest:updated": PullRequestAction.CHANGED,
    "pullrequest:fulfilled": PullRequestAction.CLOSED,
    "pullrequest:rejected": PullRequestAction.CLOSED,
    "pr:opened": PullRequestAction.CHANGED,
    "pr:from_ref_updated": PullRequestAction.CHANGED,
    "pr:merged": PullRequestAction.CLOSED,
    "pr:declined": PullRequestAction.CLOSED,
    "pr:deleted": PullRequestAction.CLOSED,
}


def verify(headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:  # noqa: ARG001 - Bitbucket signs no moment
    """Refuse a body that was not signed with the secret; raises `SignatureError`."""
    check_hex(headers, "X-Hub-Signature", secret=secret, text=body, prefix="sha256=")


def delivery_id(headers: Mapping[str, str]) -> str:
    """The sender's id."""
    return headers.get("X-Request-UUID", "") or headers.get("X-Request-Id", "")


def event_name(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:  # noqa: ARG001 - a header says it all
    """What Bitbucket calls the event."""
    return headers.get("X-Event-Key", "")


def parse(name: str, payload: Mapping[str, Any]) -> tuple[Event, ...]:
    """What the delivery tells, one event per branch of a push; raises `PayloadError`."""
    reader = Reader(payload)
    match name:
        case "diagnostics:ping":
            return (PingEvent(),)
        case "repo:push":
            author = reader.text("actor.display_name", default="")
            return tuple(_cloud_push(change, author) for change in reader.children("push.changes"))
        case "repo:refs_changed":
            author = reader.text("actor.displayName", default="")
            return tuple(_server_push(change, author) for change in reader.children("changes"))
        case _ if name in _ACTIONS:
            request = _cloud_request if name.startswith("pullrequest:") else _server_request
            return (request(reader, _ACTIONS[name]),)
    return (OtherEvent(name),)


def _cloud_push(change: Reader, author: str) -> PushEvent:
    """Bitbucket names no changed paths."""
    end = "new" if change.has("new") else "old"
    is_tag = change.text(f"{end}.type") not in {"branch", "named_branch"}
    name = change.name(f"{end}.name")
    return PushEvent(
        branch="" if is_tag else name,
        tag=name if is_tag else "",
        commit=change.commit("new.target.hash") if end == "new" else "",
        before=change.commit("old.target.hash", default=""),
        author=author,
        title=change.text("new.target.message", default=""),
        is_deleted=end == "old",
    )


def _server_push(change: Reader, author: str) -> PushEvent:
    branch, tag = branch_and_tag(change.name("ref.id"))
    commit = change.commit("toHash")
    return PushEvent(
        branch=branch,
        tag=tag,
        commit=commit,
        before=change.commit("fromHash", default=""),
        author=author,
        is_deleted=not commit or change.text("type", default="") == "DELETE",
    )


def _cloud_request(reader: Reader, action: PullRequestAction) -> PullRequestEvent:
    source, target = "pullrequest.source", "pullrequest.destination"
    is_fork = not reader.same(f"{source}.repository.full_name", f"{target}.repository.full_name")
    branch = reader.name(f"{source}.branch.name")
    return PullRequestEvent(
        action=action,
        number=reader.number("pullrequest.id"),
        title=reader.text("pullrequest.title", default=""),
        author=reader.text("pullrequest.author.display_name", default=""),
        commit=reader.commit(f"{source}.commit.hash"),
        source_branch=branch,
        target_branch=reader.name(f"{target}.branch.name"),
        is_fork=is_fork,
        # The cloud keeps a fork's commits in the fork.
        ref="" if is_fork else f"refs/heads/{branch}",
    )


def _server_request(reader: Reader, action: PullRequestAction) -> PullRequestEvent:
    source, target = "pullRequest.fromRef", "pullRequest.toRef"
    number = reader.number("pullRequest.id")
    return PullRequestEvent(
        action=action,
        number=number,
        title=reader.text("pullRequest.title", default=""),
        author=reader.text("pullRequest.author.user.displayName", default=""),
        commit=reader.commit(f"{source}.latestCommit"),
        source_branch=reader.name(f"{source}.displayId"),
        target_branch=reader.name(f"{target}.displayId"),
        is_fork=not reader.same(f"{source}.repository.id", f"{target}.repository.id"),
        ref=f"refs/pull-requests/{number}/from",
    )
