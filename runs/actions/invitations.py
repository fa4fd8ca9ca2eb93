"""Invite people by a link, and take them in. The link is shown once; only its digest is kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError, NotPossibleError
from runs.actions.people import create_account
from runs.actions.tokens import digest_of
from runs.models import Invitation, Membership, Project, User
from runs.queries.invitations import InvitationState, state_of
from runs.vocabulary import Role

VALID: Final = timedelta(days=7)
#: Of one project at a time, so that nobody makes links by the thousand.
PENDING_LIMIT: Final = 100
_WHAT_TO_DO: Final = {
    InvitationState.ACCEPTED: "This invitation was used already: a link lets one person in. Ask for another.",
    InvitationState.REVOKED: "This invitation was taken back. Ask an administrator of the project about it.",
    InvitationState.EXPIRED: "This invitation is older than 7 days and has ended. Ask for another.",
}
_ORDER: Final = {Role.VIEWER: 1, Role.MEMBER: 2, Role.ADMIN: 3}


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation with the secret of its link, which cannot be had again."""

    invitation: Invitation
    secret: str


def create_invitation(
    *, project: Project, role: Role, email: str = "", by: User | None = None, now: datetime | None = None
) -> NewInvitation:
    """Make a link that lets one person in with that role, for seven days.

    `email` only reminds of whom it is meant for; nothing is sent.

    Raises:
        InvalidValueError: that is no e-mail address.
        NotPossibleError: too many invitations wait to be used.
    """
    email = email.strip()
    _refuse_bad_email(email)
    moment = now or timezone.now()
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        pending = Invitation.objects.filter(
            project=project, accepted_at=None, revoked_at=None, expires_at__gt=moment
        )
        if pending.count() >= PENDING_LIMIT:
            message = f"{PENDING_LIMIT} invitations wait to be used. Take some back first."
            raise NotPossibleError(message)
        invitation = Invitation.objects.create(
            project=project,
            role=role,
            email=email,
            digest=digest_of(secret),
            created_by=by,
            expires_at=moment + VALID,
        )
        note_change(
            project, by=by, action="invitation.made", subject=email or "a link", data=_told(invitation)
        )
    return NewInvitation(invitation, secret)


def revoke_invitation(*, invitation_id: int, by: User | None = None) -> bool:
    """Take an invitation back; False when it was used or taken back before."""
    with transaction.atomic():
        invitation = Invitation.objects.select_for_update(no_key=True).filter(pk=invitation_id).first()
        if invitation is None or invitation.accepted_at is not None or invitation.revoked_at is not None:
            return False
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        note_change(
            invitation.project,
            by=by,
            action="invitation.revoked",
            subject=invitation.email or "a link",
            data=_told(invitation),
        )
    return True


def accept_invitation(*, invitation_id: int, by: User, now: datetime | None = None) -> Membership:
    """Make `by` a member, once. Who is a member already keeps a higher role: an invitation lowers none.

    Raises:
        NotPossibleError: it was used, taken back, or has ended; what to do is in the message.
    """
    with transaction.atomic():
        invitation = _usable(invitation_id, now or timezone.now())
        return _take_in(invitation, by, now or timezone.now())


def join_with_new_account(
    *, invitation_id: int, username: str, password: str, email: str = "", now: datetime | None = None
) -> User:
    """Make an account for whoever has the link, and make it a member; both or neither.

    Raises:
        NotPossibleError: as `accept_invitation`.
        InvalidValueError: somebody has that user name.
    """
    moment = now or timezone.now()
    with transaction.atomic():
        invitation = _usable(invitation_id, moment)
        user = create_account(username=username, email=email, password=password)
        _take_in(invitation, user, moment)
    return user


def _usable(invitation_id: int, now: datetime) -> Invitation:
    """The invitation, locked: two people with the same link are let in one at a time, so only one of them."""
    invitation = Invitation.objects.select_for_update(no_key=True).filter(pk=invitation_id).first()
    if invitation is None:
        message = "There is no such invitation. Ask an administrator of the project for another."
        raise NotPossibleError(message)
    state = state_of(invitation, now)
    if state is not InvitationState.USABLE:
        raise NotPossibleError(_WHAT_TO_DO[state])
    return invitation


def _take_in(invitation: Invitation, user: User, now: datetime) -> Membership:
    # The project first: two administrators may change the same member at once.
    project = Project.objects.select_for_update(no_key=True).get(pk=invitation.project_id)
    role = Role(invitation.role)
    member, is_new = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if not is_new and _ORDER[role] > _ORDER[Role(member.role)]:
        member.role = role
        member.save(update_fields=["role"])
    invitation.accepted_at, invitation.accepted_by = now, user
    invitation.save(update_fields=["accepted_at", "accepted_by"])
    note_change(
        project,
        by=user,
        action="invitation.accepted",
        subject=user.username,
        data=_told(invitation) | {"role": member.role},
    )
    return member


def what_to_do(state: InvitationState) -> str:
    """The sentence for an invitation that lets nobody in any more; empty for one that does."""
    return _WHAT_TO_DO.get(state, "")


def _told(invitation: Invitation) -> dict[str, object]:
    return {"invitation": invitation.pk, "role": invitation.role, "for": invitation.email}


def _refuse_bad_email(email: str) -> None:
    if email:
        try:
            validate_email(email)
        except ValidationError as error:
            message = "That is no e-mail address. Leave it empty, or write one like ada@example.org."
            raise InvalidValueError("email", message) from error
