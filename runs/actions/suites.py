"""Remember what suite files and environments say of a project, for its pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from runs.models import Project, Service, Suite
from runs.vocabulary import Level


def remember_definition(suite: Suite, *, level: Level, definition: Mapping[str, Any]) -> None:
    """Keep what the newest suite file said of the suite; nothing is written when nothing changed."""
    newest = dict(definition)
    if (suite.level, suite.definition) != (level, newest):
        Suite.objects.filter(pk=suite.pk).update(level=level, definition=newest)


def remember_services(project: Project, images: Mapping[str, str]) -> None:
    """Keep that the project has these services, each with the image it ran last."""
    now = datetime.now(tz=UTC)
    Service.objects.bulk_create(
        [
            Service(project=project, name=name[:250], image=image[:500], last_seen_at=now)
            for name, image in sorted(images.items())
        ],
        update_conflicts=True,
        unique_fields=["project", "name"],
        update_fields=["image", "last_seen_at"],
    )


def remember_named_services(project_id: int, names: Collection[str], *, at: datetime) -> None:
    """Keep that reports of the project name these services; an image that is known stays."""
    Service.objects.bulk_create(
        [Service(project_id=project_id, name=name[:250]) for name in sorted(names)],
        ignore_conflicts=True,
    )
    Service.objects.filter(project=project_id, name__in=names, last_seen_at__lt=at).update(last_seen_at=at)
