"""Sample data: which runs of a project were made up, and how far making them has come."""

from __future__ import annotations

from dataclasses import dataclass

from runs.models import Project, Run
from runs.models.runs import RunQuerySet

#: Tags of a run that was made up: which of how many it is, and up to when their history reaches.
PLACE_TAG, UNTIL_TAG = "sample", "sample_until"


@dataclass(frozen=True, slots=True)
class SampleProgress:
    """How many of a project's made-up runs are there."""

    count: int = 0
    total: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.total) and self.count >= self.total


def sample_runs(project: Project) -> RunQuerySet:
    """The project's runs that were made up."""
    return Run.objects.for_project(project).filter(tags__has_keys=[PLACE_TAG, UNTIL_TAG])


def is_made_up(run: Run) -> bool:
    """Whether the run is sample data: nobody outside is told of it."""
    return PLACE_TAG in run.tags and UNTIL_TAG in run.tags


def sample_progress(project: Project) -> SampleProgress:
    """One query: the newest of them says."""
    tags = sample_runs(project).newest_first().values_list("tags", flat=True).first() or {}
    count, _, total = str(tags.get(PLACE_TAG, "")).partition(" of ")
    return (
        SampleProgress(int(count), int(total))
        if count.isdecimal() and total.isdecimal()
        else SampleProgress()
    )
