"""Every page there is, found by trying every address, on a project of strangers' words and on an empty one.

An address that is new is walked without being listed anywhere: what its parts are called has to be known to
`tests.runs.web.test_access.filled`, which that test demands as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from environments.models import Environment
from runs.actions.audit import note_change
from runs.actions.blaming import blame_run
from runs.actions.judging import judge_run
from runs.actions.pacing import pace_run
from runs.ingestion.attachments import Attachment
from runs.ingestion.details import Details, SuiteDetails, packed, packed_suites
from runs.models import (
    Channel,
    Delivery,
    Failure,
    Project,
    Quarantine,
    Report,
    ResultDetails,
    Run,
    Service,
    Suite,
    TestCase,
    Upload,
)
from runs.vocabulary import Outcome, Role, RunStatus
from runs.web.urls import urlpatterns
from tests.factories import make_event, make_member, make_project, make_rename, make_run, make_suite
from tests.rows import add_delivery, add_environment, add_log, add_results, hold_environment
from tests.runs.web.test_access import STREAMS, filled
from tests.storms import add_storm

#: What a stranger may call anything. PostgreSQL takes no NUL; what looks like one it does.
NASTY = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31mred\x1b[0m\u202egnp\x07"
    " 100% a/b?c=d#e&amp;\"'`\\x00␀ {{ 7*7 }} {% if %} 🦊"
)
HOSTILE = NASTY + "x" * 10_000
#: Other looks at a page, beside the plain one.
QUERIES: Mapping[str, tuple[str, ...]] = {
    "runs": ("?q=nothing-is-called-so", "?status=failed"),
    "run": ("?show=all", "?show=slow"),
    "test": ("?branch=all", "?chart=duration"),
    "compare": ("?base=main&head=nowhere", "?base=1&head=2&show=broke"),
    "jump": ("?q=x", "?q=%00%ff%3Cscript%3E"),
    "webhooks": ("?view=waiting", "?view=sent"),
    "environments": ("?before=1",),
    "renames": ("?view=decided",),
    "uploads": ("?status=rejected", "?status=%00&before=1", "?run=1"),
    "grid": ("?rows=all", "?order=similarity"),
    "flaky": ("?state=all",),
    "services": ("?days=28&service=", "?day=2026-13-01&service=%00"),
    "durations": ("?suite=x", "?suite=%00"),
}
#: Parts of addresses that lead nowhere, unless `filled` knows better.
UNKNOWN: dict[str, object] = {
    "account_id": 1,
    "channel_id": 1,
    "invitation_id": 1,
    "provider_id": "github",
    "secret": "unknown",
}
RUN_COUNT = 12


@dataclass(frozen=True, slots=True)
class Everything:
    """A project with rows of every kind, what its addresses are made of, and others of the same kind."""

    project: Project
    parts: Mapping[str, object]
    others: Mapping[str, tuple[object, ...]] = field(default_factory=dict)


def full_project(words: str = HOSTILE) -> Everything:
    """A project in which everything that people name is called by `words`."""
    project, parts = filled("public")
    project.name, project.default_branch = words[:120], "main"
    project.save()
    now = timezone.now()
    suite = make_suite(project, words[:110], definition={"compose": "compose.yml", "tests": "tests"})
    first = now - timedelta(hours=3 * RUN_COUNT)
    runs = [_run(suite, words, first + timedelta(hours=3 * index), index) for index in range(RUN_COUNT)]
    broken = runs[-1]
    # One part of addresses names both.
    Service.objects.create(project=project, name=suite.name, image=words[:500])
    storm = add_storm(broken, names=(words[:120] + "1", words[:120] + "2"))
    add_log(broken, words[:200] + "1", "INFO " + words, "ERROR " + words, "y" * 300_000, at=storm.created_at)
    make_event(broken, message=words, service=words[:250])
    live = make_run(suite, status=RunStatus.RUNNING, queued_at=now, started_at=now, branch=words[:250])
    _hold(add_storm(live, is_gone=False), now)
    errored = make_run(suite, status=RunStatus.ERRORED, queued_at=now, error_message=words + "\n" + words)
    failed = add_environment(errored, {words[:255]: (0.1, 0.2, None)})
    Environment.objects.filter(pk=failed.pk).update(failure_kind="never_healthy", error=words + "\n" + words)
    timed_out = make_run(suite, status=RunStatus.TIMED_OUT, queued_at=now, started_at=now)
    held = hold_environment(
        add_environment(timed_out, {words[:255]: (0.1, 0.2, 1)}, ready_after=1), run=timed_out, words=words
    )
    for run in runs:
        judge_run(run.pk)
        pace_run(run.pk)
        blame_run(run.pk)
    cases = list(TestCase.objects.filter(suite=suite).order_by("pk"))
    for status, decided_at in (("proposed", None), ("confirmed", now), ("refused", now)):
        proposal = make_rename(
            suite,
            status=status,
            decided_at=decided_at,
            old_place=words[:2_000],
            new_place=words[:2_000],
            run=broken,
        )
        TestCase.objects.filter(pk__in=[proposal.old_id, proposal.new_id]).update(
            name=words, class_name=words, same_as=None
        )
    # Its form takes no such owner; a row may come from elsewhere.
    Quarantine.objects.create(
        case=cases[1],
        reason=words[:2000],
        owner=words[:250],
        created_at=first,
        until=now + timedelta(days=9),
    )
    member = make_member(
        project, Role.MEMBER, username=words[:150], first_name=words[:150], last_name="y" * 150
    )
    note_change(
        project, by=member, action="token.revoked", subject=words[:500], data={words[:60]: words[:300]}
    )
    uploads = [_upload(run, words) for run in (broken, live)]
    deliveries = [add_delivery(run) for run in (broken, live)]
    deliveries.append(_send(project, words))
    return Everything(
        project,
        UNKNOWN
        | parts
        | {
            "fingerprint": bytes(Failure.objects.filter(project=project).latest("pk").fingerprint).hex(),
            "number": broken.number,
            "case_id": cases[2].pk,
            "name": suite.name,
            "environment_name": storm.name,
            "delivery_id": deliveries[0].pk,
            "upload_id": uploads[0].pk,
        },
        {
            "number": (live.number, errored.number, runs[0].number),
            "case_id": (cases[0].pk, cases[1].pk),
            "environment_name": (f"itd-{live.pk:08x}-1", failed.name, held.name),
            "delivery_id": (deliveries[2].pk,),
            "upload_id": (uploads[1].pk, parts["upload_id"]),
            "name": (parts["name"],),
        },
    )


def _upload(run: Run, words: str) -> Upload:
    """An upload of which something could not be taken; one to a live run waits."""
    upload = Upload.objects.create(
        project=run.project,
        run=run,
        status="partial" if run.is_finished else "received",
        stored_at=timezone.now() if run.is_finished else None,
        idempotency_key=words[:200] + str(run.number),
        fields={"branch": words[:250], "tags": {words[:200]: words[:2000]}},
        problems=[
            {"file": words[:1000], "line": 3, "reason": words},
            {"file": "", "line": None, "reason": "x"},
        ],
        try_count=2,
    )
    Report.objects.create(
        run=run,
        upload=upload,
        name=words[:1000],
        size=10,
        sha256="0" * 64,
        storage_name="none",
        status="rejected" if run.is_finished else "received",
    )
    return upload


def _send(project: Project, words: str) -> Delivery:
    """Channels that are called so, and what came of a message to one of them."""
    # Their forms take no such values; rows may come from elsewhere.
    channel = Channel.objects.create(
        project=project, kind="github", address=f"https://{words[:90]}", repository=words[:250], secret="s"
    )
    Channel.objects.create(
        project=project, kind="email", address=words[:2000], branches=[words[:250]] * 3, is_active=False
    )
    return Delivery.objects.create(
        project=project,
        direction="sent",
        provider="github",
        key=words[:250],
        channel=channel,
        event=words[:60],
        status="queued",
        reason=words + "\n" + words,
        payload={words[:60]: words},
        due_at=timezone.now(),
        try_count=3,
    )


def _run(suite: Suite, words: str, at: datetime, index: int) -> Run:
    is_last = index == RUN_COUNT - 1
    run = make_run(
        suite,
        status=RunStatus.FAILED if is_last or index % 4 == 1 else RunStatus.PASSED,
        queued_at=at,
        started_at=at,
        commit=f"{index // 2:040x}",
        branch=words[:250] if index % 5 == 4 else "main",
        commit_message=words,
        commit_author=words[:250],
        ref=words[:250],
        pull_request=words[:60],
        ci_url="javascript:alert(1)",
        tags={words[:60]: words[:100]},
        environment_facts={
            "images": {words[:60]: words[:100]},
            "tests": "tests",
            "services": {"tests": {"depends_on": [words[:60]]}, words[:60]: {"depends_on": []}},
        },
    )
    failing = Outcome.FAILED if is_last else Outcome.PASSED
    add_results(
        run,
        {
            words: failing,
            "test_flaky " + words: Outcome.FLAKY if index % 3 == 0 else Outcome.PASSED,
            "test_refund": Outcome.FAILED if index % 4 == 1 or is_last else Outcome.PASSED,
            "test_later": Outcome.SKIPPED,
            **{f"test_{number:02d}": Outcome.PASSED for number in range(30)},
        },
        message=words,
        text="E   " + words,
        duration_ms=1200 if index < RUN_COUNT // 2 else 4800,
    )
    if is_last:
        _tell(run, words)
    return run


def _tell(run: Run, words: str) -> None:
    """What reports say besides, of every test that did not pass and of a suite."""
    properties = ((words[:200], words[:2_000]), ("link", "javascript:alert(1)"))
    told = Details(properties, (Attachment(words[:200], words[:1_000], words[:100]),), words, words[:2_000])
    ResultDetails.objects.bulk_create(
        ResultDetails(
            run_at=run.run_at, run=run, case_id=case, number=1, attachment_count=1, body=packed(told)
        )
        for case in run.results.exclude(outcome=Outcome.PASSED).values_list("case_id", flat=True)
    )
    Report.objects.create(
        run=run,
        name="suites.xml",
        size=1,
        sha256="1" * 64,
        suite_properties=packed_suites([SuiteDetails((words,), 2, properties)]),
    )


def _hold(environment: Environment, now: datetime) -> None:
    Environment.objects.filter(pk=environment.pk).update(
        lease_expires_at=now + timedelta(hours=1), expires_at=now + timedelta(hours=1)
    )


def empty_project() -> Everything:
    """A project with nothing in it but a suite that never ran."""
    project = make_project("empty", visibility="public")
    return Everything(project, {"slug": project.slug, "name": make_suite(project, "never-ran").name})


def addresses(everything: Everything) -> Iterator[tuple[str, str]]:
    """Names and addresses that the parts suffice for, each part's others once, and every known query."""
    parts = {"slug": everything.project.slug, **everything.parts}
    for pattern in urlpatterns:
        name, wanted = str(pattern.name), pattern.pattern.converters
        if name in STREAMS or not set(wanted) <= set(parts):
            continue
        plain = {part: parts[part] for part in wanted}
        yield name, reverse(name, kwargs=plain)
        for query in QUERIES.get(name, ()):
            yield name, reverse(name, kwargs=plain) + query
        for part in wanted:
            for other in everything.others.get(part, ()):
                yield name, reverse(name, kwargs=plain | {part: other})


def unknown_parts(everything: Everything) -> set[str]:
    """Parts of addresses that nobody gave a value: their pages would not be walked."""
    known = {"slug", *everything.parts}
    return {part for pattern in urlpatterns for part in pattern.pattern.converters} - known


def answers(client: Client, everything: Everything) -> Iterator[tuple[str, str, Any]]:
    """What every address that may be read answers; those that only change something are left out."""
    for name, address in addresses(everything):
        answer = client.get(address)
        if answer.status_code != 405:
            yield name, address, answer


def is_page(answer: Any) -> bool:
    """A whole page, neither a part of one nor a way to another."""
    return not answer.streaming and answer.status_code == 200 and b"<html" in answer.content[:2000]
