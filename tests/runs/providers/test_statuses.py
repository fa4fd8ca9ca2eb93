"""What each Git host is asked, as plain values."""

from __future__ import annotations

import pytest

from runs.providers import STATUS_HOSTS, CommitState, CommitStatus, HostCall

STATUS = CommitStatus(
    commit="9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3",
    state=CommitState.FAILURE,
    context="itdash/checkout",
    description="3 failed, 9 passed of 12 tests." + "x" * 300,
    target_url="https://itdash.example.org/p/shop/runs/7/",
)

ADDRESSES = [
    ("github", "https://github.com", "https://api.github.com"),
    ("github", "https://api.github.com/", "https://api.github.com"),
    ("github", "https://ghe.example.org/", "https://ghe.example.org/api/v3"),
    ("github", "https://ghe.example.org/api/v3", "https://ghe.example.org/api/v3"),
    ("gitlab", "https://gitlab.com", "https://gitlab.com/api/v4"),
    ("gitlab", "https://example.org/gitlab/", "https://example.org/gitlab/api/v4"),
    ("gitea", "https://git.example.org:3000", "https://git.example.org:3000/api/v1"),
    ("gitea", "https://git.example.org/api/v1/", "https://git.example.org/api/v1"),
]


@pytest.mark.parametrize(("host", "address", "api"), ADDRESSES)
def test_the_apis_address_follows_from_the_servers(host: str, address: str, api: str) -> None:
    assert STATUS_HOSTS[host].api_of(address) == api


def test_a_status_for_github() -> None:
    assert STATUS_HOSTS["github"].status_call(STATUS, "acme/shop") == HostCall(
        "POST",
        "/repos/acme/shop/statuses/9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3",
        {
            "state": "failure",
            "context": "itdash/checkout",
            "description": STATUS.description[:140],
            "target_url": "https://itdash.example.org/p/shop/runs/7/",
        },
    )


def test_gitlab_names_a_project_by_its_whole_path() -> None:
    call = STATUS_HOSTS["gitlab"].status_call(STATUS, "acme/web team/shop")

    assert call.path == (
        "/projects/acme%2Fweb%20team%2Fshop/statuses/9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"
    )
    assert call.body is not None
    assert (call.body["state"], call.body["name"]) == ("failed", "itdash/checkout")


@pytest.mark.parametrize("host", sorted(STATUS_HOSTS))
def test_a_repository_cannot_lead_elsewhere(host: str) -> None:
    path = STATUS_HOSTS[host].probe_call("acme/shop?x=1#y").path

    assert "?" not in path
    assert "#" not in path


@pytest.mark.parametrize(
    ("state", "is_repeat"),
    [(CommitState.QUEUED, True), (CommitState.RUNNING, True), (CommitState.SUCCESS, False)],
)
def test_gitlabs_refusal_of_a_repeat_is_none_for_what_is_on_its_way(
    state: CommitState, *, is_repeat: bool
) -> None:
    said = '{"message": "Cannot transition status via :run from :running"}'

    assert STATUS_HOSTS["gitlab"].is_repeat(state, 400, said) is is_repeat
    assert STATUS_HOSTS["gitlab"].is_repeat(state, 404, said) is False
    assert STATUS_HOSTS["github"].is_repeat(state, 400, said) is False
