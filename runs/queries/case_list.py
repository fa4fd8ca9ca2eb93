"""The list of tests, the most recently seen first."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Q

from runs.models import Project, TestCase
from runs.queries.run_page import recent_strips

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A test with its last results, oldest first."""

    case: TestCase
    strip: str


@dataclass(frozen=True, slots=True)
class CasePage:
    """One page of tests."""

    q: str
    rows: list[CaseRow]
    #: Query string of the next page; empty at the end.
    older: str


def case_page(project: Project, *, q: str = "", before: str = "") -> CasePage:
    """Two queries. `before` is the id from which the page goes on."""
    q = q.replace("\x00", "").strip()[:200]
    cases = TestCase.objects.filter(suite__project=project).select_related("suite")
    if q:
        cases = cases.filter(Q(name__icontains=q) | Q(class_name__icontains=q) | Q(suite__name__icontains=q))
    if before.isascii() and before.isdigit() and len(before) < 19:  # noqa: PLR2004 - a bigint
        cases = cases.filter(pk__lt=int(before))
    found = list(cases.order_by("-pk")[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    strips = recent_strips([case.pk for case in shown])
    more = {"q": q, "before": shown[-1].pk} if len(found) > PAGE_SIZE else {}
    return CasePage(
        q=q,
        rows=[CaseRow(case=case, strip=strips.get(case.pk, "")) for case in shown],
        older=f"?{urlencode({name: value for name, value in more.items() if value})}" if more else "",
    )
