"""The life of one run, told top to bottom.

Check out the commit → read the suite file → one environment per shard → the tests in it → collect → store →
finish → tear down. Whatever goes wrong ends the run with a reason; whatever dies is found by the sweeper.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from django.conf import settings

from environments.engine import Engine
from environments.errors import StoppedError
from environments.spec import secrets_of
from runs.actions.announcing import announce_run
from runs.actions.events import NewEvent
from runs.actions.holding import release_held_of_run
from runs.actions.learning import learn_suites
from runs.actions.policy import quota_of
from runs.actions.runs import Claim, Ending, finish_run, gravest, note_facts, release_run, requeue_run
from runs.actions.schedules import sync_schedules
from runs.actions.suites import remember_definition, remember_services
from runs.execution.checkout import Checkout, Source, checked_out, remove_checkouts
from runs.execution.endings import ending_of_error
from runs.execution.engines import await_engine, engine_for
from runs.execution.facts import service_facts
from runs.execution.keeping import keeping, shortened_keeping
from runs.execution.lease import Lease, StopReason, held
from runs.execution.masking import Masker
from runs.execution.outages import through_outages
from runs.execution.plans import Allowance, ShardPlan, plan_shards
from runs.execution.recorder import Recorder
from runs.execution.shards import Job, Progress, execute_shard
from runs.models import Run
from runs.queries.selection import selectors_of
from runs.suitefile import SuiteSpec, find_suite_file, read_suite
from runs.vocabulary import ErrorReason, RunStatus

logger = logging.getLogger(__name__)

#: Of one run; each shard is an environment, and the machine is shared with other runs.
SHARDS_AT_ONCE = 4
#: How often the wait for the shards looks whether the run is still wanted.
_LOOK_SECONDS = 0.1


def execute(claim: Claim) -> None:
    """Execute a claimed run to its end; returns when its environments are gone."""
    run = Run.objects.select_related("project", "suite").get(pk=claim.run_id)
    with (
        held(claim, lease_seconds=settings.RUN_LEASE_SECONDS) as lease,
        Recorder(claim.run_id, masker=Masker(run.project.variables)) as recorder,
    ):
        try:
            _execute(run, lease, recorder)
        except Exception as error:  # noqa: BLE001 - whatever it was, the run must not stay silent
            _end(lease, recorder, _ending_of(run, error))


def sweep_checkouts() -> None:
    """Remove the checkouts of runs that nobody executes any more."""
    removed = remove_checkouts(settings.DATA_DIR, is_needed=_is_executed)
    if removed:
        logger.warning("Removed what lost runs left on disk: %s", ", ".join(removed))


def _execute(run: Run, lease: Lease, recorder: Recorder) -> None:
    with _checkout(run, lease, recorder) as checkout:
        suite = _suite(run, checkout, lease, recorder)
        plans = plan_shards(
            suite,
            checkout.folder,
            run_id=run.pk,
            variables=run.project.variables,
            path=run.suite.path,
            allowance=Allowance(frozenset(run.project.policy_grants), quota_of(run.project)),
        )
        recorder.learn(secret for plan in plans for secret in secrets_of(plan.spec))
        _note_ignored(plans, recorder)
        engine = _engine(run, lease, recorder)
        with (
            _collected_folder(lease.claim) as collected,
            ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix=f"run-{run.pk}") as pool,
        ):
            progress = Progress(lease, shard_count=len(plans))
            job = Job(
                lease,
                recorder,
                engine,
                suite,
                Path(collected),
                progress,
                selectors_of(run.selection),
                keep=keeping(suite, run.project_id),
            )
            judged = [_submit(pool, job, plan) for plan in plans]
            _await(judged, lease.stop)
            _note_services(run, job, plans)
            _end(lease, recorder, _ending(judged))
        # Leaving the pool waited until the environments were gone; the run had its end before.
        images = {name: image for name, image in job.images.items() if name != suite.tests}
        remember_services(run.project, images)


@contextmanager
def _checkout(run: Run, lease: Lease, recorder: Recorder) -> Iterator[Checkout]:
    recorder.event(NewEvent("checkout_started", f"Checking out {run.commit or run.ref}."))
    source = Source(repository=run.project.repository_url, ref=run.ref, commit=run.commit)
    with checked_out(
        source,
        run_id=run.pk,
        fence=lease.claim.fence,
        data_dir=settings.DATA_DIR,
        stop=lease.stop,
        variables=settings.GIT_VARIABLES,
    ) as checkout:
        _note_checkout(run, checkout, lease, recorder)
        yield checkout


def _note_checkout(run: Run, checkout: Checkout, lease: Lease, recorder: Recorder) -> None:
    through_outages(
        lambda: note_facts(
            lease.claim,
            commit=checkout.commit,
            branch=run.branch or checkout.branch,
            commit_message=checkout.message[:10_000],
            commit_author=checkout.author[:250],
        ),
        lease=lease,
    )
    announce_run(run.pk)
    title = checkout.message.partition("\n")[0]
    recorder.event(
        NewEvent("checked_out", f"{checkout.commit[:10]} {title}", data={"commit": checkout.commit})
    )
    for notice in checkout.notices:
        recorder.event(NewEvent("notice", notice))


def _suite(run: Run, checkout: Checkout, lease: Lease, recorder: Recorder) -> SuiteSpec:
    suite = read_suite(checkout.folder, name=run.suite.name, path=run.suite.path)
    through_outages(
        lambda: remember_definition(run.suite, level=suite.level, definition=suite.definition), lease=lease
    )
    gates = suite.gates.facts()
    through_outages(lambda: note_facts(lease.claim, gates=gates), lease=lease)
    if _speaks_for_project(run, checkout):
        through_outages(lambda: sync_schedules(run.suite, suite.schedules), lease=lease)
        file = find_suite_file(checkout.folder, path=run.suite.path)
        if file is not None:
            through_outages(lambda: learn_suites(run, file.suites), lease=lease)
    recorder.event(NewEvent("suite_read", f"Suite {suite.name}: the tests are {suite.tests}."))
    if shortened := shortened_keeping(suite):
        recorder.event(NewEvent("notice", shortened))
    return suite


def _speaks_for_project(run: Run, checkout: Checkout) -> bool:
    """Whether the suite file of this commit decides when the suite runs: no branch's, and no old one's."""
    is_default = (run.branch or checkout.branch) == run.project.default_branch
    return is_default and not run.pull_request and run.rerun_of_id is None


def _note_ignored(plans: Sequence[ShardPlan], recorder: Recorder) -> None:
    for notice in dict.fromkeys(notice for plan in plans for notice in plan.spec.notices):
        recorder.event(NewEvent("notice", notice))


def _engine(run: Run, lease: Lease, recorder: Recorder) -> Engine:
    await_engine(run.engine, stop=lease.stop)
    allows_local = run.project.allow_local_engine
    engine = engine_for(settings.ENGINE, project=run.project.name, allows_local=allows_local)
    known = engine.capabilities()
    facts = {"engine": known.engine, "engine_version": known.version}
    run.environment_facts = facts
    through_outages(
        lambda: note_facts(lease.claim, engine=known.engine, environment_facts=facts), lease=lease
    )
    recorder.event(NewEvent("engine_chosen", f"Runs on {known.engine} {known.version}.", data=facts))
    return engine


def _collected_folder(claim: Claim) -> TemporaryDirectory[str]:
    """Beside the checkout, and swept like it, but never part of an image's build."""
    return TemporaryDirectory(
        prefix=f"run-{claim.run_id}-{claim.fence}.collected-", dir=settings.DATA_DIR / "checkouts"
    )


def _submit(pool: ThreadPoolExecutor, job: Job, plan: ShardPlan) -> Future[Ending]:
    judged: Future[Ending] = Future()
    pool.submit(execute_shard, job, plan, judged)
    return judged


def _await(judged: Sequence[Future[Ending]], stop: threading.Event) -> None:
    """Wait until all are judged, or until nobody wants to know any more."""
    while not stop.is_set() and wait(judged, timeout=_LOOK_SECONDS).not_done:
        continue


def _ending(judged: Sequence[Future[Ending]]) -> Ending:
    """Say how the run ended; what is not judged does not count, for it was stopped."""
    endings = [future.result() for future in judged if future.done()]
    return gravest(endings) if endings else Ending(RunStatus.CANCELLED)


def _note_services(run: Run, job: Job, plans: Sequence[ShardPlan]) -> None:
    facts = {
        **run.environment_facts,
        "images": dict(sorted(job.images.items())),
        "tests": job.suite.tests,
        "services": service_facts(plans),
        "egress": "allowed" if all(plan.spec.reaches_out for plan in plans) else "none",
    }
    through_outages(lambda: note_facts(job.claim, environment_facts=facts), lease=job.lease)


def _end(lease: Lease, recorder: Recorder, ending: Ending) -> None:
    """Write the end, or what takes its place when the work was stopped."""
    recorder.flush()
    ending = replace(ending, message=recorder.masked(ending.message))
    match lease.reason:
        case StopReason.LEASE_LOST:
            logger.warning("Run %s went on without this worker.", lease.claim.run_id)
        case StopReason.WORKER_STOPPING:
            # Its shards begin anew: what one of them left to look at is of a run that never was.
            through_outages(lambda: release_held_of_run(lease.claim.run_id), lease=lease)
            through_outages(lambda: release_run(lease.claim), lease=lease)
        case StopReason.CANCELLED:
            cancelled = Ending(RunStatus.CANCELLED, "Cancelled while it ran.")
            through_outages(lambda: release_held_of_run(lease.claim.run_id), lease=lease)
            through_outages(lambda: finish_run(lease.claim, cancelled), lease=lease)
        case None:
            if not _is_tried_again(lease, ending):
                through_outages(lambda: finish_run(lease.claim, ending), lease=lease)
    lease.over.set()


def _is_tried_again(lease: Lease, ending: Ending) -> bool:
    """Whether the run was queued again: an engine that went away says nothing about the tests."""
    if ending.reason is not ErrorReason.ENGINE_UNAVAILABLE:
        return False
    why = ending.message.partition("\n")[0]
    return through_outages(lambda: requeue_run(lease.claim, why=why), lease=lease)


def _ending_of(run: Run, error: Exception) -> Ending:
    if isinstance(error, StoppedError):
        return Ending(RunStatus.CANCELLED)
    ending = ending_of_error(error)
    if ending.reason is ErrorReason.INTERNAL:
        logger.error("Run %s failed.", run.pk, exc_info=error)
    return ending


def _is_executed(run_id: int, fence: int) -> bool:
    return Run.objects.active().filter(pk=run_id, fence=fence).exists()
