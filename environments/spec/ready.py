"""``x-itdash.ready``: the question that says a service is ready, as plain values. Reading it, with lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from environments.errors import Problem
from environments.spec.source import Map, Mark, Seq, nearest
from environments.spec.values import InvalidValueError, seconds

#: How long one question may take unless the file says otherwise.
TIMEOUT_SECONDS: Final = 5.0
LONGEST_TIMEOUT_SECONDS: Final = 60.0
#: The longest that a file may have a service take to become ready.
LONGEST_START_SECONDS: Final = 3600.0
MOST_PROBES: Final = 32
MOST_TIMES: Final = 10_000
MOST_PATTERN_CHARACTERS: Final = 1000
#: Repeats without an end in one pattern: with three, a hostile line keeps a worker busy for minutes.
MOST_OPEN_REPEATS: Final = 2
LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """A GET is answered with one of the statuses, and with a body in which the pattern is found."""

    port: int
    path: str = "/"
    #: Empty: any from 200 to 399. A redirect is an answer and is not followed.
    statuses: tuple[int, ...] = ()
    body: str | None = None
    timeout_seconds: float = TIMEOUT_SECONDS

    def __str__(self) -> str:
        return f"http :{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A connection to the port is taken."""

    port: int
    timeout_seconds: float = TIMEOUT_SECONDS

    def __str__(self) -> str:
        return f"tcp :{self.port}"


@dataclass(frozen=True, slots=True)
class LogProbe:
    """The pattern is found in so many lines of the service's present life."""

    pattern: str
    times: int = 1

    def __str__(self) -> str:
        return f"log {self.pattern!r}"


@dataclass(frozen=True, slots=True)
class ExecProbe:
    """The command ends with 0 inside the service."""

    command: tuple[str, ...]
    timeout_seconds: float = TIMEOUT_SECONDS

    def __str__(self) -> str:
        return f"exec {shlex.join(self.command)}"


@dataclass(frozen=True, slots=True)
class FileProbe:
    """The file is there inside the service."""

    path: str
    timeout_seconds: float = TIMEOUT_SECONDS

    def __str__(self) -> str:
        return f"file {self.path}"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of them passes."""

    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of them passes, in their order; after the first that does not, the rest is not asked."""

    probes: tuple[Probe, ...]


type Probe = HttpProbe | TcpProbe | LogProbe | ExecProbe | FileProbe | AnyOf | AllOf


def leaves(probe: Probe | None) -> Iterator[Probe]:
    """The probes that ask something, of however deep a tree; none of nothing."""
    match probe:
        case None:
            return
        case AnyOf(probes) | AllOf(probes):
            for one in probes:
                yield from leaves(one)
        case _:
            yield probe


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a service's ``x-itdash`` says about becoming ready."""

    ready: Probe | None = None
    #: From its start; None: as long as the environment has.
    start_timeout_seconds: float | None = None


def readiness_from(extension: object, key: str, problems: list[Problem]) -> Readiness:
    """Read ``ready``, ``start_timeout`` and ``unhealthy`` of a service's block; problems go on the list."""
    if not isinstance(extension, Map):
        return Readiness()
    ready = None
    if "ready" in extension:
        ready = _Reader(problems).read(extension["ready"], f"{key}.ready", extension.place("ready"))
    unhealthy = extension.get("unhealthy", "fail")
    if unhealthy not in {"fail", "wait"}:
        mend = "Write 'wait' to let it go on trying until its time is up, or 'fail', the default."
        place = extension.place("unhealthy")
        problems.append(_problem(f"{unhealthy!r} is neither", f"{key}.unhealthy", place, mend))
    return Readiness(ready, start_timeout_from(extension, key, problems))


def start_timeout_from(extension: object, key: str, problems: list[Problem]) -> float | None:
    """``start_timeout`` of a block in seconds; None where it says nothing, or nothing that can be."""
    if not isinstance(extension, Map) or "start_timeout" not in extension:
        return None
    try:
        return _time(extension, "start_timeout", key, longest=LONGEST_START_SECONDS)
    except _RefusedError as error:
        problems.append(error.problem)
        return None


class _RefusedError(Exception):
    def __init__(self, message: str, key: str, place: Mark, mend: str = "") -> None:
        super().__init__(message)
        self.problem = _problem(message, key, place, mend)


def _problem(message: str, key: str, place: Mark, mend: str = "") -> Problem:
    return Problem(f"{key}: {message}", place.file, place.line, key, mend)


class _Reader:
    """Reads one tree of probes; what is wrong is noted with its line, and the others are read on."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._count = 0

    def read(self, value: object, key: str, place: Mark) -> Probe | None:
        """One probe, whichever kind it says; None for one that is noted as wrong."""
        try:
            return self._probe(value, key, place)
        except _RefusedError as error:
            self._problems.append(error.problem)
            return None

    def _probe(self, value: object, key: str, place: Mark) -> Probe | None:
        if not isinstance(value, Map):
            mend = "Write for example {http: {port: 8080, path: /health}}, or a list under 'all' or 'any'."
            raise _RefusedError("must be a mapping", key, place, mend)
        _check_known(value, (*_KINDS, "timeout"), key)
        kinds = [word for word in value if word in _KINDS]
        if not kinds:
            raise _RefusedError(f"says none of {', '.join(_KINDS)}", key, place)
        if len(kinds) > 1:
            mend = "Put them in a list under 'all' or 'any'."
            raise _RefusedError(f"says both '{kinds[0]}' and '{kinds[1]}'", key, place, mend)
        self._count += 1
        if self._count > MOST_PROBES:
            raise _RefusedError(f"asks more than {MOST_PROBES} questions", key, place)
        timeout = _time(value, "timeout", key, longest=LONGEST_TIMEOUT_SECONDS) or TIMEOUT_SECONDS
        [kind] = kinds
        return self._of_kind(kind, value[kind], f"{key}.{kind}", value.place(kind), timeout)

    def _of_kind(self, kind: str, value: object, key: str, place: Mark, timeout: float) -> Probe | None:
        match kind:
            case "http":
                return _http(_block(value, key, place, ("port", "path", "status", "body")), key, timeout)
            case "tcp":
                return TcpProbe(_port(_block(value, key, place, ("port",)), key), timeout)
            case "log":
                return _log(_block(value, key, place, ("pattern", "times")), key)
            case "exec":
                return ExecProbe(_command(value, key, place), timeout)
            case "file":
                return FileProbe(_file(value, key, place), timeout)
            case _:
                return self._several(kind, value, key, place)

    def _several(self, kind: str, value: object, key: str, place: Mark) -> Probe | None:
        if not isinstance(value, Seq) or not value:
            raise _RefusedError("must be a list of probes", key, place)
        read = [self.read(one, f"{key}[{index}]", value.place(index)) for index, one in enumerate(value)]
        probes = tuple(probe for probe in read if probe is not None)
        if len(probes) < len(read):
            return None
        return AnyOf(probes) if kind == "any" else AllOf(probes)


_KINDS: Final = ("http", "tcp", "log", "exec", "file", "any", "all")
#: ``*``, ``+``, ``{3,}`` and numbers that might as well have no end.
_OPEN_REPEAT: Final = re.compile(r"[*+]|\{\d*,\}|\{\d*,?\d{3,}\}")


def slow_pattern(pattern: str) -> str:
    """Why matching the pattern may take longer than anybody waits; empty for one that is quick.

    Python's matcher goes back and tries again: a repeat of something that repeats or has alternatives takes
    exponential time, each further open repeat the length of the line once more. Judged by signs, strictly.
    """
    plain = re.sub(r"\\.", "x", pattern, flags=re.DOTALL)
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "x", plain)
    if len(_OPEN_REPEAT.findall(plain)) > MOST_OPEN_REPEATS:
        return f"it has more than {MOST_OPEN_REPEATS} repeats without an end"
    if re.search(r"\)(?:[*+]|\{)", plain):
        return "it repeats a group"
    if re.search(r"\(\?P=|\\[1-9]", pattern):
        return "it looks back at a group"
    return ""


def _check_known(block: Map, known: tuple[str, ...], key: str) -> None:
    for word in block:
        if word not in known:
            mend = nearest(word, known) or f"Known: {', '.join(known)}."
            raise _RefusedError("is not known here", f"{key}.{word}", block.place(word), mend)


def _block(value: object, key: str, place: Mark, known: tuple[str, ...]) -> Map:
    """The mapping that is said, or that the short form stands for: the first key alone."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return Map([(known[0], value)], marks={known[0]: place}, mark=place)
    if not isinstance(value, Map) or known[0] not in value:
        if isinstance(value, Map):
            _check_known(value, known, key)
        raise _RefusedError(f"has no '{known[0]}'", key, place, f"Write {{{known[0]}: …}}.")
    _check_known(value, known, key)
    return value


def _http(block: Map, key: str, timeout: float) -> Probe:
    path = block.get("path", "/")
    if not (isinstance(path, str) and re.fullmatch(r"/[!-~]*", path)):
        mend = "Begin with /, and write other characters than plain ones as %20 and so on."
        raise _RefusedError(f"{path!r} is not a path", f"{key}.path", block.place("path"), mend)
    status = block.get("status", ())
    statuses = tuple(status) if isinstance(status, list | tuple) else (status,)
    if not all(_is_whole(one, 100, 599) for one in statuses):
        mend = "Write a number from 100 to 599, or a list of them."
        raise _RefusedError(f"{status!r} is not a status", f"{key}.status", block.place("status"), mend)
    body = _pattern(block, "body", key) if "body" in block else None
    return HttpProbe(_port(block, key), path, statuses, body, timeout)


def _log(block: Map, key: str) -> Probe:
    times = block.get("times", 1)
    if not _is_whole(times, 1, MOST_TIMES):
        message = f"{times!r} is not a number from 1 to {MOST_TIMES}"
        raise _RefusedError(message, f"{key}.times", block.place("times"))
    return LogProbe(_pattern(block, "pattern", key), times)


def _port(block: Map, key: str) -> int:
    port = block["port"]
    # A variable's value is a text.
    number = int(port) if isinstance(port, str) and re.fullmatch(r"[0-9]{1,5}", port) else port
    if not _is_whole(number, 1, LAST_PORT):
        mend = "Name the port on which it listens inside the service."
        raise _RefusedError(f"{port!r} is not a port", f"{key}.port", block.place("port"), mend)
    return int(number)


def _pattern(block: Map, word: str, key: str) -> str:
    value, key, place = block[word], f"{key}.{word}", block.place(word)
    if not isinstance(value, str) or not 0 < len(value) <= MOST_PATTERN_CHARACTERS:
        message = f"must be a pattern of 1 to {MOST_PATTERN_CHARACTERS} characters"
        raise _RefusedError(message, key, place)
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        mend = "Write a Python regular expression; a backslash takes the sign after it as it is."
        message = f"is not a pattern: {error}"
        raise _RefusedError(message, key, place, mend) from error
    if why := slow_pattern(value):
        raise _RefusedError(f"could take for ever: {why}", key, place, "Write a plainer pattern.")
    return value


def _time(block: Map, word: str, key: str, *, longest: float) -> float | None:
    """A duration that something may take, in seconds; None where nothing is said."""
    if word not in block:
        return None
    key, place = f"{key}.{word}", block.place(word)
    try:
        length = float(seconds(block[word]))
    except InvalidValueError as error:
        raise _RefusedError(str(error), key, place, "Write for example 500ms, 10s or 1m30s.") from error
    if not 0 < length <= longest:
        raise _RefusedError(f"must be more than 0 and at most {longest:g} s", key, place)
    return length


def _file(value: object, key: str, place: Mark) -> str:
    if isinstance(value, str) and value.startswith("/") and "\0" not in value:
        return value
    raise _RefusedError(f"{value!r} is not an absolute path inside the service", key, place)


def _command(value: object, key: str, place: Mark) -> tuple[str, ...]:
    """The words of a command. One line is for a shell, as in a health check."""
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return ("/bin/sh", "-c", value)
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        words = tuple(map(str, value))
        if words and words[0] and not any("\0" in word for word in words):
            return words
    raise _RefusedError("is no command", key, place, "Write a list of words, or one line for a shell.")


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
