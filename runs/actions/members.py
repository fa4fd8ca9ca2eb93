"""Who is in a project, and as what. A project that has an administrator keeps one."""

from __future__ import annotations

from django.db import transaction

from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError, NotPossibleError
from runs.actions.invitations import revoke_invitation
from runs.models import Invitation, Membership, Project, User
from runs.vocabulary import Role


def add_member(*, project_id: int, username: str, role: Role, by: User | None = None) -> Membership:
    """Let someone who has an account into the project.

    Raises:
        InvalidValueError: nobody signs in under that name, or is a member already.
    """
    username = username.strip()
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        message = "Nobody signs in here under this user name. Ask for the name they sign in with."
        raise InvalidValueError("username", message)
    with transaction.atomic():
        member, is_new = Membership.objects.select_related("project").get_or_create(
            project_id=project_id, user=user, defaults={"role": role}
        )
        if not is_new:
            message = f"{username} is a member already. Change the role in the list of members."
            raise InvalidValueError("username", message)
        note_change(member.project, by=by, action="member.added", subject=username, data={"role": role})
    return member


def change_role(*, member_id: int, role: Role, by: User | None = None) -> None:
    """Give a member another role; nothing happens when they left meanwhile.

    Whoever administers the project no more lets nobody in any more: their open invitations are taken back.

    Raises:
        NotPossibleError: nobody would administer the project.
    """
    with transaction.atomic():
        if role != Role.ADMIN:
            _take_back_invitations(member_id, by)
        member = _held(member_id)
        if member is None or member.role == role:
            return
        if role != Role.ADMIN:
            _refuse_last_administrator(member)
        note_change(
            member.project,
            by=by,
            action="member.role_changed",
            subject=member.user.username,
            data={"role": [member.role, role]},
        )
        member.role = role
        member.save(update_fields=["role"])


def remove_member(*, member_id: int, by: User | None = None) -> None:
    """End a membership; what the person did stays, but for invitations nobody used: they would be a way back.

    Nothing happens when it ended meanwhile.

    Raises:
        NotPossibleError: nobody would administer the project.
    """
    with transaction.atomic():
        _take_back_invitations(member_id, by)
        member = _held(member_id)
        if member is not None:
            _refuse_last_administrator(member)
            note_change(
                member.project,
                by=by,
                action="member.removed",
                subject=member.user.username,
                data={"role": member.role},
            )
            member.delete()


def _take_back_invitations(member_id: int, by: User | None) -> None:
    """Before the project is locked: who accepts an invitation locks it first, and the project then."""
    member = Membership.objects.filter(pk=member_id).first()
    if member is not None:
        made = Invitation.objects.filter(
            project=member.project_id, created_by=member.user_id, accepted_at=None, revoked_at=None
        )
        for invitation_id in list(made.order_by("pk").values_list("pk", flat=True)):
            revoke_invitation(invitation_id=invitation_id, by=by)


def _held(member_id: int) -> Membership | None:
    """The membership, under its project's lock: two administrators cannot remove each other at once."""
    of_member = Project.objects.filter(memberships=member_id).values("pk")
    Project.objects.select_for_update(no_key=True).filter(pk__in=of_member).first()
    return Membership.objects.select_related("user", "project").filter(pk=member_id).first()


def _refuse_last_administrator(member: Membership) -> None:
    others = Membership.objects.filter(project_id=member.project_id, role=Role.ADMIN).exclude(pk=member.pk)
    if member.role == Role.ADMIN and not others.exists():
        message = f"{member.user.username} is the only administrator. Make someone else one first."
        raise NotPossibleError(message)
