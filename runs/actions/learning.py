"""Learn of suites that never ran, from the suite file that another suite's run read."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from runs.actions.projects import ensure_suite
from runs.actions.schedules import sync_schedules
from runs.actions.suites import remember_definition
from runs.actions.webhooks import look_again
from runs.models import Run, Suite
from runs.suitefile import SuiteSpec


def learn_suites(run: Run, specs: Mapping[str, SuiteSpec]) -> list[str]:
    """Make known what the run's suite file says of suites that nobody knew; return their names.

    Their schedules begin, and the push that started the run is looked at once more: it may mean them. Again
    changes nothing. A suite that another file defines stays that file's.
    """
    found = {suite.name: suite for suite in Suite.objects.filter(project=run.project_id, name__in=specs)}
    new = [name for name in specs if name not in found or _is_unread(found[name], run)]
    if not new:
        return []
    with transaction.atomic():
        for name in sorted(new):
            suite = ensure_suite(project=run.project, name=name, path=run.suite.path)
            remember_definition(suite, level=specs[name].level, definition=specs[name].definition)
            sync_schedules(suite, specs[name].schedules)
        look_again(run=run, why=f"Handled again: its suite file has {', '.join(new)}, which nobody knew.")
    return new


def _is_unread(suite: Suite, run: Run) -> bool:
    return not suite.definition and suite.path == run.suite.path
