"""Who gets in where: every address is guarded or on the public list."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from runs.actions.channels import add_channel
from runs.actions.invitations import create_invitation
from runs.actions.tokens import create_token
from runs.actions.webhooks import create_hook, receive_delivery
from runs.models import Project, Run, Schedule, Service, Upload
from runs.vocabulary import Role, RunStatus, Scope
from runs.web.urls import urlpatterns
from tests.factories import (
    make_case,
    make_member,
    make_project,
    make_rename,
    make_run,
    make_suite,
    make_user,
)
from tests.rows import add_environment, make_failure

pytestmark = pytest.mark.django_db

#: Addresses that hold nothing of any project.
PUBLIC = {
    *("home", "kit", "sign-in", "sign-out", "first-account", "theme"),
    *("sign-in-with", "github_callback", "gitlab_callback", "openid_connect_callback", "join", "join-link"),
}
SIGNED_IN = {
    *("project-new", "account", "profile-change", "password-change", "preferences-change"),
    *("provider-disconnect", "sessions-end"),
}
#: Addresses that change something, with the role they need.
CHANGES = {
    "start-token": Role.ADMIN,
    "sample-load": Role.ADMIN,
    "sample-remove": Role.ADMIN,
    "suite-add": Role.MEMBER,
    "suite-token": Role.ADMIN,
    "schedule-add": Role.MEMBER,
    "test-quarantine": Role.MEMBER,
    "test-lift": Role.MEMBER,
    "rename-confirm": Role.MEMBER,
    "rename-refuse": Role.MEMBER,
    "rename-part": Role.MEMBER,
    "rename-rule": Role.ADMIN,
    "schedule-change": Role.MEMBER,
    "schedule-pause": Role.MEMBER,
    "schedule-resume": Role.MEMBER,
    "schedule-delete": Role.MEMBER,
    "hook-add": Role.ADMIN,
    "hook-remove": Role.ADMIN,
    "delivery-again": Role.MEMBER,
    "delivery-approve": Role.MEMBER,
    "run-new": Role.MEMBER,
    "run-cancel": Role.MEMBER,
    "run-rerun": Role.MEMBER,
    "run-pin": Role.MEMBER,
    "run-unpin": Role.MEMBER,
    "environment-tear-down": Role.MEMBER,
    "environment-release": Role.MEMBER,
    "environment-hold-longer": Role.MEMBER,
    "settings-change": Role.ADMIN,
    "policy-change": Role.ADMIN,
    "token-add": Role.ADMIN,
    "token-revoke": Role.ADMIN,
    "channel-add": Role.ADMIN,
    "channel-change": Role.ADMIN,
    "channel-test": Role.ADMIN,
    "channel-pause": Role.ADMIN,
    "channel-resume": Role.ADMIN,
    "channel-remove": Role.ADMIN,
    "member-add": Role.ADMIN,
    "member-role": Role.ADMIN,
    "member-remove": Role.ADMIN,
    "invitation-add": Role.ADMIN,
    "invitation-revoke": Role.ADMIN,
}
#: Addresses that even a public project has for its members alone.
MEMBERS = {
    "channel-add",
    "channel-change",
    "channel-test",
    "channel-pause",
    "channel-resume",
    "channel-remove",
    "settings",
    "settings-change",
    "policy-change",
    "token-add",
    "token-revoke",
    "member-add",
    "member-role",
    "member-remove",
    "invitation-add",
    "invitation-revoke",
    "audit",
}
NAMES = sorted(str(pattern.name) for pattern in urlpatterns)
GUARDED = [name for name in NAMES if name not in PUBLIC | SIGNED_IN]
READS = [name for name in GUARDED if name not in CHANGES]
#: Answers that stream come from a server that can: tests/runs/web/test_live.py and the browser's.
STREAMS = {"run-stream", "run-log", "run-file"}


def filled(visibility: str) -> tuple[Project, dict[str, object]]:
    """A project with one of everything, and what its addresses are made of."""
    project = make_project(visibility=visibility, repository_url="https://git.example.org/shop.git")
    suite = make_suite(project)
    run = make_run(suite, status=RunStatus.PASSED)
    case = make_case(suite)
    Service.objects.create(project=project, name=suite.name)
    schedule = Schedule.objects.create(suite=suite, cron="0 2 * * *")
    hook = create_hook(project=project, provider="github")
    return project, {
        "slug": project.slug,
        "number": run.number,
        "case_id": case.pk,
        "rename_id": make_rename(suite).pk,
        "name": suite.name,
        "schedule_id": schedule.pk,
        "hook_id": hook.pk,
        "delivery_id": receive_delivery(hook=hook, key="d-1", event="ping", payload={}).pk,
        "token_id": create_token(project=project, scopes=[Scope.READ]).token.pk,
        "member_id": make_member(project, Role.VIEWER).memberships.get().pk,
        "environment_name": add_environment(run, {}).name,
        "channel_id": add_channel(
            project=project, kind="slack", address="https://hooks.slack.com/services/T/B/s"
        ).pk,
        "upload_id": Upload.objects.create(project=project, run=run).pk,
        "invitation_id": create_invitation(project=project, role=Role.VIEWER).invitation.pk,
        "kind": "report",
        "fingerprint": bytes(make_failure(run, "402 != 201").fingerprint).hex(),
        "file_id": 1,
    }


def address(name: str, parts: dict[str, object]) -> str:
    pattern = next(found for found in urlpatterns if found.name == name)
    wanted = pattern.pattern.converters
    return reverse(name, kwargs={part: value for part, value in parts.items() if part in wanted})


def call(client: Client, name: str, parts: dict[str, object]) -> int:
    ask = client.post if name in CHANGES else client.get
    return ask(address(name, parts)).status_code


def test_every_address_has_a_name_and_a_place_in_these_lists() -> None:
    assert all(pattern.name for pattern in urlpatterns)
    assert len(set(NAMES)) == len(NAMES)
    assert all("slug" in pattern.pattern.converters for pattern in urlpatterns if pattern.name in GUARDED)
    assert {"home", "run"} <= set(get_resolver().reverse_dict)


@pytest.mark.parametrize("name", GUARDED)
def test_a_private_project_looks_unknown_to_strangers(client: Client, name: str) -> None:
    _, parts = filled("private")

    assert call(client, name, parts) == 404
    assert call(client, name, parts | {"slug": "unknown"}) == 404
    client.force_login(make_user())
    assert call(client, name, parts) == 404
    assert Run.objects.count() == 1


@pytest.mark.parametrize("name", sorted(set(READS) - STREAMS - MEMBERS))
def test_a_public_project_is_read_without_signing_in(client: Client, name: str) -> None:
    _, parts = filled("public")

    assert call(client, name, parts) in {200, 286}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_who_may_look_but_not_change_is_told_so(client: Client, name: str) -> None:
    project, parts = filled("public")

    assert call(client, name, parts) == (404 if name in MEMBERS else 403)
    client.force_login(make_member(project, Role.VIEWER))
    assert call(client, name, parts) == 403
    assert Run.objects.count() == 1


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_member_of_the_needed_role_may_change(client: Client, name: str) -> None:
    project, parts = filled("private")
    client.force_login(make_member(project, CHANGES[name]))

    # 422: the form that came empty, again.
    assert call(client, name, parts) in {200, 302, 422}


def test_a_projects_settings_are_read_by_its_members_alone(client: Client) -> None:
    project, parts = filled("public")

    assert call(client, "settings", parts) == 404
    client.force_login(make_user())
    assert call(client, "settings", parts) == 404
    client.force_login(make_member(project, Role.VIEWER))
    assert call(client, "settings", parts) == 200


def test_a_run_and_a_test_of_another_project_are_not_found(client: Client) -> None:
    _, parts = filled("public")
    other, _ = filled("public")
    make_run(make_suite(other), number=77)

    assert call(client, "run", parts | {"number": 77}) == 404
    assert call(client, "test", parts | {"slug": other.slug}) == 404


def test_the_administrator_of_the_installation_sees_everything(client: Client) -> None:
    _, parts = filled("private")
    client.force_login(make_user(is_superuser=True))

    assert call(client, "run", parts) == 200
    assert b"Run again" in client.get(address("run", parts)).content


def test_making_a_project_asks_to_sign_in_first(client: Client) -> None:
    answer = client.get("/projects/new/")

    assert answer.status_code == 302
    assert answer["Location"] == "/sign-in/?next=/projects/new/"


def test_the_first_account_page_is_gone_once_there_is_an_account(client: Client) -> None:
    assert client.get("/first-account/").status_code == 200
    make_user()

    assert client.get("/first-account/").status_code == 404
    assert client.post("/first-account/").status_code == 404


def test_the_theme_is_kept_and_leads_back_only_to_this_site(client: Client) -> None:
    answer = client.post("/theme/", {"theme": "dark", "next": "https://evil.example/"})

    assert answer["Location"] == "/"
    assert answer.cookies["theme"].value == "dark"
    assert client.post("/theme/", {"theme": "<script>"}).status_code == 400
    for view in ("overview", "audit", "no-such"):  # a word alone is no address, and not looked up as one
        assert client.post("/theme/", {"theme": "dark", "next": view})["Location"] == "/"
