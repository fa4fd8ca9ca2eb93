"""The only place that changes a run's status.

A worker proves its right to a run with a `Claim`: the fence in it was raised when the run was claimed, so
whatever a worker that lost its lease still tries to write changes nothing.

Rows are locked with `no_key`: whoever writes an event, a line or a result refers to the run and must
not wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.db import transaction
from django.db.models import ExpressionWrapper, F, PositiveBigIntegerField, QuerySet, Value
from django.db.models.expressions import CombinedExpression, RawSQL
from django.db.models.functions import Coalesce, Now

from runs.actions.announcing import announce_run
from runs.actions.audit import note_change
from runs.actions.commits import refuse_bad_commit
from runs.actions.errors import InvalidValueError, NotPossibleError
from runs.actions.events import NewEvent, record_event, said
from runs.actions.new_runs import fitting, known_run, moments, next_number, take_number
from runs.actions.projects import ensure_suite
from runs.actions.results import broken_off
from runs.actions.rollups import count_run, take_run_out
from runs.actions.selection import failed_selection
from runs.actions.uploaded_shards import OPEN_AGAIN, expect_shards, missing_shards, said_missing
from runs.actions.verdicts import decide_verdict
from runs.dispatch import Work, after_commit
from runs.models import Project, Run, Shard, Token, User
from runs.suitefile import gates_of
from runs.vocabulary import ACTIVE, FINISHED, ErrorReason, RunStatus, Trigger, UploadStatus, Verdict

#: A run is tried again once when its worker or its engine was lost and nothing was reported.
TRY_LIMIT = 2

_ACTIVE = sorted(ACTIVE)
#: Runs that end so say something about their tests.
TELLING = {RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT}
#: NULL for a run that never began.
_ELAPSED_MS = """
    CASE WHEN started_at <= statement_timestamp()
    THEN (EXTRACT(EPOCH FROM statement_timestamp() - started_at) * 1000)::bigint END
"""
#: When statuses of shards are one run's, the first of these that occurs is the run's.
_GRAVEST_FIRST = [
    RunStatus.CANCELLED,
    RunStatus.ERRORED,
    RunStatus.TIMED_OUT,
    RunStatus.FAILED,
    RunStatus.PASSED,
]


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to a run. It holds while the row has the same owner and fence."""

    run_id: int
    owner: str
    fence: int


class Renewal(StrEnum):
    """What came of asking for more time."""

    HELD = "held"
    #: Held, and somebody wants the run to end.
    CANCEL_REQUESTED = "cancel_requested"
    #: The run is somebody else's or finished.
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run, or one shard of it, ended. `reason` is set with status `errored`, and only then."""

    status: RunStatus
    message: str = ""
    reason: ErrorReason | None = None


def queue_run(  # noqa: PLR0913 - keywords only, the fields of a request
    *,
    project: Project,
    suite: str,
    trigger: Trigger,
    ref: str = "",
    commit: str = "",
    branch: str = "",
    pull_request: str = "",
    by: User | None = None,
    idempotency_key: str | None = None,
    rerun_of: Run | None = None,
    selection: Sequence[int] = (),
) -> Run:
    """Queue a run of the suite on a commit, or on what `ref` (the default branch) points to by then.

    Of all its tests, or of those in `selection`, by id.

    Raises:
        InvalidValueError: the project has no repository, or a value cannot be.
        TakenError: the idempotency key was used for a run of something else.
    """
    if not project.repository_url:
        message = "The project has no repository to run from. Set its address in the project's settings."
        raise InvalidValueError("project", message)
    refuse_bad_commit(commit)
    ref = ref or ("" if commit else project.default_branch)
    with transaction.atomic():
        next_number(project)  # locks the project: of two that ask under one key the second is told the run
        known = known_run(project, idempotency_key, suite=suite, ref=ref, commit=commit)
        if known is not None:
            return known
        run = Run.objects.create(
            project=project,
            suite=ensure_suite(project=project, name=suite),
            number=take_number(project),
            status=RunStatus.QUEUED,
            trigger=trigger,
            requested_by=by,
            ref=fitting("ref", ref),
            branch=fitting("branch", branch),
            commit=commit,
            pull_request=pull_request,
            rerun_of=rerun_of,
            selection=list(selection),
            idempotency_key=idempotency_key,
            **moments(),
        )
        record_event(run.pk, NewEvent("queued", f"Queued by {by or trigger}."))
        announce_run(run.pk)
        after_commit(Work.EXECUTE_RUN, run.pk)
    return run


def rerun_run(
    *,
    run_id: int,
    by: User | None,
    failed_only: bool = False,
    token: Token | None = None,
    trigger: Trigger = Trigger.PERSON,
) -> Run:
    """Queue the same suite on the same commit once more: all of its tests, or only those that failed.

    Raises:
        NotPossibleError: the run came from an upload; only the CI that made it can run it again. Or only
            the failed tests are wanted, and there are none or too many.
    """
    run = Run.objects.select_related("project", "suite").get(pk=run_id)
    if run.trigger == Trigger.UPLOAD:
        message = "This run was uploaded by another CI. Run it again there."
        raise NotPossibleError(message)
    with transaction.atomic():
        again = queue_run(
            project=run.project,
            suite=run.suite.name,
            trigger=trigger,
            ref=run.ref,
            commit=run.commit,
            branch=run.branch,
            pull_request=run.pull_request,
            by=by,
            rerun_of=run,
            selection=failed_selection(run) if failed_only else (),
        )
        _note(run, "run.rerun", by, token)
    return again


def cancel_run(*, run_id: int, by: User | None, token: Token | None = None, why: str = "") -> Run:
    """End a run that is not finished: at once while it is queued, else as soon as its worker hears of it.

    `why` is the sentence to tell where no person asked for it.

    Raises:
        NotPossibleError: it is finished.
    """
    person = str(by) if by else "somebody"
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).get(pk=run_id)
        if run.status in FINISHED:
            message = f"Run {run} is finished; there is nothing to cancel."
            raise NotPossibleError(message)
        if run.status == RunStatus.QUEUED:
            said_so = why or f"Cancelled by {person}."
            _finish(Run.objects.filter(pk=run_id), Ending(RunStatus.CANCELLED, said_so))
            record_event(run_id, NewEvent("finished", why or f"Cancelled by {person} before it began."))
        elif run.cancel_requested_at is None:
            Run.objects.filter(pk=run_id).update(cancel_requested_at=Now())
            asked = why or f"{person} asked for the run to end."
            record_event(run_id, NewEvent("cancel_requested", asked))
        _note(run, "run.cancelled", by, token)
    run.refresh_from_db()
    return run


def _note(run: Run, action: str, by: User | None, token: Token | None) -> None:
    """Into the audit log what somebody did; what itdash does itself is on the run's timeline."""
    if by is not None or token is not None:
        note_change(run.project, by=by, token=token, action=action, subject=f"Run {run.number}")


def claim_run(run_id: int, *, owner: str) -> Claim | None:
    """Take a queued run; None when it is not there to be taken."""
    with transaction.atomic():
        claimed = Run.objects.filter(pk=run_id, status=RunStatus.QUEUED).update(
            status=RunStatus.PREPARING,
            lease_owner=owner,
            lease_expires_at=_lease_end(),
            fence=F("fence") + 1,
            try_count=F("try_count") + 1,
            started_at=Coalesce("started_at", Now()),
        )
        if not claimed:
            return None
        fence = Run.objects.values_list("fence", flat=True).get(pk=run_id)
        record_event(run_id, NewEvent("claimed", f"Taken by {owner}.", data={"owner": owner, "fence": fence}))
    return Claim(run_id=run_id, owner=owner, fence=fence)


def renew_lease(claim: Claim) -> Renewal:
    """Hold the run for another `RUN_LEASE_SECONDS`."""
    if not held_run(claim).update(lease_expires_at=_lease_end()):
        return Renewal.LOST
    return _ask(claim)


def ask_for_cancel(claim: Claim) -> Renewal:
    """Look whether the run is still ours and wanted, without writing."""
    return _ask(claim)


def note_facts(claim: Claim, **facts: object) -> bool:
    """Write what was found out about the run, such as its commit; False when the claim no longer holds."""
    return held_run(claim).update(**facts) == 1


def advance_run(claim: Claim, status: RunStatus) -> bool:
    """Move an active run on; False when the claim no longer holds."""
    return held_run(claim).update(status=status) == 1


def finish_run(claim: Claim, ending: Ending) -> bool:
    """End the run; False, and nothing written, when the claim no longer holds."""
    with transaction.atomic():
        if not _finish(held_run(claim), ending):
            return False
        record_event(
            claim.run_id,
            NewEvent("finished", ending.message or f"The run {said(ending.status)}.", data=facts_of(ending)),
        )
    return True


def release_run(claim: Claim) -> bool:
    """Give a run back unharmed because the worker is being stopped: queued again, the try not counted."""
    with transaction.atomic():
        released = held_run(claim).update(
            status=RunStatus.QUEUED,
            lease_owner="",
            lease_expires_at=None,
            try_count=F("try_count") - 1,
            rung_at=None,
        )
        if released:
            record_event(claim.run_id, NewEvent("requeued", "The worker is stopping; another takes over."))
    return released == 1


def requeue_run(claim: Claim, *, why: str) -> bool:
    """Queue a run once more whose engine went away under it before anything was reported.

    False when it was tried often enough, has reported, never had an engine, or is wanted no more: it is to be
    finished then. No bell is rung: the sweeper rings when the engine has had time to come back.
    """
    with transaction.atomic():
        wanted = held_run(claim).filter(try_count__lt=TRY_LIMIT, test_count=0, cancel_requested_at=None)
        requeued = wanted.exclude(engine="").update(
            status=RunStatus.QUEUED, lease_owner="", lease_expires_at=None, rung_at=Now()
        )
        if requeued:
            again = f"{why} Nothing was reported yet: the run is tried once more."
            record_event(claim.run_id, NewEvent("requeued", again))
    return requeued == 1


def resolve_lapsed_run(run_id: int) -> RunStatus | None:
    """Decide about an active run whose worker fell silent; None when it is not (any more) such a run.

    A worker that holds the row locked, for instance while it stores results, is not silent.
    """
    with transaction.atomic():
        run = (
            Run.objects.select_for_update(skip_locked=True, no_key=True)
            .filter(pk=run_id, status__in=_ACTIVE, lease_expires_at__lt=Now())
            .first()
        )
        if run is None:
            return None
        lost = NewEvent("worker_lost", f"{run.lease_owner} fell silent while the run was {run.status}.")
        record_event(run_id, lost)
        return _resolve(run)


def _resolve(run: Run) -> RunStatus:
    own = Run.objects.filter(pk=run.pk)
    judged = _judged_by_shards(run)
    reported = run.test_count > 0
    if run.cancel_requested_at is not None:
        ending = Ending(RunStatus.CANCELLED, "Cancelled; its worker was lost meanwhile.")
    elif judged is not None:
        ending = judged
    elif run.try_count < TRY_LIMIT and not reported:
        own.update(
            status=RunStatus.QUEUED,
            lease_owner="",
            lease_expires_at=None,
            rung_at=Now(),
            fence=F("fence") + 1,
        )
        record_event(run.pk, NewEvent("requeued", "Nothing was reported yet: the run is tried once more."))
        after_commit(Work.EXECUTE_RUN, run.pk)
        return RunStatus.QUEUED
    else:
        kept = " What was reported until then is kept." if reported else ""
        message = f"The worker {run.lease_owner} was lost while the run was {run.status}.{kept} Run it again."
        ending = Ending(RunStatus.ERRORED, message, ErrorReason.WORKER_LOST)
    _finish(own, ending)
    record_event(run.pk, NewEvent("finished", ending.message or f"The run {said(ending.status)}."))
    return ending.status


def _judged_by_shards(run: Run) -> Ending | None:
    """Say how it ended when the tests of all its shards have spoken and only the last word is missing."""
    if run.status != RunStatus.INGESTING:
        return None
    unread = set(run.reports.exclude(status=UploadStatus.STORED).values_list("shard", flat=True))
    endings = [_judged_by_tests(shard) for shard in run.shards.all() if shard.number not in unread]
    judged = [ending for ending in endings if ending is not None]
    return gravest(judged) if judged and len(judged) == run.shards.count() else None


def _judged_by_tests(shard: Shard) -> Ending | None:
    if shard.status in {RunStatus.PASSED, RunStatus.FAILED, RunStatus.TIMED_OUT}:
        return Ending(RunStatus(shard.status))
    if shard.status in FINISHED or shard.exit_code is None or not shard.test_count:
        return None
    is_good = shard.exit_code == 0 and not shard.failed_count
    return Ending(RunStatus.PASSED if is_good else RunStatus.FAILED)


def gravest(endings: Sequence[Ending]) -> Ending:
    """How a run ended whose shards ended like this."""
    return min(endings, key=lambda ending: _GRAVEST_FIRST.index(ending.status))


def open_uploaded_run(
    *,
    project: Project,
    suite: str,
    run_key: str | None,
    started_at: datetime | None = None,
    shards: int | None = None,
    **facts: object,
) -> tuple[Run, bool]:
    """Find the run that uploads of this key share, or make it; say whether it was made.

    It waits for as many `shards`. `facts` are the run's fields `branch`, `commit`, `pull_request`, `ci_url`,
    `tags`, `environment_facts`. A run that had an end is open again until `settle_uploaded_run`.
    """
    own_suite = ensure_suite(project=project, name=suite)
    with transaction.atomic(savepoint=False):
        if run_key:
            next_number(project)  # locks the project: two uploads of one key make one run
            known = Run.objects.filter(suite=own_suite, run_key=run_key).first()
            if known is not None:
                expect_shards(known, shards)
                return known, False
        begun = moments(started_at)
        run = Run.objects.create(
            project=project,
            suite=own_suite,
            # As late as can be: until this is committed, the project's other uploads wait.
            number=take_number(project),
            status=RunStatus.INGESTING,
            trigger=Trigger.UPLOAD,
            run_key=run_key or None,
            shards_expected=shards,
            gates=gates_of(own_suite.definition).facts(),
            started_at=begun["run_at"],
            **begun,
            **facts,
        )
        record_event(run.pk, NewEvent("uploaded", "An upload opened the run."))
    return run, True


def settle_uploaded_run(
    run_id: int, *, problem: str = "", duration_ms: int | None = None, is_over: bool = False
) -> RunStatus:
    """Say how an uploaded run ended, from its totals, or keep it open until its shards are in or the waiting
    `is_over`; to be called again after each upload. `problem` is for people when nothing could be read."""
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).get(pk=run_id)
        missing = missing_shards(run)
        if missing and not is_over:
            return _reopen(run)
        ending = _judge_totals(run, problem, said_missing(run, missing))
        _finish(Run.objects.filter(pk=run_id), ending, duration_ms=duration_ms)
        ended_at = run.run_at + timedelta(milliseconds=duration_ms or 0)
        if ended_at < datetime.now(tz=UTC):  # an old report's tests did not end when it came
            Run.objects.filter(pk=run_id).update(finished_at=ended_at)
        if run.status != ending.status:
            record_event(run_id, NewEvent("finished", ending.message or f"The run {said(ending.status)}."))
    return ending.status


def _reopen(run: Run) -> RunStatus:
    if run.is_finished:
        take_run_out(run.pk)
        Run.objects.filter(pk=run.pk).update(**OPEN_AGAIN)
        announce_run(run.pk)
    return RunStatus.INGESTING


def _judge_totals(run: Run, problem: str, missing: str) -> Ending:
    if missing and run.cancel_requested_at is not None:
        return Ending(RunStatus.CANCELLED, missing)
    if run.failed_count or run.errored_count:
        return Ending(RunStatus.FAILED, missing)
    if missing:
        return Ending(RunStatus.ERRORED, missing, ErrorReason.NO_REPORT)
    if run.test_count:
        told = broken_off(run.pk)
        return (
            Ending(RunStatus.ERRORED, told, ErrorReason.REPORT_UNREADABLE)
            if told
            else Ending(RunStatus.PASSED)
        )
    message = problem or "No test case was found in what was uploaded."
    return Ending(
        RunStatus.ERRORED, message, ErrorReason.REPORT_UNREADABLE if problem else ErrorReason.NO_REPORT
    )


def held_run(claim: Claim) -> QuerySet[Run]:
    """Return the claim's run while it holds, nothing after: what every write of a worker goes through."""
    return Run.objects.filter(pk=claim.run_id, lease_owner=claim.owner, fence=claim.fence, status__in=_ACTIVE)


def _ask(claim: Claim) -> Renewal:
    requested = held_run(claim).values_list("cancel_requested_at").first()
    if requested is None:
        return Renewal.LOST
    return Renewal.HELD if requested[0] is None else Renewal.CANCEL_REQUESTED


def _lease_end() -> CombinedExpression:
    return Now() + timedelta(seconds=settings.RUN_LEASE_SECONDS)


def _finish(runs: QuerySet[Run], ending: Ending, *, duration_ms: int | None = None) -> int:
    """Write the end and everything that follows from it; the shards that had none get the run's."""
    elapsed = Value(duration_ms) if duration_ms is not None else RawSQL(_ELAPSED_MS, [])  # noqa: S611 - a constant
    finished = list(runs.values_list("pk", flat=True).select_for_update(no_key=True))
    holding = {run_id for run_id in finished if take_run_out(run_id)}
    Run.objects.filter(pk__in=finished).update(
        status=ending.status,
        error_reason=ending.reason or "",
        error_message=ending.message,
        verdict=Verdict.NONE,
        finished_at=Now(),
        duration_ms=ExpressionWrapper(elapsed, output_field=PositiveBigIntegerField()),
        lease_owner="",
        lease_expires_at=None,
    )
    Shard.objects.filter(run__in=finished, finished_at=None).update(status=ending.status, finished_at=Now())
    for run_id in finished:
        if ending.status in TELLING:
            decide_verdict(run_id)
        if ending.status in TELLING or run_id in holding:  # what told something before is taken back
            after_commit(Work.JUDGE_RUN, run_id)
        count_run(run_id)
        announce_run(run_id)
    return len(finished)


def facts_of(ending: Ending) -> dict[str, str]:
    """Return what an event says of an ending."""
    return {"status": ending.status, "reason": ending.reason or ""}
