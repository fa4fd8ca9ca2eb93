"""Which tests a run of selected ones is made of, named as their tool knows them."""

from __future__ import annotations

from collections.abc import Sequence

from runs.ingestion.selectors import selector
from runs.models import Result, Run, TestCase
from runs.vocabulary import FAILING


def failing_cases(run: Run, *, limit: int) -> list[int]:
    """The ids of cases that failed in the run, in the report's order."""
    found = Result.objects.filter(run_at=run.run_at, run=run.pk, outcome__in=sorted(FAILING))
    return list(found.order_by("position", "case_id").values_list("case_id", flat=True)[:limit])


def selectors_of(case_ids: Sequence[int]) -> list[str]:
    """The tests' names for their tool, in order, each once; of cases that are gone none."""
    cases = TestCase.objects.in_bulk(list(case_ids)) if case_ids else {}
    names = [selector_of(cases[ident]) for ident in case_ids if ident in cases]
    return list(dict.fromkeys(names))


def selector_of(case: TestCase) -> str:
    """The test's name for its tool, in one line: whatever a report calls it, it names no other test."""
    name = selector(class_name=case.class_name, name=f"{case.name}{case.parameters}", file=case.file)
    return " ".join(name.splitlines())
