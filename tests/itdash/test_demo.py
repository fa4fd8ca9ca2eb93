"""The demonstration's past: sent once, and never over somebody's own runs."""

from __future__ import annotations

import pytest

from itdash import demo
from runs.models import Project, Run
from runs.vocabulary import RunStatus
from tests.factories import make_project, make_run, make_suite

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_demonstration_that_has_its_past_gets_no_second_one() -> None:
    project = make_project("shop", is_sample=True)
    tags = {"sample": "1 of 1", "sample_until": "2026-11-21T08:00:00+00:00"}
    make_run(make_suite(project), status=RunStatus.PASSED, tags=tags)

    demo.ensure_past(project, None)

    assert Run.objects.count() == 1


def test_nor_does_one_whose_past_was_removed() -> None:
    project = make_project("shop")
    make_run(make_suite(project), status=RunStatus.PASSED)

    demo.ensure_past(project, None)

    assert Run.objects.count() == 1
    assert not Project.objects.get().is_sample
