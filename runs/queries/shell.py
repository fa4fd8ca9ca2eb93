"""What surrounds every page of a project: how many runs are live."""

from __future__ import annotations

from dataclasses import dataclass

from runs.models import Project, Run


@dataclass(frozen=True, slots=True)
class Shell:
    """The frame's facts."""

    live_count: int


def shell(project: Project) -> Shell:
    """One query: the index of unfinished runs is small."""
    return Shell(live_count=Run.objects.for_project(project).unfinished().count())
