"""Runs: list, queue, read, cancel, run again."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest
from ninja import Query, Router, Status

from runs.actions.pins import pin_run, unpin_run
from runs.actions.runs import cancel_run, queue_run, rerun_run
from runs.api.auth import TokenAuth, caller_of, project_for, run_for
from runs.api.blame_schemas import FailedResultOut, FailurePage
from runs.api.description import IDEMPOTENCY_KEY
from runs.api.details import ResultDetailsOut, SuitePropertiesOut
from runs.api.paging import page, read_cursor
from runs.api.problems import ProblemError
from runs.api.schemas import (
    CompareQuery,
    ComparisonOut,
    EventOut,
    EventPage,
    FailureQuery,
    Paging,
    RerunIn,
    ResultOut,
    ResultPage,
    ResultQuery,
    RunIn,
    RunOut,
    RunPage,
    RunQuery,
    VerdictOut,
)
from runs.models import Run, TestCase
from runs.queries.blames import blames_of_cases
from runs.queries.comparison import told_comparison, usual_base
from runs.queries.quarantine import gate_of, gating_cases
from runs.queries.result_details import result_page, suite_properties_of
from runs.queries.run_records import RunFilter, events_after, results_after, runs_before
from runs.vocabulary import Outcome, Scope, Trigger

router = Router(tags=["runs"])


@router.get(
    "/projects/{project}/runs", auth=TokenAuth(Scope.READ), response=RunPage, summary="A project's runs"
)
def list_runs(request: HttpRequest, project: str, query: Query[RunQuery]) -> dict[str, object]:
    """Newest first."""
    key = read_cursor(query.cursor, int)
    wanted = RunFilter(
        suite=query.suite,
        branch=query.branch,
        commit=query.commit,
        status=[query.status] if query.status else [],
        trigger=query.trigger or "",
    )
    owner = project_for(request, project)
    rows = runs_before(owner, wanted, number=key[0] if key else None, limit=query.limit)
    last = [rows[-1].number] if rows else []
    return page(request, rows, [RunOut.of_told(run) for run in rows], limit=query.limit, key=last)


@router.post(
    "/projects/{project}/runs",
    auth=TokenAuth(Scope.TRIGGER),
    response={201: RunOut, 200: RunOut},
    summary="Queue a run",
    openapi_extra=IDEMPOTENCY_KEY,
)
def post_run(request: HttpRequest, project: str, wanted: RunIn) -> Status[RunOut]:
    """Queue a run of a suite on a branch, tag or commit.

    Whether the suite is there is known at the commit: a run of a suite that its suite file does not name
    ends `errored` and lists the ones it does.

    With an `Idempotency-Key` header the same request twice is the same run: 201 for the first answer,
    200 for every later one.
    """
    owner = project_for(request, project)
    key = request.headers.get("Idempotency-Key") or None
    known = key is not None and Run.objects.filter(project=owner, idempotency_key=key).exists()
    run = queue_run(
        project=owner,
        suite=wanted.suite,
        ref=wanted.ref,
        commit=wanted.commit,
        trigger=Trigger.API,
        by=caller_of(request).user,
        idempotency_key=key,
    )
    return Status(HTTPStatus.OK if known else HTTPStatus.CREATED, RunOut.of(run))


@router.get("/runs/{int:run_id}", auth=TokenAuth(Scope.READ), response=RunOut, summary="A run")
def get_run(request: HttpRequest, run_id: int) -> RunOut:
    """One run with its totals."""
    return RunOut.of(run_for(request, run_id))


@router.get(
    "/runs/{int:run_id}/verdict", auth=TokenAuth(Scope.READ), response=VerdictOut, summary="A run's verdict"
)
def get_verdict(request: HttpRequest, run_id: int) -> VerdictOut:
    """Whether the run passes, and why: the failures that decide, and those in quarantine."""
    gate = gate_of(run_for(request, run_id))
    return VerdictOut.of(gate, gating_cases(gate))


@router.get(
    "/runs/{int:run_id}/compare", auth=TokenAuth(Scope.READ), response=ComparisonOut, summary="Compare runs"
)
def compare(request: HttpRequest, run_id: int, query: Query[CompareQuery]) -> ComparisonOut:
    """What differs between this run and another, by id; or the default branch's last green one."""
    head = run_for(request, run_id)
    base = run_for(request, query.with_) if query.with_ is not None else usual_base(head)
    if base is None:
        detail = "There is no other run on the default branch to compare with. Name one: `?with=ID`."
        raise ProblemError(HTTPStatus.CONFLICT, detail)
    if base.suite_id != head.suite_id:
        detail = "The two runs are of different suites: their tests are others."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    gone = next((run for run in (head, base) if run.results_removed_at is not None), None)
    if gone is not None:
        detail = f"The results of run {gone.pk} are not kept any more: there is nothing to compare."
        raise ProblemError(HTTPStatus.CONFLICT, detail)
    return ComparisonOut.of(told_comparison(base, head))


@router.get(
    "/runs/{int:run_id}/results", auth=TokenAuth(Scope.READ), response=ResultPage, summary="A run's results"
)
def list_results(request: HttpRequest, run_id: int, query: Query[ResultQuery]) -> dict[str, object]:
    """In the report's order."""
    run = run_for(request, run_id)
    key = read_cursor(query.cursor, int, int)
    rows = results_after(
        run,
        outcomes=[query.outcome] if query.outcome else [],
        text=query.q,
        position=(key[0], key[1]) if key else None,
        limit=query.limit,
    )
    last = [rows[-1].position, rows[-1].case_id] if rows else []
    return page(request, rows, [ResultOut.of(row) for row in rows], limit=query.limit, key=last)


@router.get(
    "/runs/{int:run_id}/results/{int:test_id}",
    auth=TokenAuth(Scope.READ),
    response=ResultDetailsOut,
    summary="A test's result in a run",
)
def get_result(request: HttpRequest, run_id: int, test_id: int) -> ResultDetailsOut:
    """Each attempt, and what the reports tell besides: properties, attachments, what it printed."""
    run = run_for(request, run_id)
    case = TestCase.objects.filter(suite=run.suite_id, pk=test_id).first()
    found = ResultDetailsOut.of_page(result_page(run, case)) if case is not None else None
    if found is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "The run has no result of this test.")
    return found


@router.get(
    "/runs/{int:run_id}/suite-properties",
    auth=TokenAuth(Scope.READ),
    response=list[SuitePropertiesOut],
    summary="What a run's reports tell of suites",
)
def list_suite_properties(request: HttpRequest, run_id: int) -> list[SuitePropertiesOut]:
    """Properties of suites; those put together that have the same."""
    return [SuitePropertiesOut.of(one) for one in suite_properties_of(run_for(request, run_id))]


@router.get(
    "/runs/{int:run_id}/failures",
    auth=TokenAuth(Scope.READ),
    response=FailurePage,
    summary="A run's failures",
)
def list_failures(request: HttpRequest, run_id: int, query: Query[FailureQuery]) -> dict[str, object]:
    """Failed and errored results with their texts and the service at fault, in the report's order."""
    run = run_for(request, run_id)
    key = read_cursor(query.cursor, int, int)
    rows = results_after(
        run,
        outcomes=[Outcome.FAILED, Outcome.ERRORED],
        text="",
        position=(key[0], key[1]) if key else None,
        limit=query.limit,
    )
    blames = blames_of_cases(run, [row.case_id for row in rows])
    items = FailedResultOut.all_of(rows, blames)
    last = [rows[-1].position, rows[-1].case_id] if rows else []
    return page(request, rows, items, limit=query.limit, key=last)


@router.get(
    "/runs/{int:run_id}/events", auth=TokenAuth(Scope.READ), response=EventPage, summary="A run's timeline"
)
def list_events(request: HttpRequest, run_id: int, query: Query[Paging]) -> dict[str, object]:
    """What happened, in order."""
    run = run_for(request, run_id)
    key = read_cursor(query.cursor, int)
    rows = events_after(run, event_id=key[0] if key else 0, limit=query.limit)
    last = [rows[-1].pk] if rows else []
    return page(request, rows, [EventOut.of(row) for row in rows], limit=query.limit, key=last)


@router.post(
    "/runs/{int:run_id}/cancel", auth=TokenAuth(Scope.TRIGGER), response={202: RunOut}, summary="Cancel a run"
)
def post_cancel(request: HttpRequest, run_id: int) -> Status[RunOut]:
    """Ask for the run's end; its environment is removed. 409 when it has finished."""
    run = run_for(request, run_id)
    caller = caller_of(request)
    cancel_run(run_id=run.pk, by=caller.user, token=caller.token)
    return Status(HTTPStatus.ACCEPTED, RunOut.of(run_for(request, run_id)))


@router.post(
    "/runs/{int:run_id}/rerun", auth=TokenAuth(Scope.TRIGGER), response={201: RunOut}, summary="Run it again"
)
def post_rerun(request: HttpRequest, run_id: int, wanted: RerunIn | None = None) -> Status[RunOut]:
    """Queue the same suite on the same commit; without a body all of its tests."""
    run = run_for(request, run_id)
    caller = caller_of(request)
    failed_only = wanted is not None and wanted.failed_only
    again = rerun_run(run_id=run.pk, by=caller.user, token=caller.token, failed_only=failed_only)
    return Status(HTTPStatus.CREATED, RunOut.of(run_for(request, again.pk)))


@router.post("/runs/{int:run_id}/pin", auth=TokenAuth(Scope.TRIGGER), response=RunOut, summary="Pin a run")
def post_pin(request: HttpRequest, run_id: int) -> RunOut:
    """Keep all that the run still has, whatever the installation's terms. Again changes nothing."""
    caller = caller_of(request)
    return RunOut.of(pin_run(run_id=run_for(request, run_id).pk, by=caller.user, token=caller.token))


@router.post(
    "/runs/{int:run_id}/unpin", auth=TokenAuth(Scope.TRIGGER), response=RunOut, summary="Unpin a run"
)
def post_unpin(request: HttpRequest, run_id: int) -> RunOut:
    """Let the installation's terms hold for the run again. Again changes nothing."""
    caller = caller_of(request)
    return RunOut.of(unpin_run(run_id=run_for(request, run_id).pk, by=caller.user, token=caller.token))
