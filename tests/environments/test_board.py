"""What counts as ready, held against every order in which news of a service can come."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.engine import EngineEvent, EngineEventKind, Health, ServiceState, ServiceStatus
from environments.lifecycle.board import MOST_RESTARTS, Board
from environments.plan import Progress, StartPlan
from environments.probes import FakeClock
from environments.spec import Condition, Dependency, EnvironmentSpec, ServiceSpec
from environments.spec.ready import Probe, TcpProbe

RESTARTS = ["always", "unless-stopped", "on-failure"]


class Told:
    """A board of one service that another waits for, and what is told of it."""

    def __init__(
        self, restart: str = "no", condition: Condition | None = Condition.HEALTHY, ready: Probe | None = None
    ) -> None:
        self.clock = FakeClock()
        self.spec = EnvironmentSpec(
            services={
                "api": ServiceSpec("api", image="x", restart=restart, ready=ready),
                "tests": ServiceSpec(
                    "tests", image="x", depends_on=(Dependency("api", condition),) if condition else ()
                ),
            }
        )
        self.plan = StartPlan(self.spec)
        waited_for = {name: self.plan.waited_for(name) for name in self.spec.services}
        self.board = Board(self.spec.services, waited_for, self.clock)
        self.restarts = 0
        self.board.note_starting("api")

    def progress(self) -> Progress:
        return self.board.progress()["api"]

    def later(self, seconds: float) -> None:
        self.clock.seconds += seconds

    def event(self, kind: EngineEventKind, exit_code: int | None = None) -> None:
        self.board.note_event(EngineEvent(self.clock.now(), "api", kind, exit_code))

    def look(
        self, status: ServiceStatus, *, exit_code: int | None = None, health: Health = Health.NONE
    ) -> None:
        ended = status is ServiceStatus.EXITED
        self.board.note_state(
            ServiceState(
                "api",
                status,
                health=health,
                exit_code=exit_code if ended else None,
                restart_count=self.restarts,
                started_at=self.board.of("api").started_at or self.clock.now(),
                finished_at=self.clock.now() if ended else None,
            )
        )

    def started(self) -> None:
        self.event(EngineEventKind.STARTED)
        self.board.note_started(
            ServiceState(
                "api", ServiceStatus.RUNNING, started_at=self.clock.now(), restart_count=self.restarts
            )
        )

    def probe_passes(self) -> None:
        """As `Starter` does it: only a steady service's answer counts."""
        if self.board.is_steady("api"):
            self.board.note_ready("api", self.clock.now())


@given(
    restart=st.sampled_from(RESTARTS),
    lives=st.lists(
        st.tuples(
            st.floats(0.0, 0.99),
            st.lists(st.sampled_from(["probe", "healthy", "look"]), max_size=6),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_a_service_that_keeps_crashing_within_a_second_is_never_ready(
    restart: str, lives: list[tuple[float, list[str], bool]]
) -> None:
    told = Told(restart)
    for seconds, news, end_is_heard in lives:
        told.started()
        for one in news:
            told.later(seconds / len(news))
            match one:
                case "probe":
                    told.probe_passes()
                case "healthy":
                    told.event(EngineEventKind.HEALTHY)
                case _:
                    told.look(ServiceStatus.RUNNING, health=Health.HEALTHY)
            assert told.progress() is not Progress.READY
        if end_is_heard:
            told.event(EngineEventKind.DIED, 1)
        told.restarts += 1
        assert told.progress() is not Progress.READY
        # Between two lives it is looked at too: that alone tells when an end was not heard.
        told.look(ServiceStatus.RESTARTING)
        assert told.progress() is not Progress.READY
        assert (told.progress() is Progress.FAILED) == (told.restarts >= MOST_RESTARTS)
        if told.restarts >= MOST_RESTARTS:
            return


@given(
    condition=st.sampled_from([None, Condition.STARTED, Condition.COMPLETED]),
    news=st.lists(
        st.sampled_from(["probe", "died", "healthy", "unhealthy", "look running", "look ended"]), max_size=8
    ),
    seconds=st.floats(0.0, 5.0),
)
def test_an_init_that_ends_well_never_fails(
    condition: Condition | None, news: list[str], seconds: float
) -> None:
    told = Told(condition=condition)
    told.started()
    has_ended = False
    for one in [*news, "died"]:
        told.later(seconds)
        match one:
            case "probe":
                told.probe_passes()
            case "died":
                # Also twice: a stream that broke tells again.
                told.event(EngineEventKind.DIED, 0)
                has_ended = True
            case "healthy":
                told.event(EngineEventKind.HEALTHY)
            case "unhealthy":
                told.event(EngineEventKind.UNHEALTHY)
            case "look running" if not has_ended:
                told.look(ServiceStatus.RUNNING)
            case _:
                told.look(ServiceStatus.EXITED, exit_code=0)
                has_ended = True
        assert told.progress() is not Progress.FAILED
        assert told.plan.blocked(told.board.progress()) == []

    expected = Progress.COMPLETED if condition is Condition.COMPLETED else Progress.STARTED
    assert told.progress() is expected
    assert told.plan.ready(told.board.progress()) == ["tests"]


def test_an_end_that_a_look_counted_first_is_not_counted_again_when_its_event_comes() -> None:
    told = Told("always")
    told.started()
    told.restarts = 2
    told.look(ServiceStatus.RUNNING)
    told.event(EngineEventKind.DIED, 1)
    told.event(EngineEventKind.STARTED)
    told.event(EngineEventKind.DIED, 1)

    assert told.board.of("api").restart_count == 2
    assert told.progress() is Progress.STARTED


def test_restarts_of_which_no_event_told_are_counted_by_looking() -> None:
    told = Told("always")
    told.started()
    told.restarts = 3
    told.look(ServiceStatus.RUNNING)

    assert told.progress() is Progress.FAILED
    assert told.board.of("api").reason == "it ended 3 times"


def test_a_ready_service_that_restarts_is_not_ready_until_it_has_been_up_for_two_seconds() -> None:
    told = Told("on-failure")
    told.started()
    told.later(1.0)
    told.probe_passes()
    assert told.progress() is Progress.READY

    told.event(EngineEventKind.DIED, 1)
    assert told.progress() is Progress.STARTED
    assert told.board.of("api").last_ended_at == told.clock.moment + timedelta(seconds=1)

    told.event(EngineEventKind.STARTED)
    told.later(1.9)
    told.probe_passes()
    assert told.progress() is Progress.STARTED
    told.later(0.2)
    told.probe_passes()
    assert told.progress() is Progress.READY


@pytest.mark.parametrize("says", [EngineEventKind.HEALTHY, EngineEventKind.UNHEALTHY])
def test_what_the_engine_thinks_of_a_service_with_its_own_probe_is_not_asked(says: EngineEventKind) -> None:
    told = Told(ready=TcpProbe(80))
    told.started()
    told.event(says)
    assert told.progress() is Progress.STARTED

    told.probe_passes()
    assert told.progress() is Progress.READY


def test_an_engine_that_asks_where_setup_answers_is_not_believed() -> None:
    told = Told()
    told.board.note_doubted("api")
    told.started()
    told.event(EngineEventKind.HEALTHY)
    told.look(ServiceStatus.RUNNING, health=Health.HEALTHY)
    assert told.progress() is Progress.STARTED

    told.probe_passes()
    assert told.progress() is Progress.READY
