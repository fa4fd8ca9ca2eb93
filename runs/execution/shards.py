"""One shard: an environment of its own, the tests in it, and what they leave."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection

from environments.engine import Engine, LogLine, ServiceState
from environments.errors import (
    DeadlineExceededError,
    EnvironmentFailedError,
    Evidence,
    StoppedError,
)
from environments.lifecycle import (
    EnvironmentRequest,
    Happening,
    HappeningKind,
    Keep,
    LiveEnvironment,
    Recipe,
    provisioned,
)
from environments.lifecycle.requests import EVERY_SERVICE
from environments.plan import start_seconds
from runs.actions.errors import RunLostError
from runs.actions.events import NewEvent, NewLine
from runs.actions.results import ReportFile, StoredReports, store_reports
from runs.actions.runs import Claim, Ending, advance_run, held_run
from runs.actions.shards import begin_shard, finish_shard, note_shard
from runs.execution.collect import ARTIFACT_BOUNDS, REPORT_BOUNDS, take_artifacts, take_reports
from runs.execution.endings import Reported, ending_of_error, ending_of_reports
from runs.execution.keeping import is_worth_a_look
from runs.execution.lease import Lease
from runs.execution.outages import through_outages
from runs.execution.plans import ShardPlan
from runs.execution.recorder import Recorder
from runs.models import Shard
from runs.suitefile import Hook, SuiteSpec
from runs.vocabulary import ErrorReason, RunStatus

logger = logging.getLogger(__name__)

HOOK_TIMEOUT_SECONDS = 600.0
IMAGE_TIMEOUT_SECONDS = 1200.0
START_TIMEOUT_SECONDS = 120.0
#: Beyond all the time-outs of an environment, for collecting and removing.
_SLACK_SECONDS = 900.0
_LOOK_SECONDS = 0.1


class HookFailedError(Exception):
    """A `before` command of the suite file did not do its work."""


class Progress:
    """Moves a run on as its shards do: running with the first test, ingesting after the last."""

    def __init__(self, lease: Lease, *, shard_count: int) -> None:
        self._lease = lease
        self._lock = threading.Lock()
        self._testing = set(range(1, shard_count + 1))
        self._is_running = False

    def tests_began(self) -> None:
        """A shard's tests have started."""
        with self._lock:
            if not self._is_running:
                self._move(RunStatus.RUNNING)
            self._is_running = True

    def tests_over(self, shard: int) -> None:
        """A shard's tests have ended, or will never start; may be said twice."""
        with self._lock:
            if shard in self._testing and not self._lease.stop.is_set():
                self._testing.remove(shard)
                if not self._testing:
                    self._move(RunStatus.INGESTING)

    def _move(self, status: RunStatus) -> None:
        through_outages(lambda: advance_run(self._lease.claim, status), lease=self._lease)


@dataclass(slots=True)
class Job:
    """One run being executed: what all of its shards share."""

    lease: Lease
    recorder: Recorder
    engine: Engine
    suite: SuiteSpec
    #: Where reports lie until they are stored.
    collected: Path
    progress: Progress
    #: Only these tests are to be run, as their tool names them; all when empty.
    selected: Sequence[str] = ()
    #: How long an environment that failed is held for a person; None for not at all.
    keep: Keep | None = None
    #: Image by service, as it turns out.
    images: dict[str, str] = field(default_factory=dict)

    @property
    def claim(self) -> Claim:
        """The right to the run."""
        return self.lease.claim

    def tell(self, shard: int, kind: str, message: str, *, service: str = "", **data: object) -> None:
        """Put an event on the timeline."""
        self.recorder.event(NewEvent(kind, message, shard=shard, service=service, data=data))


def execute_shard(job: Job, plan: ShardPlan, judged: Future[Ending]) -> None:
    """Run one shard. `judged` gets its ending as soon as it is known, before the environment is removed."""
    try:
        through_outages(
            lambda: begin_shard(job.claim, plan.number, variables=dict(plan.variables)), lease=job.lease
        )
        _execute(job, plan, judged)
    except Exception as error:  # noqa: BLE001 - whatever it was, the run gets to hear it
        _fail(job, plan, judged, error)
    finally:
        connection.close()


def _execute(job: Job, plan: ShardPlan, judged: Future[Ending]) -> None:
    with provisioned(
        _request(job, plan),
        engine=job.engine,
        tell=_Timeline(job, plan.number),
        log=_Log(job, plan.number),
        stop=job.lease.stop,
    ) as environment:
        name = environment.ref.name
        through_outages(lambda: note_shard(job.claim, plan.number, environment_name=name), lease=job.lease)
        _run_hooks(job, plan, environment)
        environment.start_tests()
        _move(job, plan, RunStatus.RUNNING)
        job.progress.tests_began()
        ended = _await_tests(job, environment)
        _move(job, plan, RunStatus.INGESTING)
        job.progress.tests_over(plan.number)
        reports = _collect(job, plan, environment)
        ending = _store_and_judge(job, plan, reports, ended)
        # Held before the run is finished: whoever is told of its end is told of this.
        if is_worth_a_look(ending):
            environment.hold(ending.message)
        judged.set_result(ending)


def _move(job: Job, plan: ShardPlan, status: RunStatus) -> None:
    through_outages(lambda: note_shard(job.claim, plan.number, status=status), lease=job.lease)


@dataclass(frozen=True, slots=True)
class _TestsEnded:
    """How the tests' process ended; both are None while it is still running after its time."""

    state: ServiceState | None = None
    error: EnvironmentFailedError | None = None


def _request(job: Job, plan: ShardPlan) -> EnvironmentRequest:
    start = start_seconds(plan.spec, otherwise=START_TIMEOUT_SECONDS)
    time_allowed = IMAGE_TIMEOUT_SECONDS + start + job.suite.timeout_seconds + _SLACK_SECONDS
    if job.keep is not None:
        # Labels cannot be changed: they allow for the longest that a person may have it held.
        time_allowed += settings.HELD_LONGEST_SECONDS
    return EnvironmentRequest(
        owner=f"run:{job.claim.run_id}",
        shard=plan.number,
        spec=plan.spec,
        tests=job.suite.tests,
        expires_at=datetime.now(tz=UTC) + timedelta(seconds=time_allowed),
        variables={
            EVERY_SERVICE: {"CI": "true", "ITDASH": "true"},
            job.suite.tests: {
                "ITDASH_RUN_ID": str(job.claim.run_id),
                "ITDASH_SHARD": str(plan.slice_number),
                "ITDASH_SHARDS": str(plan.slice_count),
                **({"ITDASH_TESTS": "\n".join(job.selected)} if job.selected else {}),
            },
        },
        keep=job.keep,
        recipes={name: Recipe(hook.service, hook.run) for name, hook in job.suite.data.items()},
        most_memory_bytes=plan.quota.memory_bytes,
        start_timeout_seconds=START_TIMEOUT_SECONDS,
        image_timeout_seconds=IMAGE_TIMEOUT_SECONDS,
    )


def _run_hooks(job: Job, plan: ShardPlan, environment: LiveEnvironment) -> None:
    try:
        for hook in job.suite.before:
            _run_hook(job, plan, environment, hook)
    except HookFailedError as error:
        environment.hold(str(error))
        raise


def _run_hook(job: Job, plan: ShardPlan, environment: LiveEnvironment, hook: Hook) -> None:
    timeout_seconds = min(HOOK_TIMEOUT_SECONDS, job.suite.timeout_seconds)
    command = ["/bin/sh", "-c", hook.run]
    result = _unless_stopped(
        lambda: environment.run_in(hook.service, command, timeout_seconds=timeout_seconds), job.lease.stop
    )
    for text in result.output.splitlines():
        job.recorder.line(NewLine(datetime.now(tz=UTC), plan.number, hook.service, text))
    if result.timed_out or result.exit_code != 0:
        how = (
            f"did not end in {timeout_seconds:g} s" if result.timed_out else f"ended with {result.exit_code}"
        )
        said = "\n".join(result.output.strip().splitlines()[-8:])
        message = f"The `before` command `{hook.run}` in {hook.service} {how}.\n{said}".strip()
        raise HookFailedError(message)


def _unless_stopped[T](call: Callable[[], T], stop: threading.Event) -> T:
    """Wait for a call that nothing can interrupt, but not when the run is stopped: what it waits for is
    removed then, and so it ends."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - carried to who waits
            answer.set_exception(error)
        finally:
            connection.close()

    threading.Thread(target=work, daemon=True).start()
    while not stop.is_set():
        if wait([answer], timeout=_LOOK_SECONDS).done:
            return answer.result()
    message = "stopped during a `before` command"
    raise StoppedError(message)


def _await_tests(job: Job, environment: LiveEnvironment) -> _TestsEnded:
    try:
        return _TestsEnded(state=environment.wait_for_tests(deadline_seconds=job.suite.timeout_seconds))
    except DeadlineExceededError:
        return _TestsEnded()
    except EnvironmentFailedError as error:
        return _TestsEnded(error=error)


def _collect(job: Job, plan: ShardPlan, environment: LiveEnvironment) -> list[ReportFile]:
    suite = job.suite
    folder = job.collected / str(plan.number)
    reports, taken = take_reports(
        environment.collect(suite.tests, suite.results), folder, masked=job.recorder.masked_file
    )
    _notice(job, plan, taken.notice("reports", REPORT_BOUNDS))
    job.tell(plan.number, "reports_collected", _counted(len(reports), "report"), count=len(reports))
    if suite.artifacts:
        kept = take_artifacts(
            environment.collect(suite.tests, suite.artifacts),
            run_id=job.claim.run_id,
            shard=plan.number,
            reports=reports,
            masked=job.recorder.masked_file,
        )
        _notice(job, plan, kept.notice("artifacts", ARTIFACT_BOUNDS))
        job.tell(plan.number, "artifacts_collected", _counted(kept.count, "artifact"), count=kept.count)
    return reports


def _store_and_judge(job: Job, plan: ShardPlan, reports: list[ReportFile], ended: _TestsEnded) -> Ending:
    run_id = job.claim.run_id
    exit_code = ended.state.exit_code if ended.state else None
    # Known before anything is stored, so that the run can be judged even if this worker dies now.
    through_outages(lambda: note_shard(job.claim, plan.number, exit_code=exit_code), lease=job.lease)
    stored = StoredReports()
    if reports:
        stored = through_outages(
            lambda: store_reports(
                run_id=run_id, shard=plan.number, files=reports, is_ours=held_run(job.claim).exists
            ),
            lease=job.lease,
        )
        job.tell(
            plan.number,
            "ingested",
            f"{_counted(stored.case_count, 'result')} stored.",
            count=stored.case_count,
            problems=[f"{problem.file}:{problem.line or ''} {problem.reason}" for problem in stored.problems],
        )
    reported = Reported(
        tests=job.suite.tests,
        exit_code=exit_code,
        patterns=job.suite.results,
        report_count=len(reports),
        stored=stored,
        failing_count=_failing_count(run_id, plan.number) if reports else 0,
        is_out_of_time=ended.state is None and ended.error is None,
        timeout_seconds=job.suite.timeout_seconds,
    )
    ending = ending_of_error(ended.error) if ended.error else ending_of_reports(reported)
    through_outages(
        lambda: finish_shard(job.claim, plan.number, ending, exit_code=exit_code), lease=job.lease
    )
    return ending


def _failing_count(run_id: int, shard: int) -> int:
    return Shard.objects.values_list("failed_count", flat=True).get(run_id=run_id, number=shard)


def _fail(job: Job, plan: ShardPlan, judged: Future[Ending], error: Exception) -> None:
    """Say what went wrong, as far as anybody is still to hear it."""
    if isinstance(error, RunLostError):
        ending = Ending(RunStatus.CANCELLED, str(error))
    elif isinstance(error, HookFailedError):
        ending = Ending(status=ending_of_error(error).status, message=str(error), reason=ErrorReason.HOOK)
    else:
        ending = ending_of_error(error)
    if ending.reason is ErrorReason.INTERNAL:
        logger.error("Run %s, shard %s failed.", job.claim.run_id, plan.number, exc_info=error)
    if isinstance(error, EnvironmentFailedError):
        _tell_evidence(job, plan, error)
    if judged.done():
        job.tell(plan.number, "notice", f"Tidying up went wrong: {error}")
        return
    try:
        if not job.lease.stop.is_set():
            job.progress.tests_over(plan.number)
            finish_shard(job.claim, plan.number, ending, exit_code=None)
    except DatabaseFault:
        logger.exception("Run %s: the end of shard %s could not be written.", job.claim.run_id, plan.number)
    finally:
        judged.set_result(ending)


def _tell_evidence(job: Job, plan: ShardPlan, error: EnvironmentFailedError) -> None:
    job.tell(
        plan.number,
        "environment_failed",
        str(error),
        service=error.service,
        failure=error.kind.value,
        evidence=[_plain(evidence) for evidence in error.evidence],
    )


def _plain(evidence: Evidence) -> dict[str, Any]:
    return {
        "service": evidence.service,
        "summary": evidence.summary,
        "exit_code": evidence.exit_code,
        "out_of_memory": evidence.out_of_memory,
        "probe_outputs": list(evidence.probe_outputs),
        "log_tail": list(evidence.log_tail),
    }


def _notice(job: Job, plan: ShardPlan, message: str) -> None:
    if message:
        job.tell(plan.number, "notice", message)


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


class _Timeline:
    """Takes the lifecycle's happenings onto the run's timeline."""

    def __init__(self, job: Job, shard: int) -> None:
        self._job = job
        self._shard = shard

    def __call__(self, happening: Happening) -> None:
        if happening.kind is HappeningKind.IMAGE_READY:
            self._job.images[happening.service] = str(happening.data.get("image", ""))
        self._job.recorder.event(
            NewEvent(
                happening.kind,
                happening.message,
                at=happening.at,
                shard=self._shard,
                service=happening.service,
                data=happening.data,
            )
        )


class _Log:
    """Takes the services' lines into the run's log."""

    def __init__(self, job: Job, shard: int) -> None:
        self._job = job
        self._shard = shard

    def __call__(self, line: LogLine) -> None:
        self._job.recorder.line(NewLine(line.at, self._shard, line.service, line.text))
