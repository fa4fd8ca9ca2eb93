"""The list of projects."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.db.models.functions import JSONObject

from runs.models import Project, Run
from runs.queries.marks import run_mark

STRIP_LENGTH = 30


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project with its newest runs of all suites and branches, oldest first."""

    project: Project
    marks: str


def project_rows(projects: QuerySet[Project]) -> list[ProjectRow]:
    """One query."""
    runs = (
        Run.objects.filter(project=OuterRef("pk"))
        .order_by("-number")
        .values(facts=JSONObject(status="status", flaky="flaky_count"))[:STRIP_LENGTH]
    )
    return [
        ProjectRow(
            project=project,
            marks="".join(run_mark(facts["status"], facts["flaky"]) for facts in reversed(project.recent)),
        )
        for project in projects.annotate(recent=ArraySubquery(runs))
    ]
