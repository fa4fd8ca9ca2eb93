"""A service's health: asked at its interval while it runs, written down for any process to read."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from environments.engine import EngineEventKind, ExecResult, Health
from environments.local_engine.folders import HealthRecord, Program, ServiceFolder
from environments.local_engine.processes import is_stopped
from environments.local_engine.reading import KILLED_EXIT_CODE
from environments.spec import HealthCheck

OUTPUTS_KEPT = 5
OUTPUT_CHARACTERS = 1024
#: Records are read, judged and written: one at a time in this process.
_RECORDS = threading.Lock()


@dataclass(frozen=True, slots=True)
class HealthWatch:
    """Watches one start of a service until its keeper has gone."""

    own: ServiceFolder
    program: Program
    #: Tells an event: service, kind.
    tell: Callable[..., None]
    probe: Callable[[], ExecResult]

    def run(self, keeper: subprocess.Popen[bytes]) -> None:
        """Ask at the interval; return when the keeper has ended, and give its last word if it could not."""
        check = self.program.healthcheck
        started = time.monotonic()
        while True:
            try:
                keeper.wait(timeout=self._interval(check, time.monotonic() - started) if check else None)
            except subprocess.TimeoutExpired:
                if not self._is_frozen():
                    in_start_period = check is not None and (
                        time.monotonic() - started < check.start_period_seconds
                    )
                    with suppress(FileNotFoundError):  # removed meanwhile
                        self.note(self.probe(), counts=not in_start_period)
            else:
                self._conclude(keeper.pid)
                return

    def note(self, result: ExecResult, *, counts: bool = False) -> ExecResult:
        """Write down what a probe said. A failure counts only when the service is asked at its interval:
        whoever asks more often while it comes up must not use up its retries."""
        state = self.own.state()
        check = self.program.healthcheck
        if state is None or state.started_at is None or state.finished_at or check is None:
            return result
        with _RECORDS:
            before = self.own.health()
            if before is None or before.started_at != state.started_at:
                before = HealthRecord(state.started_at, Health.STARTING.value)
            after = _after(before, result, check, counts=counts)
            self.own.write_health(after)
        if after.status != before.status:
            self.tell(self.own.name, EngineEventKind(after.status))
        return result

    def _interval(self, check: HealthCheck, age: float) -> float:
        if age < check.start_period_seconds and check.start_interval_seconds:
            return check.start_interval_seconds
        return check.interval_seconds

    def _is_frozen(self) -> bool:
        state = self.own.state()
        main = state.main.process() if state and state.main else None
        return main is not None and is_stopped(main)

    def _conclude(self, keeper: int) -> None:
        state = self.own.state()
        # By now it may have been started again, by another keeper, whose word is not ours to give.
        if state is not None and state.keeper.pid == keeper and state.finished_at is None:
            with suppress(FileNotFoundError):  # its environment was removed this moment: nobody asks any more
                self.own.conclude(KILLED_EXIT_CODE)
                self.tell(self.own.name, EngineEventKind.DIED, KILLED_EXIT_CODE)


def _after(before: HealthRecord, result: ExecResult, check: HealthCheck, *, counts: bool) -> HealthRecord:
    said = result.output.strip()[-OUTPUT_CHARACTERS:] or f"exit code {result.exit_code}"
    if result.timed_out:
        said = f"no answer in {check.timeout_seconds:g} s. {said}"
    after = replace(before, outputs=(*before.outputs, said)[-OUTPUTS_KEPT:])
    if result.exit_code == 0 and not result.timed_out:
        return replace(after, status=Health.HEALTHY.value, failures=0)
    if not counts:
        return after
    failures = before.failures + 1
    status = Health.UNHEALTHY.value if failures >= max(1, check.retries) else before.status
    return replace(after, status=status, failures=failures)
