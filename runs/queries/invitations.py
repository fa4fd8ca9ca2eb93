"""Invitations: whether a link still lets somebody in, and which ones wait."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from runs.models import Invitation, Project


class InvitationState(StrEnum):
    """What has become of an invitation."""

    USABLE = "usable"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"


def state_of(invitation: Invitation, now: datetime) -> InvitationState:
    """Used before taken back before ended: the first that happened is what its owner wants to hear."""
    if invitation.accepted_at is not None:
        return InvitationState.ACCEPTED
    if invitation.revoked_at is not None:
        return InvitationState.REVOKED
    return InvitationState.EXPIRED if invitation.expires_at <= now else InvitationState.USABLE


def invitation_of_digest(digest: bytes) -> Invitation | None:
    """The invitation that a link's secret leads to, with its project."""
    return Invitation.objects.select_related("project", "created_by").filter(digest=digest).first()


def invitation_of(invitation_id: int) -> Invitation | None:
    """The invitation of that id, with its project and who made it."""
    return Invitation.objects.select_related("project", "created_by").filter(pk=invitation_id).first()


def pending_invitations(project: Project, *, now: datetime) -> Sequence[Invitation]:
    """Those that can still be used, the one that ends first at the top."""
    pending = project.invitations.filter(accepted_at=None, revoked_at=None, expires_at__gt=now)
    return list(pending.select_related("created_by").order_by("expires_at", "pk"))
