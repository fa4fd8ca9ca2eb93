"""GitHub: `X-Hub-Signature-256` over the body, the event's name and the delivery's id in headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from runs.providers.events import Event, OtherEvent, PingEvent, PullRequestAction, PullRequestEvent, PushEvent
from runs.providers.payload import Reader, branch_and_tag, changed_paths
from runs.providers.signatures import check_hex
from runs.providers.statuses import CommitState, CommitStatus, HostCall

#: GitHub lists that many commits of a push and leaves out the rest.
COMMITS_LISTED = 2048
_CHANGED = {"opened", "reopened", "synchronize", "synchronized"}
#: The words of GitHub, Gitea and Forgejo; they have none for an end that nobody waited for.
_STATES: Final = {
    CommitState.QUEUED: "pending",
    CommitState.RUNNING: "pending",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failure",
    CommitState.ERROR: "error",
    CommitState.CANCELLED: "error",
}
DESCRIPTION_LIMIT: Final = 140


def verify(headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:  # noqa: ARG001 - GitHub signs no moment
    """Refuse a body that was not signed with the secret; raises `SignatureError`."""
    check_hex(headers, "X-Hub-Signature-256", secret=secret, text=body, prefix="sha256=")


def delivery_id(headers: Mapping[str, str]) -> str:
    """The sender's id; the same when it is sent again."""
    return headers.get("X-GitHub-Delivery", "")


def event_name(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:  # noqa: ARG001 - a header says it all
    """What GitHub calls the event."""
    return headers.get("X-GitHub-Event", "")


def parse(name: str, payload: Mapping[str, Any]) -> tuple[Event, ...]:
    """What the delivery tells; raises `PayloadError`."""
    reader = Reader(payload)
    match name:
        case "ping":
            return (PingEvent(),)
        case "push":
            return (push(reader),)
        case "pull_request":
            return (pull_request(reader, ref="refs/pull/{}/head"),)
    return (OtherEvent(name),)


def push(reader: Reader) -> PushEvent:
    """A push in the form that GitHub, Gitea and Forgejo share."""
    branch, tag = branch_and_tag(reader.name("ref"))
    commit, before = reader.commit("after"), reader.commit("before", default="")
    commits = reader.children("commits")
    counted = reader.number("total_commits") if reader.has("total_commits") and commits else len(commits)
    return PushEvent(
        branch=branch,
        tag=tag,
        commit=commit,
        before=before,
        author=reader.text("pusher.name", default="") or reader.text("pusher.login", default=""),
        title=reader.text("head_commit.message", default=""),
        changed_paths=changed_paths(
            commits,
            # A forced push also takes changes back; a new branch may begin anywhere.
            is_complete=bool(before)
            and not reader.flag("forced")
            and counted <= len(commits) < COMMITS_LISTED,
        ),
        is_deleted=reader.flag("deleted") or not commit,
    )


def pull_request(reader: Reader, *, ref: str) -> PullRequestEvent:
    """A pull request in the form that GitHub, Gitea and Forgejo share."""
    action = reader.text("action")
    number = reader.number("pull_request.number")
    return PullRequestEvent(
        action=PullRequestAction.CHANGED
        if action in _CHANGED
        else PullRequestAction.CLOSED
        if action == "closed"
        else PullRequestAction.OTHER,
        number=number,
        title=reader.text("pull_request.title", default=""),
        author=reader.text("pull_request.user.login", default=""),
        commit=reader.commit("pull_request.head.sha"),
        source_branch=reader.name("pull_request.head.ref"),
        target_branch=reader.name("pull_request.base.ref"),
        # A fork that was deleted since has no repository any more.
        is_fork=not reader.same("pull_request.head.repo.full_name", "pull_request.base.repo.full_name"),
        ref=ref.format(number),
    )


def api_of(address: str) -> str:
    """The API's address of github.com or of an Enterprise server, from the server's own."""
    address = address.rstrip("/")
    if urlsplit(address).hostname in {"github.com", "www.github.com", "api.github.com"}:
        return "https://api.github.com"
    return address if address.endswith("/api/v3") else f"{address}/api/v3"


def auth_headers(token: str) -> dict[str, str]:
    """What proves who asks: a fine-grained token with *Commit statuses: write*, or one with `repo:status`."""
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }


def status_call(
    status: CommitStatus, repository: str, *, description_limit: int = DESCRIPTION_LIMIT
) -> HostCall:
    """Tell a commit's status in the form that GitHub, Gitea and Forgejo share; 201 when it was taken."""
    return HostCall(
        "POST",
        f"/repos/{quote(repository)}/statuses/{quote(status.commit, safe='')}",
        {
            "state": _STATES[status.state],
            "context": status.context,
            "description": status.description[:description_limit],
            "target_url": status.target_url,
        },
    )


def probe_call(repository: str) -> HostCall:
    """Ask for the repository: whoever may write statuses may read it."""
    return HostCall("GET", f"/repos/{quote(repository)}")


def is_repeat(state: CommitState, code: int, text: str) -> bool:  # noqa: ARG001 - these hosts take the same status twice
    """Whether a refusal only says that the host knows as much already."""
    return False
