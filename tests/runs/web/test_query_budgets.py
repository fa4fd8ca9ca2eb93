"""How many queries pages and lists of the API ask, whatever there is to show and however much of it.

The project here has everything a page may show, so that its number in `query_budgets.json` is the most that
any project asks for, and it is asked with two rows of each kind and with twelve.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from environments.models import Environment
from runs.api.root import api
from runs.ingestion.attachments import Attachment
from runs.ingestion.details import Details, SuiteDetails, packed, packed_suites
from runs.models import (
    Artifact,
    CaseDuration,
    CaseState,
    Quarantine,
    Report,
    Result,
    ResultDetails,
    Run,
    Service,
    Shard,
    Suite,
    TestCase,
    Upload,
)
from runs.vocabulary import Outcome, Role, RunStatus
from runs.web.access import RunAccess
from runs.web.live import Follower, View
from runs.web.urls import urlpatterns
from tests.every_page import UNKNOWN
from tests.factories import make_case, make_event, make_rename, make_run, make_suite, make_user
from tests.rows import add_blame, add_delivery, add_environment, add_log, add_results, hold_environment
from tests.runs.web.test_access import STREAMS, filled
from tests.runs.web.test_pages import fill

pytestmark = pytest.mark.django_db

BUDGETS = Path(__file__).parents[2] / "query_budgets.json"
#: What else a page may be asked for, as it costs other queries.
LOOKS: Mapping[str, str] = {
    "run all results": "run?show=all",
    "compare two runs": "compare?base={base}&head={number}",
    "compare two branches": "compare?base=main&head=feat/x",
    "flaky search": "flaky?q=test",
    "grid by likeness": "grid?order=similarity&q=test",
    "tests from there on": "tests?after={case_id}",
    "renames decided": "renames?view=decided",
    "uploads of a run": "uploads?run={number}",
    "webhooks sent": "webhooks?view=sent",
    "jump to something": "jump?q=refund",
}


@dataclass(frozen=True, slots=True)
class Full:
    """A run of a project that has everything, and what addresses there are made of."""

    run: Run
    parts: Mapping[str, object]


def full(rows: int) -> Full:
    """A project with `rows` of everything that brings a section of a page, or a query, of its own.

    Tests that are flaky, slower, in quarantine and never judged; failures that services are blamed for, on a
    red default branch; environments that are held; renames that wait and that were decided; reports that
    name files; uploads in part; sample data; and a run of a branch against the default one.
    """
    project, parts = filled("public")
    project.is_sample = True
    project.save()
    suite = make_suite(project, "checkout")
    Service.objects.create(project=project, name=suite.name)
    base = fill(suite, rows, test_slow=Outcome.PASSED, test_pay=Outcome.PASSED)
    head = _head(suite, base, rows)
    for run in (base, head):
        _tell(run)
    suite.runs.update(requested_by=make_user())
    judged_at = timezone.now()
    for number in range(rows):
        _judge(make_case(suite, f"test_judged_{number}"), base)
        _hold(make_case(suite, f"test_held_{number}"))
        for status, decided_at in (("proposed", None), ("confirmed", judged_at)):
            make_rename(suite, status=status, decided_at=decided_at, run=head, old_place=f"shop{number}")
    for run in suite.runs.all():
        add_delivery(run)
        hold_environment(Environment.objects.get(owner=f"run:{run.pk}"), run=run)
    flaky = suite.cases.get(name="test_race")
    _judge(flaky, base)
    _judge(suite.cases.get(name="test_slow"), base)
    for name in ("test_race", "test_refund"):
        _hold(suite.cases.get(name=name))
    failure = head.results.filter(outcome=Outcome.FAILED).latest("position").failure
    return Full(
        head,
        UNKNOWN
        | parts
        | {
            "name": suite.name,
            "number": head.number,
            "base": base.number,
            "case_id": flaky.pk,
            "fingerprint": bytes(failure.fingerprint).hex() if failure else "",
            "environment_name": f"itd-{head.pk:08x}-1",
            "upload_id": head.uploads.get().pk,
            "delivery_id": head.deliveries.get().pk,
            "project": project.slug,
            "run_id": head.pk,
            "test_id": flaky.pk,
        },
    )


def _head(suite: Suite, base: Run, rows: int) -> Run:
    """A run with what is new, slower, flaky, in quarantine and excused by gates."""
    now = timezone.now()
    head = make_run(
        suite,
        status=RunStatus.FAILED,
        branch="feat/x",
        commit="b" * 40,
        queued_at=now,
        started_at=now,
        # A page goes on asking for a while after the end, however slow this test is.
        finished_at=now + timedelta(hours=1),
        gates={"new_failures": 0},
        verdict_base=base,
        verdict_reasons=["Fails: 1 new failure."],
        rerun_of=base,
        pinned_by=make_user(),
        pinned_at=now,
        environment_facts={
            "images": {"postgres": "postgres:18"},
            "tests": "tests",
            "services": {"tests": {"depends_on": ["postgres"]}, "postgres": {"depends_on": []}},
        },
    )
    outcomes = {"test_slow": Outcome.PASSED, "test_refund": Outcome.FAILED, "test_race": Outcome.FLAKY}
    broken = {f"test_new_{number}": Outcome.FAILED for number in range(rows)}
    add_results(head, outcomes | {"test_pay": Outcome.FAILED} | broken)
    slow = suite.cases.get(name="test_slow")
    Result.objects.filter(run_at=head.run_at, run=head, case=slow).update(duration_ms=60_000)
    for result in head.results.filter(outcome=Outcome.FAILED):
        add_blame(result, "postgres", suite.name)
    add_environment(head, {"postgres": (0.1, 0.2, 1.0)}, ready_after=1.0)
    Shard.objects.create(run=head, number=2, status=RunStatus.FAILED, exit_code=1)
    for number in range(rows):
        add_log(head, "postgres", "LOG ready")
        make_event(head, "mark", data={"test": f"test_{number}", "phase": "start"})
        Artifact.objects.create(run=head, path=f"/{number}.png", size=1, sha256="0" * 64, storage_name="none")
    problem = {"file": "a.xml", "line": 3, "reason": "cut off"}
    upload = Upload.objects.create(
        project=suite.project, run=head, status="partial", stored_at=now, problems=[problem] * rows
    )
    told = packed_suites([SuiteDetails(("s",), 1, (("name", "value"),))])
    Report.objects.create(
        run=head, upload=upload, name="a.xml", size=1, sha256="0" * 64, suite_properties=told
    )
    return head


def _tell(run: Run) -> None:
    """What a report says of each test besides, with a file that it names."""
    body = packed(Details((("name", "value"),), (Attachment("shot", "0.png", "image/png"),), "printed"))
    ResultDetails.objects.bulk_create(
        ResultDetails(run_at=run.run_at, run=run, case_id=case, number=1, attachment_count=1, body=body)
        for case in run.results.values_list("case_id", flat=True)
    )


def _judge(case: TestCase, base: Run) -> None:
    """Flaky, and slower than it was."""
    now = timezone.now()
    CaseState.objects.create(case=case, flakiness="flaky", lost_ms_per_week=1, changed_at=now, judged_at=now)
    CaseDuration.objects.create(
        case=case,
        recent_ms=[1200] * 12,
        last_run_at=now,
        p50_ms=1200,
        p95_ms=1300,
        before_ms=600,
        after_ms=1200,
        p_value=0.0001,
        is_slower=True,
        changed_run=base,
        judged_at=now,
    )


def _hold(case: TestCase) -> None:
    now = timezone.now()
    Quarantine.objects.create(
        case=case, reason="a race", created_at=now - timedelta(days=1), until=now + timedelta(days=1)
    )


def pages(parts: Mapping[str, object]) -> dict[str, str]:
    """Every address that the parts suffice for, by the name of its page, and every other look."""
    plain = {}
    for pattern in urlpatterns:
        wanted = pattern.pattern.converters
        if pattern.name not in STREAMS and set(wanted) <= set(parts):
            plain[str(pattern.name)] = reverse(
                str(pattern.name), kwargs={part: parts[part] for part in wanted}
            )
    looks = {name: look.format_map(parts).partition("?") for name, look in LOOKS.items()}
    return {name.replace("-", " "): address for name, address in plain.items()} | {
        name: f"{plain[page]}?{query}" for name, (page, _, query) in looks.items()
    }


def lists(parts: Mapping[str, object]) -> dict[str, str]:
    """Every GET of the API by its path."""
    found = {}
    for path, operations in api.get_openapi_schema()["paths"].items():
        if "get" in operations:
            address = re.sub(r"{(\w+)}", lambda part: str(parts[part[1]]), path)
            split = f"?suite={parts['name']}&shards=2&as_of=2026-11-21T08:00:00Z"
            found[path] = address + (split if path.endswith("/split") else "")
    return found


def asked(client: Client, addresses: Mapping[str, str]) -> dict[str, int]:
    """The queries of each address that shows something; the others only change something or lead on."""
    counts = {}
    for name, address in addresses.items():
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
            if answer.streaming:
                b"".join(answer)
        if answer.status_code in {200, 286}:
            counts[name] = len(
                [one for one in queries if not one["sql"].startswith(("SAVEPOINT", "RELEASE"))]
            )
    return counts


@pytest.mark.parametrize("rows", [2, 12])
def test_pages_and_lists_keep_to_their_query_budgets_whatever_they_show(client: Client, rows: int) -> None:
    parts = full(rows).parts
    client.force_login(make_user(is_superuser=True))

    found = {"pages": asked(client, pages(parts)), "api": asked(client, lists(parts))}

    budgets = json.loads(BUDGETS.read_text())
    assert found == {kind: budgets[kind] for kind in found}


@pytest.mark.parametrize("rows", [2, 12])
def test_following_a_run_keeps_to_its_query_budgets(rows: int) -> None:
    run = full(rows).run
    follower = Follower(
        RunAccess(project=run.project, role=Role.VIEWER, run=run), View(), 0, clock=lambda: 0.0
    )
    follower.changes()
    counts = {}

    with CaptureQueriesContext(connection) as queries:
        assert follower.changes().html == ""
    counts["while it stands still"] = len(queries)
    make_event(run, message="the end")
    with CaptureQueriesContext(connection) as queries:
        assert "the end" in follower.changes().html
    counts["when it changed"] = len(queries)

    assert counts == json.loads(BUDGETS.read_text())["following a run"]
