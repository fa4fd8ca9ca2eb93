"""What a suite's tests may do to their own environment: the lifecycle's side of the control API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from environments.control import MarkPhase
from environments.engine import LogLine, ServiceState, ServiceStatus
from environments.lifecycle.requests import HappeningKind
from environments.lifecycle.session import Session
from environments.lifecycle.starting import Starter
from environments.probes import steadily, wait_until

#: How long a service that was told to end may take.
END_SECONDS = 30.0


class SuiteControls:
    """Implements `environments.control.Controls` over a session."""

    def __init__(self, session: Session, starter: Starter) -> None:
        self._session = session
        self._starter = starter

    def services(self) -> Sequence[ServiceState]:
        """Every service as it is now."""
        session = self._session
        return [session.engine.inspect_service(session.ref, name) for name in session.spec.services]

    def stop(self, name: str) -> None:
        """Ask it to end within its grace, then make it."""
        service = self._session.service(name)
        self._tell(name, "stop")
        self._session.engine.stop_service(
            self._session.ref, name, grace_seconds=service.stop_grace_period_seconds
        )
        self._until_ended(name)

    def start(self, name: str) -> None:
        """Start it; return when it is ready again."""
        self._session.service(name)
        self._tell(name, "start")
        self._session.engine.start_service(self._session.ref, name)
        self._until_ready(name)

    def restart(self, name: str) -> None:
        """Stop and start it; return when it is ready again."""
        self.stop(name)
        self.start(name)

    def pause(self, name: str) -> None:
        """Freeze it."""
        self._session.service(name)
        self._tell(name, "pause")
        self._session.engine.pause_service(self._session.ref, name)

    def unpause(self, name: str) -> None:
        """Let it go on."""
        self._session.service(name)
        self._tell(name, "unpause")
        self._session.engine.unpause_service(self._session.ref, name)

    def kill(self, name: str) -> None:
        """End it at once."""
        self._session.service(name)
        self._tell(name, "kill")
        self._session.engine.kill_service(self._session.ref, name)
        self._until_ended(name)

    def logs(self, name: str, since: datetime | None) -> Iterable[LogLine]:
        """Its output so far."""
        self._session.service(name)
        return self._session.engine.logs(self._session.ref, name, since=since)

    def mark(self, test: str, phase: MarkPhase) -> None:
        """Note that a test starts or ends now."""
        self._session.tell(HappeningKind.MARK, f"{test}: {phase}", test=test, phase=phase.value)

    def _tell(self, name: str, action: str) -> None:
        self._session.check_held()
        self._session.tell(
            HappeningKind.CONTROL, f"The tests asked to {action} {name}.", service=name, action=action
        )

    def _until_ended(self, name: str) -> None:
        session = self._session
        wait_until(
            lambda: (
                session.engine.inspect_service(session.ref, name).status
                in {ServiceStatus.EXITED, ServiceStatus.CREATED, ServiceStatus.GONE}
            ),
            deadline_seconds=END_SECONDS,
            clock=session.clock,
            stop=session.leaving,
            pauses=steadily(0.05),
        )

    def _until_ready(self, name: str) -> None:
        """Wait until its health check passes; a service without one is ready when it runs."""
        self._starter.until_ready(name, deadline_seconds=self._session.request.start_timeout_seconds)
