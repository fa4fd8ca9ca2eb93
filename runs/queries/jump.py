"""What the jump box finds: a run by number or commit, tests and suites by name."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from runs.models import Project, Run, Suite, TestCase

LIMIT = 8
MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class JumpTargets:
    """A few of each."""

    runs: list[Run]
    cases: list[TestCase]
    suites: list[Suite]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not (self.runs or self.cases or self.suites)


def jump_targets(project: Project, q: str) -> JumpTargets:
    """Three queries; none for fewer than two letters, unless they are a number."""
    q = q.replace("\x00", "").strip().removeprefix("#")[:200]
    number = int(q) if q.isascii() and q.isdigit() and int(q[:11]) <= MAX_NUMBER else None
    if len(q) < 2 and number is None:  # noqa: PLR2004 - one letter is in everything
        return JumpTargets([], [], [])
    by_commit = Q(commit__istartswith=q)
    runs = Run.objects.for_project(project).select_related("suite")
    cases = TestCase.objects.filter(suite__project=project, same_as=None, name__icontains=q)
    return JumpTargets(
        runs=list(
            runs.filter(by_commit if number is None else by_commit | Q(number=number)).newest_first()[:LIMIT]
        ),
        cases=list(cases.select_related("suite").order_by("-last_seen_at")[:LIMIT]),
        suites=list(Suite.objects.filter(project=project, name__icontains=q).order_by("name")[:LIMIT]),
    )
