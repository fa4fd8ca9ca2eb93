"""Which service a failure is held against, by what was observed of it while the test ran.

Every suspect carries its evidence, every service that was looked at and is not suspect says why; services
that nobody watched are named as such. Where nothing speaks against any, none is blamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

ALGORITHM_VERSION = 2
#: What happened this long before or after the test may still belong to it: clocks differ, logs lag.
MARGIN = timedelta(seconds=5)
#: The same where the test's window is exact and on the engine's own clock.
EXACT_MARGIN = timedelta(seconds=0.2)
#: An engine tells of a container's end a little after the end; a busy one, a little later.
EVENT_LAG = timedelta(seconds=1)
#: From so many error lines on, a log is more than a hint.
MANY_ERRORS = 3
#: A failure's text is searched this far.
TEXT_LIMIT = 50_000


class Strength(IntEnum):
    """How much a piece of evidence weighs."""

    WEAK = 1
    MODERATE = 2
    STRONG = 3


class EventKind(StrEnum):
    """What happened to a service."""

    DIED = "died"
    OUT_OF_MEMORY = "out_of_memory"
    UNHEALTHY = "unhealthy"
    RESTARTED = "restarted"
    #: A test or a person stopped or froze it, always on purpose.
    DISTURBED = "disturbed"
    #: It was well from here on.
    HEALTHY = "healthy"


class EvidenceKind(StrEnum):
    """What speaks against a service, the most telling first."""

    PROPERTY = "property"
    OUT_OF_MEMORY = "out_of_memory"
    DIED = "died"
    UNHEALTHY = "unhealthy"
    RESTARTED = "restarted"
    NAMED = "named"
    ERROR_LINES = "error_lines"


@dataclass(frozen=True, slots=True)
class WatchedService:
    """A service and the names under which a failure may speak of it."""

    name: str
    hosts: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()
    #: False when neither its events nor its log were recorded.
    is_watched: bool = True
    #: Error lines in the log within the window of a passing test of the run, on average.
    usual_error_count: float = 0.0


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """Something that happened to a service; `is_fault` when a test or a person did it on purpose."""

    service: str
    kind: EventKind
    at: datetime
    is_fault: bool = False
    #: More of it in a few words, such as "exit code 137".
    note: str = ""


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """A line of a service's log that reports an error."""

    service: str
    at: datetime
    line: str


@dataclass(frozen=True, slots=True)
class FailedTest:
    """When the test ran, what it said, and the services its report names in a property."""

    started_at: datetime | None
    ended_at: datetime | None
    text: str = ""
    property_services: tuple[str, ...] = ()
    #: The moments are worked out from order and durations; evidence that rests on them says so.
    is_estimated: bool = False
    #: How long after its end an event may still be its own: until the next test, and no longer than it lags.
    lag: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation: what it was, when, how much it weighs, and in words with the proof in it."""

    kind: EvidenceKind
    strength: Strength
    detail: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """A service with what speaks against it, strongest first. Equal suspects share a rank."""

    service: str
    rank: int
    strength: Strength
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A service that was watched, and why nothing speaks against it."""

    service: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blame:
    """The suspects of one failure, those ruled out, and those of which nothing is known."""

    suspects: tuple[Suspect, ...]
    ruled_out: tuple[RuledOut, ...]
    unwatched: tuple[str, ...]
    algorithm_version: int = field(default=ALGORITHM_VERSION)

    @property
    def blamed(self) -> tuple[str, ...]:
        """The services for which the failure counts: the first, all who share that place, or none."""
        return tuple(suspect.service for suspect in self.suspects if suspect.rank == 1)


def blame(
    test: FailedTest,
    services: Iterable[WatchedService],
    events: Iterable[ServiceEvent] = (),
    errors: Iterable[ErrorLine] = (),
    margin: timedelta = MARGIN,
) -> Blame:
    """Rank the services by the evidence against them, in any order of input."""
    known = {service.name: service for service in services}
    for name in test.property_services:
        known.setdefault(name, WatchedService(name, is_watched=False))
    window = _window(test, margin)
    happened = sorted(events, key=lambda event: (event.at, event.kind))
    logged = sorted(errors, key=lambda line: (line.at, line.line))
    mentions = _mentions(test.text[:TEXT_LIMIT], list(known.values()))
    suspects, ruled_out, unwatched = [], [], []
    for name in sorted(known):
        own_events = [event for event in happened if event.service == name]
        own_errors = [line for line in logged if line.service == name and _is_within(line.at, window)]
        own_mentions = mentions.get(name, [])
        found = [*_by_property(name, test), *_by_events(own_events, window, test)]
        # Who stops a service on purpose has it named and complaining: that tells of the others, not of it.
        is_disturbed = _is_disturbed(own_events, test)
        if not is_disturbed:
            found += [*own_mentions, *_by_errors(known[name], own_errors, test)]
        if found:
            suspects.append((name, _ordered(found)))
        elif known[name].is_watched:
            reasons = (
                _excuses_on_purpose(own_errors, own_mentions)
                if is_disturbed
                else _excuses(own_errors, window)
            )
            ruled_out.append(RuledOut(name, reasons))
        else:
            unwatched.append(name)
    return Blame(tuple(_ranked(suspects)), tuple(ruled_out), tuple(unwatched))


type Window = tuple[datetime, datetime] | None


def _window(test: FailedTest, margin: timedelta) -> Window:
    if test.started_at is None or test.ended_at is None:
        return None
    return test.started_at - margin, test.ended_at + margin


def _is_within(at: datetime, window: Window) -> bool:
    return window is not None and window[0] <= at <= window[1]


def _by_property(name: str, test: FailedTest) -> list[Evidence]:
    if name not in test.property_services:
        return []
    return [Evidence(EvidenceKind.PROPERTY, Strength.STRONG, f"the report names {name} as the service")]


_EVENTS = {
    EventKind.OUT_OF_MEMORY: (EvidenceKind.OUT_OF_MEMORY, Strength.STRONG, "ran out of memory"),
    EventKind.DIED: (EvidenceKind.DIED, Strength.STRONG, "died"),
    EventKind.UNHEALTHY: (EvidenceKind.UNHEALTHY, Strength.MODERATE, "was unhealthy"),
    EventKind.RESTARTED: (EvidenceKind.RESTARTED, Strength.MODERATE, "was restarted"),
}


def _by_events(events: Sequence[ServiceEvent], window: Window, test: FailedTest) -> list[Evidence]:
    """What happened within the window, and the state in which the service came into it."""
    if window is None or test.ended_at is None:
        return []
    window = (window[0], max(window[1], test.ended_at + test.lag))
    within = [event for event in events if _is_within(event.at, window)]
    found: dict[EventKind, Evidence] = {}
    for event in [*_lasting(events, window), *within]:
        if event.kind not in _EVENTS or event.is_fault or event.kind in found:
            continue
        kind, strength, words = _EVENTS[event.kind]
        since = "" if _is_within(event.at, window) else " before the test and had not come back"
        note = f", {event.note}" if event.note else ""
        found[event.kind] = Evidence(kind, strength, f"{words}{since}{note}{_caution(test)}", event.at)
    # A container that dies for want of memory dies: one observation, not two.
    if EventKind.OUT_OF_MEMORY in found:
        found.pop(EventKind.DIED, None)
    return list(found.values())


def _lasting(events: Sequence[ServiceEvent], window: tuple[datetime, datetime]) -> list[ServiceEvent]:
    """The trouble in which the service was when the window began."""
    before = [event for event in events if event.at < window[0]]
    over = {EventKind.HEALTHY, EventKind.RESTARTED}
    trouble: list[ServiceEvent] = []
    for event in before:
        if event.kind in over:
            trouble.clear()
        else:
            trouble.append(event)
    return trouble


def _is_disturbed(events: Sequence[ServiceEvent], test: FailedTest) -> bool:
    """Whether somebody disturbed it on purpose while the test ran, or before and it was not over."""
    if test.started_at is None or test.ended_at is None:
        return False
    core = (test.started_at, test.ended_at)
    return any(
        event.is_fault
        for event in (*_lasting(events, core), *(event for event in events if _is_within(event.at, core)))
    )


def _caution(test: FailedTest) -> str:
    return "; when the test ran is estimated" if test.is_estimated else ""


def _by_errors(service: WatchedService, lines: Sequence[ErrorLine], test: FailedTest) -> list[Evidence]:
    """Error lines, when there are more of them than while other tests pass."""
    count = len(lines)
    if count == 0 or count <= 2 * service.usual_error_count:
        return []
    strength = Strength.MODERATE if count >= MANY_ERRORS else Strength.WEAK
    counted = f"{count} error line{'s' if count > 1 else ''} in its log{_caution(test)}"
    detail = f"{counted}, first: {lines[0].line[:200]}"
    return [Evidence(EvidenceKind.ERROR_LINES, strength, detail, lines[0].at)]


_TROUBLE = re.compile(
    r"refused|reset by peer|unreachable|timed? ?out|no route|not known|not resolve|name resolution"
    r"|broken pipe|unavailable|bad gateway|gateway time|connection (?:closed|aborted|error|fail)"
    r"|(?<!\d)50[0234](?!\d)",
    re.IGNORECASE,
)
#: Not after a file's name: there it is a line number.
_PORT = re.compile(
    r"(?:(?:\blocalhost|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}|\]):|\bport[ =:]+)(\d{2,5})(?!\d|[.:]\d)",
    re.IGNORECASE,
)


def _mentions(text: str, services: Sequence[WatchedService]) -> dict[str, list[Evidence]]:
    """The strongest line of the failure's text for each service that it names."""
    by_port: dict[int, list[str]] = {}
    for service in services:
        for port in service.ports:
            by_port.setdefault(port, []).append(service.name)
    # Most services are in no line of most failures: found out at once, not line by line.
    lowered = text.lower()
    patterns = {service.name: _pattern(service) for service in services if _may_be_in(lowered, service)}
    if not patterns and not by_port:
        return {}
    strongest: dict[str, Evidence] = {}
    for line in text.splitlines():
        places = {name: found for name, pattern in patterns.items() if (found := _places(pattern, line))}
        addressed = {name for name, matches in places.items() if any(map(_is_address, matches))}
        named = set(places)
        if not named:
            ports = {int(port) for port in _PORT.findall(line)}
            # A port that several services share names none of them.
            named = {names[0] for port in ports if len(names := by_port.get(port, [])) == 1}
        if not named:
            continue
        troubled = _TROUBLE.search(line) is not None
        for name in named:
            strong = troubled or name in addressed
            strength = Strength.MODERATE if strong else Strength.WEAK
            if name not in strongest or strength > strongest[name].strength:
                detail = f"named in the failure: {line.strip()[:200]}"
                strongest[name] = Evidence(EvidenceKind.NAMED, strength, detail)
    return {name: [evidence] for name, evidence in strongest.items()}


def _names(service: WatchedService) -> set[str]:
    return {name for name in (service.name, *service.hosts, *service.containers) if name}


def _may_be_in(lowered: str, service: WatchedService) -> bool:
    return any(name.lower() in lowered for name in _names(service))


def _pattern(service: WatchedService) -> re.Pattern[str]:
    longest_first = sorted(_names(service), key=lambda name: (-len(name), name))
    either = "|".join(re.escape(name) for name in longest_first)
    return re.compile(rf"(?<![\w.-])(?:{either})(?![\w-]|\.\w)", re.IGNORECASE)


def _places(pattern: re.Pattern[str], line: str) -> list[re.Match[str]]:
    """Where the name stands for the service: not where it is a folder in a path."""
    return [
        match
        for match in pattern.finditer(line)
        if _is_address(match) or "/" not in {line[match.start() - 1 : match.start()], line[match.end() :][:1]}
    ]


def _is_address(match: re.Match[str]) -> bool:
    """Whether the name stands as a host there: after `//` or `@`, or before a port."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    return before.endswith(("//", "@")) or re.match(r":\d{2,5}\b", after) is not None


def _ordered(found: list[Evidence]) -> tuple[Evidence, ...]:
    kinds = list(EvidenceKind)
    return tuple(sorted(found, key=lambda one: (-one.strength, kinds.index(one.kind), one.detail)))


def _ranked(suspects: Sequence[tuple[str, tuple[Evidence, ...]]]) -> list[Suspect]:
    """By the strongest evidence, then by how much more there is of each strength; ties share a rank."""
    weights = {name: _weight(evidence) for name, evidence in suspects}
    ordered = sorted(suspects, key=lambda pair: (tuple(-part for part in weights[pair[0]]), pair[0]))
    ranks = sorted((weights[name] for name, _ in suspects), reverse=True)
    return [
        Suspect(name, ranks.index(weights[name]) + 1, evidence[0].strength, evidence)
        for name, evidence in ordered
    ]


def _weight(evidence: Sequence[Evidence]) -> tuple[int, ...]:
    return tuple(sum(1 for one in evidence if one.strength is strength) for strength in reversed(Strength))


def _excuses(errors: Sequence[ErrorLine], window: Window) -> tuple[str, ...]:
    """Why a service that was watched is not suspect."""
    if window is None:
        return ("not named in the failure", "when the test ran is not known")
    return (
        "up and well throughout",
        f"no more error lines than usual ({len(errors)})" if errors else "no error lines in its log",
        "not named in the failure",
    )


def _excuses_on_purpose(errors: Sequence[ErrorLine], mentions: Sequence[Evidence]) -> tuple[str, ...]:
    """Why a service that was disturbed on purpose is not suspect, and what that explains."""
    return (
        "disturbed on purpose",
        *([f"error lines are to be expected then ({len(errors)})"] if errors else []),
        *(["named in the failure, as is to be expected then"] if mentions else []),
    )


@dataclass(frozen=True, slots=True)
class Touch:
    """One test and the services it reached, known from traces, HTTP logs or tags."""

    failed: bool
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How well the failing tests are the ones that touched the service: 0 to 1. Equal ones share a rank."""

    service: str
    rank: int
    score: float
    failed_touching: int
    passed_touching: int


def suspicions(touches: Iterable[Touch], least_failed: int = 3, least_passed: int = 10) -> list[Suspicion]:
    """Ochiai's coefficient per service over a run: an addition to what was observed, never a blame by itself.

    R. Abreu, P. Zoeteweij, A. van Gemund (TAICPART 2007): failing tests touching it ÷ √(failing · touching).
    Too few failing or passing tests tell nothing: none. Services that no failing test touched are left out.
    """
    tests = list(touches)
    failed = sum(1 for test in tests if test.failed)
    if failed < least_failed or len(tests) - failed < least_passed:
        return []
    scores = []
    for service in sorted({service for test in tests for service in test.services}):
        touching = [test for test in tests if service in test.services]
        hit = sum(1 for test in touching if test.failed)
        if hit:
            score = hit / (failed * len(touching)) ** 0.5
            scores.append((score, service, hit, len(touching) - hit))
    values = sorted((round(score, 12) for score, *_ in scores), reverse=True)
    ordered = sorted(scores, key=lambda one: (-round(one[0], 12), one[1]))
    return [
        Suspicion(service, values.index(round(score, 12)) + 1, score, hit, passed)
        for score, service, hit, passed in ordered
    ]
