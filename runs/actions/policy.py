"""Let a project's environments ask for more, or for less, of the engine's host than everyone's may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from django.conf import settings
from django.db import transaction

from environments.grants import GRANTS, Quota
from environments.registries import is_place
from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError, NotPossibleError
from runs.models import Project, User

#: The most that a quota can be: the first is what one engine's address pool and start rate carry.
#: A number, or a list of words.
type Limit = float | Sequence[str]
MOST_PLACES: Final = 100
MOST: Final = {
    "services": 200,
    "networks": 50,
    "volumes": 200,
    "memory_bytes": 1024**4,
    "cpus": 1024,
    "seconds": 24 * 3600,
}


def change_policy(
    *, project_id: int, grants: Collection[str], quota: Mapping[str, Limit], by: User
) -> Project:
    """Set all of a project's grants, and its quota as far as it differs from everyone's; memory in bytes.
    `images` of the quota are the places where images may come from.

    Whoever administers the project may take a grant back.

    Raises:
        InvalidValueError: there is no such grant, or a quota that cannot be; its field is named.
        NotPossibleError: someone who does not administer the installation grants something or changes the
            quota: both are about a machine that the projects share.
    """
    _refuse_unknown(grants)
    _refuse_bad_quota(quota)
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=project_id)
        new = sorted(set(grants))
        if not by.is_superuser and (
            not set(new) <= set(project.policy_grants) or dict(quota) != project.policy_quota
        ):
            message = "Only the installation's administrator may grant more or change the quota."
            raise NotPossibleError(message)
        changes = {}
        if new != project.policy_grants:
            changes["grants"] = [project.policy_grants, new]
        if dict(quota) != project.policy_quota:
            changes["quota"] = [_told(project.policy_quota), _told(quota)]
        if changes:
            project.policy_grants = new
            project.policy_quota = dict(quota)
            project.save(update_fields=["policy_grants", "policy_quota"])
            note_change(project, by=by, action="policy.changed", subject=project.name, data=changes)
    return project


def quota_of(project: Project) -> Quota:
    """The most that one environment of the project may be made of and ask for."""
    values = {"images": settings.IMAGES, **project.policy_quota}
    return Quota(**{**values, "images": tuple(values["images"])})


def _told(quota: Mapping[str, Limit]) -> list[str]:
    return [
        f"{name.replace('_', ' ')} {f'{value:g}' if isinstance(value, int | float) else ', '.join(value)}"
        for name, value in sorted(quota.items())
    ]


def _refuse_unknown(grants: Collection[str]) -> None:
    unknown = sorted(set(grants) - GRANTS.keys())
    if unknown:
        message = f"There is no grant “{unknown[0][:80]}”."
        raise InvalidValueError("grants", message)


def _refuse_bad_quota(quota: Mapping[str, Limit]) -> None:
    for name, value in quota.items():
        if name == "images" and not isinstance(value, int | float):
            _refuse_bad_places(value)
        elif name not in MOST or isinstance(value, Sequence) or not 0 < value <= MOST[name]:
            message = "A quota is more than nothing and no more than a machine can have."
            raise InvalidValueError(name if name in MOST else "grants", message)


def _refuse_bad_places(places: Sequence[str]) -> None:
    if len(places) > MOST_PLACES:
        message = f"A list has {MOST_PLACES} places at most."
        raise InvalidValueError("images", message)
    for place in places:
        if not is_place(place):
            message = f"“{place[:80]}” names no registry. Write docker.io/library or ghcr.io/acme."
            raise InvalidValueError("images", message)
