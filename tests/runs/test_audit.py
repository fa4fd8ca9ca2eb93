"""Every change that people and tokens make is kept, with who made it and never with a secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runs.actions.errors import NotPossibleError
from runs.actions.invitations import accept_invitation, create_invitation, revoke_invitation
from runs.actions.members import add_member, change_role, remove_member
from runs.actions.pins import pin_run, unpin_run
from runs.actions.policy import change_policy
from runs.actions.projects import create_project, ensure_suite, update_project
from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.actions.renames import confirm_renames, part_rename, refuse_renames, set_rename_rule
from runs.actions.runs import cancel_run, rerun_run
from runs.actions.schedules import (
    change_schedule,
    create_schedule,
    delete_schedule,
    pause_schedule,
    resume_schedule,
)
from runs.actions.tokens import create_token, revoke_token
from runs.actions.webhooks import create_hook, redeliver, remove_hook
from runs.models import AuditEntry, Delivery, Membership, Project, Rename, Schedule, Token, User
from runs.suitefile import ScheduleSpec
from runs.vocabulary import DeliveryStatus, Role, RunStatus, Scope, Visibility
from tests.factories import (
    NOW,
    make_case,
    make_member,
    make_project,
    make_rename,
    make_run,
    make_suite,
    make_user,
)

pytestmark = pytest.mark.django_db

type Act = Callable[[Project, User], object]


def schedule_of(project: Project) -> Schedule:
    return create_schedule(suite=make_suite(project, "s"), wanted=ScheduleSpec("0 2 * * *", "UTC", ""))


def member_of(project: Project) -> Membership:
    return make_member(project, Role.MEMBER, username="bo").memberships.get()


def delivery_of(project: Project) -> Delivery:
    hook = create_hook(project=project, provider="github")
    return Delivery.objects.create(
        project=project,
        hook=hook,
        direction="received",
        provider="github",
        key="k",
        event="push",
        status=DeliveryStatus.ACCEPTED,
    )


def change(project: Project, by: User, **values: object) -> Project:
    known: dict[str, object] = {
        "name": project.name,
        "repository_url": project.repository_url,
        "default_branch": project.default_branch,
        "visibility": Visibility(project.visibility),
        "allow_local_engine": project.allow_local_engine,
        "variables": project.variables,
    }
    return update_project(project_id=project.pk, by=by, **(known | values))  # type: ignore[arg-type]  # by name


def resume(schedule: Schedule, by: User) -> None:
    pause_schedule(schedule_id=schedule.pk)
    resume_schedule(schedule_id=schedule.pk, by=by)


def lift(project: Project, by: User) -> None:
    case = make_case(make_suite(project), "test_pay")
    quarantine_case(case=case, reason="SHOP-1", days=3)
    lift_quarantine(case=case, by=by)


def rename_in(project: Project) -> Rename:
    return make_rename(make_suite(project))


def part_again(project: Project, by: User) -> None:
    rename = rename_in(project)
    confirm_renames(suite=rename.suite, rename_ids=[rename.pk], by=by)
    part_rename(rename=rename, by=by)


def take_back(project: Project, by: User) -> None:
    Project.objects.update(policy_grants=["privileged"])
    change_policy(project_id=project.pk, grants=[], quota={}, by=by)


CHANGES: dict[str, tuple[Act, str]] = {
    "project.changed": (lambda project, by: change(project, by, name="Shop 2"), "Shop 2"),
    "policy.changed": (take_back, "Shop"),
    "suite.added": (lambda project, by: ensure_suite(project=project, name="nightly", by=by), "nightly"),
    "member.added": (
        lambda project, by: add_member(
            project_id=project.pk, username=make_user("cy").username, role=Role.VIEWER, by=by
        ),
        "cy",
    ),
    "member.role_changed": (
        lambda project, by: change_role(member_id=member_of(project).pk, role=Role.ADMIN, by=by),
        "bo",
    ),
    "member.removed": (lambda project, by: remove_member(member_id=member_of(project).pk, by=by), "bo"),
    "invitation.made": (
        lambda project, by: create_invitation(project=project, role=Role.VIEWER, email="cy@x.org", by=by),
        "cy@x.org",
    ),
    "invitation.revoked": (
        lambda project, by: revoke_invitation(
            invitation_id=create_invitation(project=project, role=Role.VIEWER).invitation.pk, by=by
        ),
        "a link",
    ),
    "invitation.accepted": (
        lambda project, by: accept_invitation(
            invitation_id=create_invitation(project=project, role=Role.VIEWER).invitation.pk, by=by
        ),
        "ada",
    ),
    "webhook.made": (lambda project, by: create_hook(project=project, provider="gitea", by=by), "gitea"),
    "webhook.closed": (
        lambda project, by: remove_hook(hook_id=create_hook(project=project, provider="gitea").pk, by=by),
        "gitea",
    ),
    "delivery.handled_again": (
        lambda project, by: redeliver(delivery_id=delivery_of(project).pk, by=by),
        "github push",
    ),
    "schedule.made": (
        lambda project, by: create_schedule(
            suite=make_suite(project, "s"), wanted=ScheduleSpec("0 3 * * *", "UTC", ""), by=by
        ),
        "s: 0 3 * * *",
    ),
    "schedule.changed": (
        lambda project, by: change_schedule(
            schedule_id=schedule_of(project).pk, wanted=ScheduleSpec("0 4 * * *", "UTC", ""), by=by
        ),
        "s: 0 4 * * *",
    ),
    "schedule.paused": (
        lambda project, by: pause_schedule(schedule_id=schedule_of(project).pk, by=by),
        "s: 0 2 * * *",
    ),
    "schedule.resumed": (lambda project, by: resume(schedule_of(project), by), "s: 0 2 * * *"),
    "schedule.deleted": (
        lambda project, by: delete_schedule(schedule_id=schedule_of(project).pk, by=by),
        "s: 0 2 * * *",
    ),
    "quarantine.begun": (
        lambda project, by: quarantine_case(
            case=make_case(make_suite(project), "test_pay"), reason="SHOP-1", days=3, by=by
        ),
        "test_pay",
    ),
    "quarantine.lifted": (lift, "test_pay"),
    "rename.confirmed": (
        lambda project, by: confirm_renames(
            suite=(one := rename_in(project)).suite, rename_ids=[one.pk], by=by
        ),
        "shop.Cart pays → shop.Basket pays",
    ),
    "rename.refused": (
        lambda project, by: refuse_renames(
            suite=(one := rename_in(project)).suite, rename_ids=[one.pk], by=by
        ),
        "shop.Cart pays → shop.Basket pays",
    ),
    "rename.rule_changed": (
        lambda project, by: set_rename_rule(project_id=project.pk, confirms_moves=True, by=by),
        "Shop",
    ),
    "rename.parted": (part_again, "shop.Cart pays → shop.Basket pays"),
    "run.cancelled": (
        lambda project, by: cancel_run(run_id=make_run(make_suite(project), number=7).pk, by=by),
        "Run 7",
    ),
    "run.pinned": (
        lambda project, by: pin_run(run_id=make_run(make_suite(project), number=7).pk, by=by),
        "Run 7",
    ),
    "run.unpinned": (
        lambda project, by: unpin_run(
            run_id=make_run(make_suite(project), number=7, pinned_at=NOW).pk, by=by
        ),
        "Run 7",
    ),
    "run.rerun": (
        lambda project, by: rerun_run(
            run_id=make_run(make_suite(project), number=7, status=RunStatus.PASSED).pk, by=by
        ),
        "Run 7",
    ),
}


@pytest.fixture
def project() -> Project:
    return make_project("shop", repository_url="https://robot:hunter2@git.example.org/shop.git")


@pytest.mark.parametrize("action", CHANGES)
def test_a_change_is_kept_with_who_made_it_and_what_it_was_made_to(project: Project, action: str) -> None:
    act, subject = CHANGES[action]
    ada = make_user("ada")

    act(project, ada)

    entry = AuditEntry.objects.get(project=project, action=action, user=ada)
    assert (entry.actor, entry.subject) == ("ada", subject)


def test_a_made_project_begins_its_log() -> None:
    ada = make_user("ada")

    project = create_project(slug="shop", by=ada)

    entry = AuditEntry.objects.get()
    assert (entry.project, entry.action, entry.user) == (project, "project.made", ada)


def test_a_token_is_kept_without_its_secret(project: Project) -> None:
    made = create_token(project=project, scopes=[Scope.UPLOAD], name="CI", by=make_user("ada"))
    revoke_token(token_id=made.token.pk)

    first, second = AuditEntry.objects.order_by("pk")
    assert (first.action, first.actor, first.data["scopes"]) == ("token.made", "ada", ["upload"])
    assert (second.action, second.actor) == ("token.revoked", "")
    assert made.secret not in str(AuditEntry.objects.values_list())


def test_what_a_token_does_names_the_token_even_when_it_is_gone(project: Project) -> None:
    token = create_token(project=project, scopes=[Scope.MANAGE], name="nightly bot").token
    case = make_case(make_suite(project), "test_pay")

    quarantine_case(case=case, reason="SHOP-1", days=3, token=token)
    Token.objects.all().delete()

    entry = AuditEntry.objects.get(action="quarantine.begun")
    assert (entry.actor, entry.token, entry.user) == ("token nightly bot", None, None)


def test_a_changed_project_tells_before_and_after_but_no_password_and_no_value(project: Project) -> None:
    ada = make_user("ada")
    Project.objects.update(variables={"KEPT": "same", "GONE": "s3cret", "OTHER": "old-value"})
    project.refresh_from_db()

    change(
        project,
        ada,
        repository_url="https://robot:swordfish@git.example.org/other.git",
        visibility=Visibility.PUBLIC,
        variables={"KEPT": "same", "OTHER": "new-value", "NEW": "x"},
    )

    assert AuditEntry.objects.get(action="project.changed").data == {
        "repository_url": ["https://git.example.org/shop.git", "https://git.example.org/other.git"],
        "visibility": ["private", "public"],
        "variables": ["GONE", "NEW", "OTHER"],
    }


def test_what_changes_nothing_is_not_kept(project: Project) -> None:
    ada = make_user("ada")
    member = member_of(project)

    change(project, ada)
    change_role(member_id=member.pk, role=Role.MEMBER, by=ada)
    revoke_token(token_id=0, by=ada)

    assert not AuditEntry.objects.exists()


def test_what_is_refused_is_not_kept(project: Project) -> None:
    admin = make_member(project, Role.ADMIN)

    with pytest.raises(NotPossibleError):
        remove_member(member_id=admin.memberships.get().pk, by=admin)

    assert not AuditEntry.objects.exists()


def test_what_itdash_does_itself_is_on_timelines_and_not_in_the_log(project: Project) -> None:
    cancel_run(run_id=make_run(make_suite(project)).pk, by=None, why="A newer push came.")

    assert not AuditEntry.objects.exists()


def test_names_however_hostile_fit_into_an_entry(project: Project) -> None:
    ada = make_user("ada")
    case = make_case(make_suite(project), "\u202e<script>" + "x" * 5_000)

    quarantine_case(case=case, reason="y" * 2_000, days=3, by=ada)

    entry = AuditEntry.objects.get(action="quarantine.begun")
    assert entry.subject.startswith("\\u202e<script>xxx")
    assert len(entry.subject) <= 500
