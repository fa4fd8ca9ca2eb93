"""An environment that is up: what its owner can do with it until it is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from environments.control import ControlServer
from environments.engine import CollectedFile, ExecResult, ServiceState, ServiceStatus
from environments.errors import DeadlineExceededError, EnvironmentFailedError, FailureKind
from environments.faults import Faults
from environments.labels import EnvironmentRef
from environments.lifecycle import evidence
from environments.lifecycle.keeping import keep
from environments.lifecycle.requests import HappeningKind
from environments.lifecycle.session import Session
from environments.lifecycle.starting import Starter
from environments.lifecycle.watching import LogFollowers
from environments.models import Environment
from environments.probes import steadily, wait_until
from environments.spec import EMPTY

#: Events tell at once that the tests ended; this is how often they are looked at in case one was lost.
LOOK_SECONDS = 1.0
#: How long the last lines of the tests may take to arrive once they have ended.
LAST_LINES_SECONDS = 10.0
#: SIGKILL and SIGTERM, as exit codes.
ENDED_BY_SIGNAL = frozenset({137, 143})
#: How long an engine that is being stopped goes on answering after it has ended its containers.
ENGINE_LEAVES_SECONDS = 5.0


class LiveEnvironment:
    """What `provisioned` yields. Not to be used once that is left."""

    def __init__(
        self,
        session: Session,
        starter: Starter,
        followers: LogFollowers,
        control: ControlServer,
        faults: Faults,
    ) -> None:
        self._session = session
        self._starter = starter
        self._followers = followers
        self._control = control
        self._faults = faults

    @property
    def record(self) -> Environment:
        """The row; its `services` say when each was started, ready and finished."""
        return self._session.record

    @property
    def ref(self) -> EnvironmentRef:
        """What the engine knows it by."""
        return self._session.ref

    @property
    def control_url(self) -> str:
        """Where the tests reach the control API."""
        return self._control.url

    @property
    def control_token(self) -> str:
        """What the control API asks for; of this environment only."""
        return self._session.control_token

    def run_in(self, service: str, command: Sequence[str], *, timeout_seconds: float) -> ExecResult:
        """Run a command inside a service once that is ready. A `before` hook judges the exit code itself.

        Raises `ServiceNotFoundError`, and as `until_ready` does when the service does not become ready.
        """
        session = self._session
        session.check_held()
        self._starter.until_ready(service, deadline_seconds=session.start_timeout_seconds())
        began = session.clock.monotonic()
        result = session.engine.execute(session.ref, service, command, timeout_seconds=timeout_seconds)
        session.tell(
            HappeningKind.COMMAND_RUN,
            f"A command in {service} ended with exit code {result.exit_code}."
            if not result.timed_out
            else f"A command in {service} did not end in {timeout_seconds:g} s.",
            service=service,
            exit_code=result.exit_code,
            seconds=round(session.clock.monotonic() - began, 3),
        )
        return result

    def start_tests(self, variables: Mapping[str, str] = EMPTY) -> None:
        """Create and start the tests' service with `variables` on top of the request's."""
        session = self._session
        session.check_held()
        session.board.note_starting(session.tests)
        given = {"ITDASH_CONTROL_URL": self.control_url, "ITDASH_CONTROL_TOKEN": self.control_token}
        try:
            self._starter.create_and_start(session.tests, {**given, **variables})
        except EnvironmentFailedError as error:
            raise evidence.failure(
                session, str(error), error.kind, service=session.tests, about=[session.tests]
            ) from error
        session.tell(
            HappeningKind.TESTS_STARTED,
            "The tests have started.",
            service=session.tests,
            at=session.board.of(session.tests).started_at,
        )

    def wait_for_tests(self, *, deadline_seconds: float) -> ServiceState:
        """Wait until the tests' service has ended and all of its output is handed on; say how it ended.

        Raises `DeadlineExceededError` (it is still running), `StoppedError`, or `EnvironmentFailedError` when
        it ran out of memory or vanished.
        """
        session = self._session
        state = wait_until(
            self._ended_tests,
            deadline_seconds=deadline_seconds,
            clock=session.clock,
            stop=session.stop,
            wake=session.board.changed,
            pauses=steadily(LOOK_SECONDS),
        )
        self._followers.until_heard(session.tests, LAST_LINES_SECONDS)
        self._unless_the_engine_leaves(state)
        self._tell_finished(state)
        # Whoever looks at the services now is to find them as the file has them.
        self._faults.close(undo=True)
        if state.out_of_memory and state.exit_code != 0:
            message = "The tests ran out of memory."
            raise self._failure(message, FailureKind.OUT_OF_MEMORY)
        return state

    def collect(self, service: str, patterns: Sequence[str]) -> Iterator[CollectedFile]:
        """Files in a service, running or ended, whose absolute path matches a glob."""
        self._session.service(service)
        return self._session.engine.collect(self._session.ref, service, patterns)

    def hold(self, because: str) -> bool:
        """Have it stay when it is left, if its request says so, for as long and as far as there is room; says
        whether it does. Faults are undone: whoever looks is to find the services as the file has them."""
        self._faults.close(undo=True)
        return keep(self._session, because)

    def states(self) -> list[ServiceState]:
        """Every service as the engine sees it now, the tests' one included once it is created."""
        session = self._session
        return [session.engine.inspect_service(session.ref, name) for name in session.spec.services]

    def _ended_tests(self) -> ServiceState | None:
        session = self._session
        session.check_held()
        state = session.engine.inspect_service(session.ref, session.tests)
        session.board.note_state(state)
        if state.status is ServiceStatus.GONE:
            message = "The tests' service is gone: somebody removed it, or the engine was restarted."
            raise self._failure(message, FailureKind.ENGINE_UNAVAILABLE)
        return state if state.status is ServiceStatus.EXITED else None

    def _unless_the_engine_leaves(self, state: ServiceState) -> None:
        """Raise ENGINE_UNAVAILABLE when it was the engine that ended the tests: one that is being stopped
        ends its containers first, and for a moment that looks like an end of their own."""
        session = self._session
        if state.exit_code not in ENDED_BY_SIGNAL or state.out_of_memory:
            return
        with suppress(DeadlineExceededError):
            wait_until(
                self._engine_is_away,
                deadline_seconds=ENGINE_LEAVES_SECONDS,
                clock=session.clock,
                stop=session.stop,
                pauses=steadily(0.2),
            )
            message = "The container engine was stopped while the tests ran."
            raise self._failure(message, FailureKind.ENGINE_UNAVAILABLE)

    def _engine_is_away(self) -> bool:
        try:
            self._session.engine.inspect_service(self._session.ref, self._session.tests)
        except EnvironmentFailedError:
            return True
        return False

    def _tell_finished(self, state: ServiceState) -> None:
        took = (
            (state.finished_at - state.started_at).total_seconds()
            if state.finished_at and state.started_at
            else None
        )
        self._session.tell(
            HappeningKind.TESTS_FINISHED,
            f"The tests ended with exit code {state.exit_code}.",
            service=self._session.tests,
            at=state.finished_at,
            exit_code=state.exit_code,
            out_of_memory=state.out_of_memory,
            seconds=took,
        )

    def _failure(self, message: str, kind: FailureKind) -> EnvironmentFailedError:
        tests = self._session.tests
        return evidence.failure(self._session, message, kind, service=tests, about=[tests])
