"""Bring an environment up, hand it over, take it down: read from top to bottom, undone from bottom to top."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from django.db import Error as DatabaseError

from environments.clamping import clamped
from environments.control import ControlServer
from environments.engine import Engine, LogLine
from environments.errors import EnvironmentFailedError
from environments.lifecycle import records
from environments.lifecycle.admission import await_room
from environments.lifecycle.board import Board
from environments.lifecycle.controls import SuiteControls
from environments.lifecycle.keeping import keep_failed
from environments.lifecycle.live import LiveEnvironment
from environments.lifecycle.requests import EnvironmentRequest, Happening, HappeningKind
from environments.lifecycle.session import Session, complete
from environments.lifecycle.starting import Starter, prepare_images
from environments.lifecycle.turns import turns_of
from environments.lifecycle.watching import held, watched
from environments.plan import StartPlan
from environments.probes import SYSTEM_CLOCK, Clock, Prober

logger = logging.getLogger(__name__)


@contextmanager
def provisioned(
    request: EnvironmentRequest,
    *,
    engine: Engine,
    tell: Callable[[Happening], None],
    log: Callable[[LogLine], None],
    stop: threading.Event,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[LiveEnvironment]:
    """Bring up all that the tests depend on; on leaving, however it is left, remove everything, unless it
    failed and is to be held."""
    began = clock.monotonic()
    spec = complete(request.spec, request.tests)
    request = replace(request, spec=spec)
    plan = StartPlan(spec)
    record = records.open_environment(request, engine=engine.name, now=clock.now())
    spec, lowered = clamped(spec, engine.ceiling(record.ref, spec))
    session = Session(
        record=record,
        request=request,
        engine=engine,
        spec=spec,
        plan=plan,
        board=Board(spec.services, {name: plan.waited_for(name) for name in spec.services}, clock),
        clock=clock,
        prober=Prober(clock=clock, turns=turns_of(engine).probes),
        stop=stop,
        tell_owner=tell,
        log_owner=log,
    )
    # Each step's undo is on the stack before the step can have left anything behind.
    with _failures_kept(session), ExitStack() as undo:
        undo.enter_context(held(session))
        undo.push(lambda _kind, error, _trace: _leave(session, error))
        _tell_creating(session)
        for sentence in lowered:
            session.tell(HappeningKind.NOTICE, sentence)
        _remove_earlier_tries(session)
        await_room(session)
        prepare_images(session)
        followers = undo.enter_context(watched(session))
        engine.create_environment(session.ref, session.spec)
        starter = Starter(session, followers)
        undo.enter_context(starter.running())
        controls = SuiteControls(session, starter)
        undo.callback(controls.faults.close, undo=False)
        control = undo.enter_context(_control_server(session, controls))
        starter.bring_up()
        _tell_ready(session, clock.monotonic() - began)
        yield LiveEnvironment(session, starter, followers, control, controls.faults)


def _remove_earlier_tries(session: Session) -> None:
    """One environment for one shard: what an earlier try left is removed first, whoever made it."""
    for earlier in records.earlier_tries(session.record):
        session.check_held()
        if earlier.engine == session.engine.name and not session.engine.remove_environment(earlier.ref):
            records.mark_removed([earlier.pk], session.clock.now())


@contextmanager
def _control_server(session: Session, controls: SuiteControls) -> Iterator[ControlServer]:
    """Serve the control API where the tests' service can reach it."""
    networks = list(session.spec.services[session.tests].networks)
    address = session.engine.host_address(session.ref, networks)
    with ControlServer(controls, token=session.control_token, address=address) as server:
        yield server


@contextmanager
def _failures_kept(session: Session) -> Iterator[None]:
    """Write why it failed to the row, where the run page and the operator find it."""
    try:
        yield
    except EnvironmentFailedError as error:
        try:
            records.mark_failed(session.record, error)
        except DatabaseError:
            logger.exception("%s: why it failed could not be written", session.record.name)
        raise


def _tell_creating(session: Session) -> None:
    record = session.record
    session.tell(
        HappeningKind.CREATING,
        f"Environment {record.name} is being created on the {record.engine} engine.",
        environment_id=record.pk,
        name=record.name,
        engine=record.engine,
        fence=record.fence,
    )


def _tell_ready(session: Session, seconds: float) -> None:
    records.mark_ready(session.record, session.clock.now())
    records.save_services(session.record, session.board.all())
    session.tell(
        HappeningKind.READY, f"Everything is ready after {seconds:.1f} s.", seconds=round(seconds, 3)
    )


def _leave(session: Session, error: BaseException | None) -> None:
    """Remove everything, or leave it as it stands for a person to look at."""
    if not (session.is_kept or keep_failed(session, error)):
        _remove(session)
        return
    try:
        records.save_services(session.record, session.board.all())
    except DatabaseError:
        logger.exception("%s: how its services stand could not be written", session.record.name)


def _remove(session: Session) -> None:
    """Take everything down. What cannot be removed is left to the reaper and not the owner's failure."""
    began = session.clock.monotonic()
    session.tell(HappeningKind.REMOVING, "The environment is being removed.")
    try:
        left = session.engine.remove_environment(session.ref)
    except EnvironmentFailedError as error:
        logger.warning("%s: the removal failed: %s", session.record.name, error)
        left = [str(error)]
    except Exception as error:
        logger.exception("%s: the removal failed", session.record.name)
        left = [str(error)]
    seconds = session.clock.monotonic() - began
    try:
        _write_end(session, left)
    except DatabaseError:
        # The reaper finds nothing of it on the engine and closes the row.
        logger.exception("%s: its end could not be written", session.record.name)
    if left:
        message = f"Not everything could be removed; it is tried again: {', '.join(left)}."
        session.tell(HappeningKind.LEFT_BEHIND, message, left=left)
    else:
        session.tell(HappeningKind.REMOVED, f"Removed in {seconds:.1f} s.", seconds=round(seconds, 3))


def _write_end(session: Session, left: list[str]) -> None:
    records.save_services(session.record, session.board.all())
    if left:
        records.give_up_lease(session.record, session.clock.now())
    else:
        records.mark_removed([session.record.pk], session.clock.now())
