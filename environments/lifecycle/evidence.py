"""What an environment that failed looked like: said before anything of it is removed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from environments.engine import ServiceState, ServiceStatus
from environments.errors import EnvironmentFailedError, EnvironmentsError, Evidence, FailureKind
from environments.lifecycle.session import Session
from environments.plan import Progress

LOG_TAIL_LINES = 100


def not_in_time(session: Session, seconds: float) -> EnvironmentFailedError:
    """The services had their time; every condition that does not hold is named."""
    progress = session.board.progress()
    unmet = [str(unmet) for unmet in session.plan.unmet(progress)]
    guilty = [
        name
        for name, reached in progress.items()
        if name != session.tests and reached in {Progress.STARTING, Progress.STARTED, Progress.FAILED}
    ]
    awaited = [name for name in guilty if session.plan.waited_for(name)] or guilty
    message = f"Not ready after {seconds:g} s: {'; '.join(unmet)}."
    kind = FailureKind.NEVER_HEALTHY
    service = next((name for name in awaited if session.board.of(name).ready_at is None), "")
    return failure(session, message, kind, service=service, about=awaited)


def never_ready(session: Session, blocked: Iterable[str]) -> EnvironmentFailedError:
    """A service is over without having become what others wait for."""
    progress = session.board.progress()
    waiting = set(blocked)
    needs = [unmet for unmet in session.plan.unmet(progress) if unmet.service in waiting]
    roots = list(
        dict.fromkeys(unmet.dependency.service for unmet in needs if unmet.dependency.service not in waiting)
    )
    seen = [session.board.of(name) for name in roots]
    failed = [facts for facts in seen if facts.progress in {Progress.FAILED, Progress.COMPLETED}]
    reasons = "; ".join(f"{facts.service}: {facts.reason or facts.progress}" for facts in failed)
    message = f"{reasons}. Unmet: {'; '.join(str(unmet) for unmet in needs)}."
    first = failed[0] if failed else None
    kind = FailureKind.SERVICE_EXITED
    if first is not None and first.out_of_memory:
        kind = FailureKind.OUT_OF_MEMORY
    elif first is not None and first.exit_code is None:
        kind = FailureKind.NEVER_HEALTHY
    return failure(
        session, message, kind, service=first.service if first else "", about=[one.service for one in failed]
    )


def failure(
    session: Session, message: str, kind: FailureKind, *, service: str, about: Iterable[str]
) -> EnvironmentFailedError:
    """An error with the evidence of the services it is about."""
    evidence = tuple(evidence_of(session, name) for name in about)
    if kind is FailureKind.SERVICE_EXITED and any(one.out_of_memory for one in evidence):
        kind = FailureKind.OUT_OF_MEMORY
    error = EnvironmentFailedError(message, kind=kind, service=service, evidence=evidence)
    for one in evidence:
        error.add_note(f"{one.service}: {one.summary}")
    return error


def evidence_of(session: Session, name: str) -> Evidence:
    """What the engine and our probes say of a service now."""
    try:
        state = session.engine.inspect_service(session.ref, name)
        tail = deque((line.text for line in session.engine.logs(session.ref, name)), maxlen=LOG_TAIL_LINES)
    except EnvironmentsError as error:
        return Evidence(service=name, summary=f"could not be looked at: {error}")
    seen = session.board.of(name)
    return Evidence(
        service=name,
        summary=_summary(state, seen.reason),
        exit_code=state.exit_code if state.exit_code is not None else seen.exit_code,
        out_of_memory=state.out_of_memory or seen.out_of_memory,
        probe_outputs=tuple(seen.probe_outputs) or state.probe_outputs,
        log_tail=tuple(tail),
    )


def _summary(state: ServiceState, reason: str) -> str:
    if reason:
        return reason
    if state.status is ServiceStatus.EXITED:
        return f"ended with exit code {state.exit_code}"
    if state.error:
        return state.error
    health = f", health: {state.health}" if state.health != "none" else ""
    restarts = f", {state.restart_count} restarts" if state.restart_count else ""
    return f"{state.status}{health}{restarts}"
