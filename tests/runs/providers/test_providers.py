"""Each Git host: what it signs, and what its payloads tell."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils.datastructures import CaseInsensitiveMapping

from runs.providers import (
    PROVIDERS,
    OtherEvent,
    PayloadError,
    PingEvent,
    PullRequestAction,
    PullRequestEvent,
    PushEvent,
    SignatureError,
    read_json,
)
from tests.hooks import BEFORE, COMMIT, SECRET, headers_for, sample

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
BODY = b'{"ref": "refs/heads/main"}'
SIGNATURES = {
    "github": "X-Hub-Signature-256",
    "gitlab": "X-Gitlab-Token",
    "gitea": "X-Gitea-Signature",
    "bitbucket": "X-Hub-Signature",
    "generic": "X-Itdash-Signature",
}


def verify(provider: str, headers: dict[str, str], body: bytes = BODY, *, now: datetime = NOW) -> None:
    PROVIDERS[provider].verify(CaseInsensitiveMapping(headers), body, secret=SECRET, now=now)


def signed(provider: str, body: bytes = BODY) -> dict[str, str]:
    return headers_for(provider, body, at=int(NOW.timestamp()))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_right_signature_is_taken_whatever_the_case_of_its_header(provider: str) -> None:
    verify(provider, {name.lower(): value for name, value in signed(provider).items()})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_missing_signature_is_refused_and_named(provider: str) -> None:
    headers = signed(provider)
    del headers[SIGNATURES[provider]]

    with pytest.raises(SignatureError, match=f"{SIGNATURES[provider]} is missing"):
        verify(provider, headers)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "wrong", ["", "sha256=", "sha256=" + "0" * 64, "0" * 64, "é", SECRET[:-1], "sha256=é"]
)
def test_a_wrong_signature_is_refused(provider: str, wrong: str) -> None:
    with pytest.raises(SignatureError):
        verify(provider, signed(provider) | {SIGNATURES[provider]: wrong})


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - {"gitlab"}))
def test_a_signature_of_another_body_is_refused(provider: str) -> None:
    with pytest.raises(SignatureError, match="is wrong"):
        verify(provider, signed(provider), BODY + b" ")


def gitlab_signed(body: bytes = BODY, *, at: datetime = NOW) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    text = f"evt-1.{stamp}.".encode() + body
    digest = base64.b64encode(hmac.new(b"k" * 32, text, hashlib.sha256).digest()).decode()
    return {"webhook-id": "evt-1", "webhook-timestamp": stamp, "webhook-signature": f"v1,{digest}"}


def test_gitlabs_signature_is_taken_without_a_token_and_among_others() -> None:
    headers = gitlab_signed()
    verify("gitlab", headers)
    verify("gitlab", headers | {"webhook-signature": f"v1,b3RoZXI= {headers['webhook-signature']}"})

    assert PROVIDERS["gitlab"].delivery_id(CaseInsensitiveMapping(headers)) == "evt-1"


def test_gitlabs_wrong_signature_is_not_mended_by_a_right_token() -> None:
    with pytest.raises(SignatureError, match="webhook-signature is wrong"):
        verify("gitlab", gitlab_signed() | {"X-Gitlab-Token": SECRET}, BODY + b" ")


@pytest.mark.parametrize("away", [timedelta(minutes=-6), timedelta(minutes=6)])
def test_an_old_or_future_delivery_is_refused_though_rightly_signed(away: timedelta) -> None:
    with pytest.raises(SignatureError, match="more than 5 minutes away"):
        verify("generic", signed("generic"), now=NOW + away)
    with pytest.raises(SignatureError, match="more than 5 minutes away"):
        verify("gitlab", gitlab_signed(), now=NOW + away)
    verify("generic", signed("generic"), now=NOW + timedelta(minutes=4, seconds=59))


@pytest.mark.parametrize("name", ["X-Itdash-Timestamp", "X-Itdash-Delivery"])
def test_what_is_signed_beside_the_body_cannot_be_changed_or_left_out(name: str) -> None:
    headers = signed("generic")
    with pytest.raises(SignatureError, match="is wrong"):
        verify("generic", headers | {name: headers[name] + "0"})
    with pytest.raises(SignatureError, match=f"{name} is missing"):
        verify("generic", headers | {name: ""})


@pytest.mark.parametrize("stamp", ["soon", "9" * 400, "1e9", "-99999999999999"])
def test_a_moment_that_is_none_is_refused(stamp: str) -> None:
    headers = headers_for("generic", BODY) | {"X-Itdash-Timestamp": stamp}
    text = f"{stamp}.{headers['X-Itdash-Delivery']}.".encode() + BODY
    digest = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()

    with pytest.raises(SignatureError, match="seconds since 1970"):
        verify("generic", headers | {"X-Itdash-Signature": f"sha256={digest}"})


PATHS = (
    "services/cart/models.py",
    "services/order/api.py",
    "services/order/old.py",
    "services/order/refund.py",
)


@pytest.mark.parametrize(
    ("provider", "event", "name", "author", "title", "paths"),
    [
        ("github", "push", "github_push", "adalind", "Refund in one transaction", PATHS),
        ("gitea", "push", "gitea_push", "adalind", "Refund in one transaction", PATHS),
        ("gitlab", "push", "gitlab_push", "Ada Lind", "Refund in one transaction", PATHS),
        ("bitbucket", "repo:push", "bitbucket_push", "Ada Lind", "Refund in one transaction", None),
        ("bitbucket", "repo:refs_changed", "bitbucket_server_push", "Ada Lind", "", None),
        ("generic", "push", "generic_push", "Ada Lind", "Refund in one transaction", PATHS[1:2]),
    ],
)
def test_a_push_is_read_from_each_host(
    provider: str, event: str, name: str, author: str, title: str, paths: tuple[str, ...] | None
) -> None:
    first = PROVIDERS[provider].parse(event, sample(name))[0]

    assert first == PushEvent(
        branch="main", commit=COMMIT, before=BEFORE, author=author, title=title, changed_paths=paths
    )


@pytest.mark.parametrize(
    ("provider", "event", "name", "author", "commit", "is_fork", "ref"),
    [
        ("github", "pull_request", "github_pull_request", "adalind", COMMIT, False, "refs/pull/7/head"),
        ("github", "pull_request", "github_pull_request_fork", "mallory", COMMIT, True, "refs/pull/7/head"),
        ("gitea", "pull_request", "gitea_pull_request", "adalind", COMMIT, False, "refs/pull/7/head"),
        (
            "gitlab",
            "merge_request",
            "gitlab_merge_request",
            "adalind",
            COMMIT,
            False,
            "refs/merge-requests/7/head",
        ),
        (
            "bitbucket",
            "pullrequest:created",
            "bitbucket_pull_request",
            "Ada Lind",
            COMMIT[:12],
            False,
            "refs/heads/feat/refund",
        ),
        (
            "bitbucket",
            "pr:opened",
            "bitbucket_server_pull_request",
            "Mallory",
            COMMIT,
            True,
            "refs/pull-requests/7/from",
        ),
        ("generic", "pull_request", "generic_pull_request", "mallory", COMMIT, True, "refs/changes/07/7/1"),
    ],
)
def test_a_pull_request_is_read_from_each_host(
    provider: str, event: str, name: str, author: str, commit: str, is_fork: bool, ref: str
) -> None:
    assert PROVIDERS[provider].parse(event, sample(name)) == (
        PullRequestEvent(
            action=PullRequestAction.CHANGED,
            number=7,
            title="Refund partial orders",
            author=author,
            commit=commit,
            source_branch="feat/refund",
            target_branch="main",
            is_fork=is_fork,
            ref=ref,
        ),
    )


def test_one_bitbucket_push_may_change_several_branches() -> None:
    kept, gone = PROVIDERS["bitbucket"].parse("repo:push", sample("bitbucket_push"))

    assert isinstance(gone, PushEvent)
    assert (gone.branch, gone.is_deleted, gone.commit) == ("feat/old", True, "")
    assert isinstance(kept, PushEvent)
    assert not kept.is_deleted


def test_a_deleted_branch_and_a_tag_are_told_apart_from_pushes() -> None:
    [deleted] = PROVIDERS["github"].parse("push", sample("github_push_deleted"))
    [tag] = PROVIDERS["github"].parse("push", sample("github_push_tag"))

    assert isinstance(deleted, PushEvent)
    assert isinstance(tag, PushEvent)
    assert (deleted.branch, deleted.commit, deleted.is_deleted) == ("feat/old", "", True)
    assert (tag.branch, tag.tag, tag.is_deleted) == ("", "v1.8.0", False)


@pytest.mark.parametrize(
    "change", [{"forced": True}, {"before": "0" * 40}, {"commits": []}, {"total_commits": 40}]
)
def test_paths_that_a_host_leaves_out_are_not_known(change: dict[str, Any]) -> None:
    [push] = PROVIDERS["github"].parse("push", sample("github_push") | change)

    assert isinstance(push, PushEvent)
    assert push.changed_paths is None


@pytest.mark.parametrize(
    ("attributes", "action"),
    [
        ({"action": "open"}, PullRequestAction.CHANGED),
        ({"action": "update", "oldrev": None}, PullRequestAction.OTHER),
        ({"action": "merge"}, PullRequestAction.CLOSED),
        ({"action": "approved"}, PullRequestAction.OTHER),
    ],
)
def test_a_merge_request_counts_when_its_commits_change(
    attributes: dict[str, Any], action: PullRequestAction
) -> None:
    payload = sample("gitlab_merge_request")
    payload["object_attributes"] |= attributes

    [event] = PROVIDERS["gitlab"].parse("merge_request", payload)

    assert isinstance(event, PullRequestEvent)
    assert event.action is action


def test_a_fork_whose_repository_is_gone_is_still_a_fork() -> None:
    payload = sample("github_pull_request_fork")
    payload["pull_request"]["head"]["repo"] = None

    [event] = PROVIDERS["github"].parse("pull_request", payload)

    assert isinstance(event, PullRequestEvent)
    assert event.is_fork


@pytest.mark.parametrize(
    ("provider", "name"),
    [("github", "ping"), ("gitea", "ping"), ("bitbucket", "diagnostics:ping"), ("generic", "ping")],
)
def test_a_ping_is_a_ping(provider: str, name: str) -> None:
    assert PROVIDERS[provider].parse(name, sample("github_ping")) == (PingEvent(),)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_event_that_nobody_waits_for_is_named(provider: str) -> None:
    assert PROVIDERS[provider].parse("note", {}) == (OtherEvent("note"),)


#: A host, an event, and a sample that tells it.
CASES = [
    ("github", "push", "github_push"),
    ("github", "pull_request", "github_pull_request"),
    ("gitea", "push", "gitea_push"),
    ("gitea", "pull_request", "gitea_pull_request"),
    ("gitlab", "push", "gitlab_push"),
    ("gitlab", "merge_request", "gitlab_merge_request"),
    ("bitbucket", "repo:push", "bitbucket_push"),
    ("bitbucket", "pullrequest:created", "bitbucket_pull_request"),
    ("bitbucket", "repo:refs_changed", "bitbucket_server_push"),
    ("bitbucket", "pr:opened", "bitbucket_server_pull_request"),
    ("generic", "push", "generic_push"),
    ("generic", "pull_request", "generic_pull_request"),
]


def spoiled(value: Any, bad: Any) -> Any:
    """Every form of the value in which one thing, however deep, is another."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value | {key: bad}
            for one in spoiled(item, bad):
                yield value | {key: one}
    elif isinstance(value, list):
        for at, item in enumerate(value):
            for one in spoiled(item, bad):
                yield [*value[:at], one, *value[at + 1 :]]


@pytest.mark.parametrize(("provider", "event", "name"), CASES)
@pytest.mark.parametrize("bad", [None, 7, -1, 1e300, "\n--upload-pack=x", [], [[]], {}, {"a": []}, True])
def test_any_value_of_any_other_type_is_read_or_refused(
    provider: str, event: str, name: str, bad: object
) -> None:
    for payload in spoiled(sample(name), bad):
        try:
            events = PROVIDERS[provider].parse(event, payload)
        except PayloadError:
            continue
        assert all(not getattr(one, "ref", "").startswith("-") for one in events)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"[]",
        b"7",
        b'"text"',
        b"null",
        b"\xff\xfe{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 100_000,
        b'{"a":' * 61 + b"1" + b"}" * 61,
        b"[" * 1_000_000,
    ],
)
def test_a_body_that_is_no_storable_object_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        read_json(body)


def test_what_no_database_stores_is_replaced() -> None:
    assert read_json(b'{"a\\u0000": ["\\ud800x", {"b": "\\u0000"}]}') == {
        "a\ufffd": ["\ufffdx", {"b": "\ufffd"}]
    }
    assert json.dumps(read_json(b'{"a": "\\ud83d\\ude00"}')) == '{"a": "\\ud83d\\ude00"}'
