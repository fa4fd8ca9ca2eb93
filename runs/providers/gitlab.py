"""GitLab: the secret itself in `X-Gitlab-Token`, or a signature after the Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from runs.providers.events import Event, OtherEvent, PullRequestAction, PullRequestEvent, PushEvent
from runs.providers.payload import Reader, branch_and_tag, changed_paths
from runs.providers.signatures import SignatureError, check_moment, same
from runs.providers.statuses import CommitState, CommitStatus, HostCall

#: Begins a secret whose rest is the key in base64.
KEY_PREFIX = "whsec_"
_CHANGED = {"open", "reopen"}
_CLOSED = {"close", "merge"}
#: GitLab has no word for what was nobody's failure.
_STATES: Final = {
    CommitState.QUEUED: "pending",
    CommitState.RUNNING: "running",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
    CommitState.ERROR: "failed",
    CommitState.CANCELLED: "canceled",
}
DESCRIPTION_LIMIT: Final = 250
_MALFORMED: Final = 400


def verify(headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime) -> None:
    """Refuse a delivery without the secret's signature or the secret; raises `SignatureError`.

    A signature that is there must be right, whatever the token says.
    """
    signature = headers.get("Webhook-Signature", "")
    if signature:
        stamp = headers.get("Webhook-Timestamp", "")
        text = f"{headers.get('Webhook-Id', '')}.{stamp}.".encode() + body
        wanted = "v1," + sign(secret, text)
        if not any(same(one, wanted) for one in signature.split(" ")[:10]):
            raise SignatureError(
                "The signature in webhook-signature is wrong. Give GitLab this hook's secret."
            )
        check_moment(stamp, name="webhook-timestamp", now=now)
        return
    token = headers.get("X-Gitlab-Token", "")
    if not token:
        raise SignatureError("The header X-Gitlab-Token is missing. Give GitLab the hook's secret.")
    if not same(token, secret):
        raise SignatureError("The token in X-Gitlab-Token is wrong. Give GitLab this hook's secret.")


def sign(secret: str, text: bytes) -> str:
    """HMAC-SHA256 in base64, with the key that the secret holds."""
    try:
        key = base64.b64decode(secret.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = secret.encode()
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def delivery_id(headers: Mapping[str, str]) -> str:
    """The sender's id: the signed one first, then those that stay the same when it tries again."""
    names = ("Webhook-Id", "Idempotency-Key", "X-Gitlab-Event-UUID")
    return next((value for name in names if (value := headers.get(name, ""))), "")


def event_name(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:
    """What GitLab calls the event, as the body says: a system hook's header names no kind."""
    kind = payload.get("object_kind") or payload.get("event_name")
    return kind if isinstance(kind, str) else headers.get("X-Gitlab-Event", "")


def parse(name: str, payload: Mapping[str, Any]) -> tuple[Event, ...]:
    """What the delivery tells; raises `PayloadError`."""
    reader = Reader(payload)
    match name:
        case "push" | "tag_push":
            return (_push(reader),)
        case "merge_request":
            return (_merge_request(reader),)
    return (OtherEvent(name),)


def _push(reader: Reader) -> PushEvent:
    branch, tag = branch_and_tag(reader.name("ref"))
    commit, before = reader.commit("after"), reader.commit("before", default="")
    commits = reader.children("commits")
    counted = reader.number("total_commits_count") if commits else 0
    return PushEvent(
        branch=branch,
        tag=tag,
        commit=commit,
        before=before,
        author=reader.text("user_name", default=""),
        title=commits[-1].text("message", default="") if commits else "",
        # GitLab lists the newest 20 commits.
        changed_paths=changed_paths(commits, is_complete=bool(before) and counted <= len(commits)),
        is_deleted=not commit,
    )


def _merge_request(reader: Reader) -> PullRequestEvent:
    number = reader.number("object_attributes.iid")
    return PullRequestEvent(
        action=_action(reader),
        number=number,
        title=reader.text("object_attributes.title", default=""),
        author=reader.text("user.username", default=""),
        commit=reader.commit("object_attributes.last_commit.id"),
        source_branch=reader.name("object_attributes.source_branch"),
        target_branch=reader.name("object_attributes.target_branch"),
        is_fork=not reader.same("object_attributes.source_project_id", "object_attributes.target_project_id"),
        ref=f"refs/merge-requests/{number}/head",
    )


def _action(reader: Reader) -> PullRequestAction:
    action = reader.text("object_attributes.action", default="")
    # An update without an old revision changed a title or a label, no commit.
    if action in _CHANGED or (action == "update" and reader.has("object_attributes.oldrev")):
        return PullRequestAction.CHANGED
    return PullRequestAction.CLOSED if action in _CLOSED else PullRequestAction.OTHER


def api_of(address: str) -> str:
    """The API's address, from the server's own."""
    address = address.rstrip("/")
    return address if address.endswith("/api/v4") else f"{address}/api/v4"


def auth_headers(token: str) -> dict[str, str]:
    """What proves who asks: a project access token with the scope `api` and the role Developer."""
    return {"PRIVATE-TOKEN": token, "Accept": "application/json"}


def status_call(status: CommitStatus, repository: str) -> HostCall:
    """Tell a commit's status; 201 when it was taken."""
    return HostCall(
        "POST",
        f"/projects/{quote(repository, safe='')}/statuses/{quote(status.commit, safe='')}",
        {
            "state": _STATES[status.state],
            "name": status.context,
            "description": status.description[:DESCRIPTION_LIMIT],
            "target_url": status.target_url,
        },
    )


def probe_call(repository: str) -> HostCall:
    """Ask for the project: whoever may write statuses may read it."""
    return HostCall("GET", f"/projects/{quote(repository, safe='')}")


def is_repeat(state: CommitState, code: int, text: str) -> bool:
    """Whether a refusal only says that the host knows as much already.

    GitLab refuses to make what runs run, or wait, once more.
    """
    is_on_the_way = state in {CommitState.QUEUED, CommitState.RUNNING}
    return code == _MALFORMED and is_on_the_way and "Cannot transition status" in text
