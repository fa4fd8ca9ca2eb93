"""Images, then services in the order of their graph: few starts at once, all waits in parallel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace

from environments.engine import Health, ServiceStatus
from environments.errors import DeadlineExceededError, EnvironmentFailedError, FailureKind, StoppedError
from environments.lifecycle import evidence
from environments.lifecycle.asking import Asker
from environments.lifecycle.requests import HappeningKind
from environments.lifecycle.session import Session
from environments.lifecycle.turns import turns_of
from environments.lifecycle.watching import LogFollowers
from environments.plan import Progress
from environments.probes import (
    STOP_NOTICED_SECONDS,
    ProbeOutcome,
    asks_where_setup_answers,
    backing_off,
    probe_variables,
    steadily,
    wait_until,
)
from environments.spec import EMPTY, Condition
from environments.spec.ready import ExecProbe, FileProbe, LogProbe, Probe, leaves

#: Events tell at once; this is how often services are looked at in case one was lost.
LOOK_SECONDS = 1.0
#: What is asked over the network costs the engine next to nothing and is asked more often.
FIRST_CHEAP_PAUSE_SECONDS, LONGEST_CHEAP_PAUSE_SECONDS = 0.02, 0.25
#: Images prepared at once: pulling waits on a network, building uses the engine's cores.
IMAGES_AT_ONCE = 4
_BEGUN = frozenset({Progress.STARTED, Progress.READY, Progress.COMPLETED})


def prepare_images(session: Session) -> None:
    """Find, pull or build every service's image; the first that fails ends it."""
    services = list(session.spec.services.values())
    pool = ThreadPoolExecutor(IMAGES_AT_ONCE, "images")
    try:
        futures = [pool.submit(_prepare_image, session, service.name) for service in services]
        _await(session, futures)
    finally:
        # An image is nobody's leftover: one that is still being pulled is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare_image(session: Session, name: str) -> None:
    began = session.clock.monotonic()
    image = session.engine.prepare_image(session.ref, session.spec.services[name])
    seconds = session.clock.monotonic() - began
    session.board.note_image(name, image)
    session.tell(
        HappeningKind.IMAGE_READY,
        f"The image of {name} is ready.",
        service=name,
        image=image,
        seconds=round(seconds, 3),
    )


def _await(session: Session, futures: Sequence[Future[None]]) -> None:
    def done() -> bool:
        session.check_held()
        finished, waiting = wait(futures, timeout=STOP_NOTICED_SECONDS, return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()
        return not waiting

    seconds = session.request.image_timeout_seconds
    try:
        wait_until(
            done, deadline_seconds=seconds, clock=session.clock, stop=session.stop, pauses=steadily(0.0)
        )
    except DeadlineExceededError as error:
        message = f"The images were not ready after {seconds:g} s."
        raise EnvironmentFailedError(message, kind=FailureKind.IMAGE_MISSING) from error


@dataclass(frozen=True, slots=True)
class Question:
    """What says that a service is ready."""

    ask: Callable[[], ProbeOutcome]
    #: Whether the engine's `healthy` says the same.
    is_engines_too: bool = False
    #: The file's own, where it has one.
    probe: Probe | None = None


class Starter:
    """Starts and probes services; everything it has begun has ended when its `running` is left."""

    def __init__(self, session: Session, followers: LogFollowers) -> None:
        self._session = session
        self._followers = followers
        self._asker = Asker(session, followers)
        self._turns = turns_of(session.engine)
        self._starts = ThreadPoolExecutor(max(1, session.engine.capabilities().cpus), "starts")
        self._probes = ThreadPoolExecutor(max(1, len(session.spec.services)), "probes")
        self._errors: list[BaseException] = []
        #: Services somebody is probing at this moment.
        self._probing: set[str] = set()
        #: Set when nothing is to be started any more.
        self._over = threading.Event()
        #: When the engine was last asked about all that are awaited.
        self._looked_at = session.clock.monotonic()
        #: When each was started first, by the clock.
        self._begun: dict[str, float] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """While entered, services can be started. Nothing is created any more once it is left."""
        try:
            yield
        finally:
            self._over.set()
            self._session.board.settle_all()
            self._starts.shutdown(wait=True, cancel_futures=True)
            # A probe creates nothing, and one that hangs ends with its container.
            self._probes.shutdown(wait=False, cancel_futures=True)

    def bring_up(self) -> None:
        """Start every service but the tests' one as its conditions come true; return when the tests' hold.

        Raises with every unmet condition and the evidence when that cannot be, or is not in time.
        """
        session = self._session
        seconds = session.start_timeout_seconds()
        try:
            wait_until(
                self._step,
                deadline_seconds=seconds,
                clock=session.clock,
                stop=session.stop,
                wake=session.board.changed,
                pauses=steadily(LOOK_SECONDS),
            )
        except DeadlineExceededError as error:
            raise evidence.not_in_time(session, seconds) from error

    def _step(self) -> bool:
        session = self._session
        session.check_held()
        if self._errors:
            raise self._errors[0]
        self._look()
        self._give_up_late_ones()
        for name in session.board.awaiting_health():
            if name not in self._probing:
                self._probing.add(name)
                self._probes.submit(self._probe, name)
        progress = session.board.progress()
        for name in session.plan.ready(progress):
            if name != session.tests:
                session.board.note_starting(name)
                self._starts.submit(self._start, name)
        if blocked := session.plan.blocked(progress):
            # What kept a service from starting says more than that others wait for it.
            raise self._errors[0] if self._errors else evidence.never_ready(session, blocked)
        others = {name: reached for name, reached in progress.items() if name != session.tests}
        return session.tests in session.plan.ready(progress) and all(
            reached in _BEGUN for reached in others.values()
        )

    def _look(self) -> None:
        """Ask the engine about services that are awaited: an event may have been lost."""
        session = self._session
        now = session.clock.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            # Woken by news: what they allow to start is not kept waiting by questions.
            return
        self._looked_at = now
        for seen in session.board.all():
            if seen.progress is Progress.STARTED and session.plan.waited_for(seen.service):
                session.board.note_state(session.engine.inspect_service(session.ref, seen.service))

    def _give_up_late_ones(self) -> None:
        """A service whose file says how long it may take is not waited for any longer."""
        session, now = self._session, self._session.clock.monotonic()
        for seen in session.board.all():
            most = session.spec.services[seen.service].start_timeout_seconds
            begun = self._begun.get(seen.service)
            if most is None or begun is None or seen.progress is not Progress.STARTED:
                continue
            if now - begun >= most and session.plan.waited_for(seen.service) - {Condition.STARTED}:
                session.board.note_failed(seen.service, f"it was not ready {most:g} s after its start")

    def _start(self, name: str) -> None:
        session = self._session
        try:
            self.create_and_start(name)
        except StoppedError:
            return
        except EnvironmentFailedError as error:
            # In this order: whoever finds it failed is to find out why.
            self._fail(evidence.failure(session, str(error), error.kind, service=name, about=[name]))
            session.board.note_failed(name, str(error))
        except BaseException as error:  # noqa: BLE001 - it is raised where the owner waits
            self._fail(error)

    def create_and_start(self, name: str, variables: Mapping[str, str] = EMPTY) -> None:
        """Create a service with its final variables, start it and follow its log."""
        session = self._session
        service = session.final(session.spec.services[name], variables)
        with self._turns.starts.taken(self._over):
            session.check_held()
            session.engine.create_service(session.ref, session.spec, service)
            session.engine.start_service(session.ref, name)
        self._begun.setdefault(name, session.clock.monotonic())
        session.board.note_started(session.engine.inspect_service(session.ref, name))
        self._followers.follow(name)

    def _probe(self, name: str) -> None:
        try:
            self.await_health(name)
        except BaseException as error:  # noqa: BLE001 - it is raised where the owner waits
            self._fail(error)
        finally:
            # A service that restarts after it was ready has to be asked again.
            self._probing.discard(name)

    def await_health(self, name: str) -> None:
        """Probe a started service until it is ready, has ended, or the environment is left."""
        session = self._session
        question = self._question(name)
        if question is None:
            message = (
                f"Others wait until {name} is healthy, but its file and its image have no health check. "
                "Add a `healthcheck` or `x-itdash.ready`, or wait for `service_started`."
            )
            raise evidence.failure(session, message, FailureKind.NEVER_HEALTHY, service=name, about=[name])
        began = session.clock.monotonic()
        passed = session.prober.until_passed(
            lambda: self._steadily(name, question.ask()),
            give_up=session.board.of(name).settled,
            heard=lambda outcome: self._heard(name, outcome),
            nudge=self._followers.nudge(name) if _reads_log(question.probe) else None,
            pauses=_pauses(question.probe),
        )
        if passed:
            session.board.note_ready(name, session.clock.now())
        if session.board.of(name).ready_at is not None:
            seconds = session.clock.monotonic() - began
            session.tell(
                HappeningKind.SERVICE_READY,
                f"{name} is ready.",
                service=name,
                at=session.board.of(name).ready_at,
                seconds=round(seconds, 3),
            )

    def until_ready(self, name: str, *, deadline_seconds: float) -> None:
        """Wait until a running service is ready again, by `x-itdash.ready` or its health check; one without
        either is ready when it runs.

        Raises `DeadlineExceededError`, or `EnvironmentFailedError` (SERVICE_EXITED) when it ends meanwhile.
        """
        session = self._session
        question = self._question(name)

        def is_ready() -> bool:
            state = session.engine.inspect_service(session.ref, name)
            if state.status in {ServiceStatus.EXITED, ServiceStatus.GONE}:
                message = f"{name} has ended (exit code {state.exit_code}) and cannot become ready."
                raise evidence.failure(
                    session, message, FailureKind.SERVICE_EXITED, service=name, about=[name]
                )
            if question is None or (state.health is Health.HEALTHY and question.is_engines_too):
                return True
            return question.ask().passed

        wait_until(is_ready, deadline_seconds=deadline_seconds, clock=session.clock, stop=session.leaving)

    def _question(self, name: str) -> Question | None:
        """Its file's own probe, or else its health check; None without either."""
        session = self._session
        probe = session.service(name).ready
        if probe is not None:
            return Question(lambda: self._asker.ask(name, probe), probe=probe)
        check = session.healthcheck(name)
        if check is None:
            return None

        variables = probe_variables(check)

        def ask() -> ProbeOutcome:
            return session.prober.outcome(
                check, lambda command, seconds: self._asker.run(name, command, seconds, variables)
            )

        if asks_where_setup_answers(check):
            session.board.note_doubted(name)
            return Question(ask)
        return Question(ask, is_engines_too=True)

    def _steadily(self, name: str, outcome: ProbeOutcome) -> ProbeOutcome:
        """What passes does not count while the service may be restarting over and over."""
        if outcome.passed and not self._session.board.is_steady(name):
            said = "passed, but the service has not been up for long"
            return replace(outcome, passed=False, output=said)
        return outcome

    def _heard(self, name: str, outcome: ProbeOutcome) -> None:
        if not outcome.passed:
            self._session.board.note_probe(name, outcome.output)

    def _fail(self, error: BaseException) -> None:
        self._errors.append(error)
        self._session.board.changed.set()


def _reads_log(probe: Probe | None) -> bool:
    return any(isinstance(one, LogProbe) for one in leaves(probe))


def _pauses(probe: Probe | None) -> Iterator[float]:
    """How long to pause between two questions: what runs a command inside is asked more seldom."""
    asked = list(leaves(probe))
    if not asked or any(isinstance(one, ExecProbe | FileProbe) for one in asked):
        return backing_off()
    return backing_off(first=FIRST_CHEAP_PAUSE_SECONDS, longest=LONGEST_CHEAP_PAUSE_SECONDS)
