"""An environment that is up: what its owner can do with it until it is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from environments.engine import CollectedFile, ExecResult, ServiceState
from environments.labels import EnvironmentRef
from environments.models import Environment
from environments.spec import EMPTY


class LiveEnvironment:
    """What `provisioned` yields."""

    #: The row; its `services` say when each was started, ready and finished.
    record: Environment
    ref: EnvironmentRef
    control_url: str
    control_token: str

    def run_in(self, service: str, command: Sequence[str], *, timeout_seconds: float) -> ExecResult:
        """Run a command inside a service once that is ready. A `before` hook judges the exit code itself."""
        raise NotImplementedError

    def start_tests(self, variables: Mapping[str, str] = EMPTY) -> None:
        """Create and start the tests' service with `variables` on top of the request's."""
        raise NotImplementedError

    def wait_for_tests(self, *, deadline_seconds: float) -> ServiceState:
        """Wait until the tests' service has ended and say how.

        Raises `DeadlineExceededError` (it is still running), `StoppedError`, or `EnvironmentFailedError` when
        it ran out of memory or vanished.
        """
        raise NotImplementedError

    def collect(self, service: str, patterns: Sequence[str]) -> Iterator[CollectedFile]:
        """Files in a service, running or ended, whose absolute path matches a glob."""
        raise NotImplementedError

    def states(self) -> list[ServiceState]:
        """Every service as the engine sees it now, the tests' one included once it is created."""
        raise NotImplementedError
