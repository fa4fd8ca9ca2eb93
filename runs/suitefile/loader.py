"""``itdash.yml`` → `SuiteSpec`, and Compose files that are a suite by themselves."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from environments.errors import Problem, SpecError
from environments.spec.source import MAX_BYTES, Map, Seq, nearest, read_yaml
from environments.spec.values import InvalidValueError, text_of
from runs.suitefile.model import (
    DEFAULT_RESULTS,
    DEFAULT_TIMEOUT_SECONDS,
    Branches,
    Gates,
    Hook,
    ScheduleSpec,
    SuiteFile,
    SuiteFileError,
    SuiteSpec,
)
from runs.suitefile.notation import (
    container_glob,
    cron_line,
    one_of,
    plain_text,
    repository_path,
    share,
    time_zone,
    truth,
    wait_seconds,
    whole,
)
from runs.suitefile.reader import Reader
from runs.vocabulary import Level

SUITE_FILES: Final = ("itdash.yml", "itdash.yaml")
#: Where a Compose file that is a suite by itself is looked for, in this order.
COMPOSE_FILES: Final = (
    "docker-compose.test.yml",
    "docker-compose.test.yaml",
    "docker-compose.tests.yml",
    "docker-compose.ci.yml",
    "compose.test.yml",
    "compose.test.yaml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "compose.yaml",
    "compose.yml",
)
#: Services that are the tests, unless a label says which one is.
TESTS_NAMES: Final = ("tests", "test", "integration-tests", "sut")
TESTS_LABEL: Final = "itdash.tests"
RESULTS_LABEL: Final = "itdash.results"
MAX_SHARDS: Final = 64
MAX_ENVIRONMENTS: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_suite(folder: Path, *, name: str, path: str = "") -> SuiteSpec:
    """The suite of that name in a checkout: from its suite file, or from a Compose file that is one itself.

    `path` is relative to the folder; empty for ``itdash.yml`` at its root. Raises `SuiteFileError`.
    """
    found = find_suite_file(folder, path=path)
    if found is not None:
        if name in found.suites:
            return found.suites[name]
        known = ", ".join(found.suites)
        raise SuiteFileError(
            Problem(
                f"there is no suite {name!r}; the file has {known}",
                found.file,
                key="suites",
                mend=nearest(name, found.suites),
            )
        )
    for file in [path] if path else COMPOSE_FILES:
        text = _text(folder, file, is_needed=False)
        suite = suite_from_compose(text, file=file, name=name) if text is not None else None
        if suite is not None:
            return suite
    mend = f"Add an itdash.yml, or name the service that runs the tests {TESTS_NAMES[0]!r}."
    raise SuiteFileError(
        Problem(
            "no suite file, and no Compose file with a service that runs tests",
            path or SUITE_FILES[0],
            mend=mend,
        )
    )


def find_suite_file(folder: Path, *, path: str = "") -> SuiteFile | None:
    """The suite file of a checkout, whole; None where a Compose file is a suite by itself.

    Raises `SuiteFileError`.
    """
    for file in [path] if path else SUITE_FILES:
        text = _text(folder, file, is_needed=bool(path))
        if text is not None and (not path or _is_suite_file(text, file)):
            return read_suite_file(text, file=file)
    return None


def read_suite_file(text: str, *, file: str = SUITE_FILES[0]) -> SuiteFile:
    """Everything a suite file says. Raises `SuiteFileError` with every problem found.

    Paths in it are relative to its own folder; in the result they are relative to the repository's root.
    """
    reader = Reader(file)
    tree = _document(text, file)
    reader.check_keys(tree, ("version", "suites"), "")
    version = tree.get("version")
    if version != 1:
        reader.problem(
            "version must be 1", "version", tree.place("version"), "Begin the file with 'version: 1'."
        )
    suites: dict[str, SuiteSpec] = {}
    for name, entry, mark in reader.mapping(tree, "suites", "suites"):
        if not _NAME.fullmatch(name):
            mend = "Use letters, digits, spaces, dots, dashes and underscores, at most 100."
            reader.problem(f"{name!r} is no name for a suite", f"suites.{name}", mark, mend)
        elif not isinstance(entry, Map):
            reader.problem(f"suites.{name} must be a mapping", f"suites.{name}", mark)
        else:
            suites[name] = _suite(name, entry, reader)
    if not suites and not reader.problems:
        reader.problem("the file has no suite", "suites", tree.place("suites"), "Add one below 'suites:'.")
    if reader.problems:
        raise SuiteFileError(*sorted(reader.problems, key=lambda problem: problem.line or 0))
    return SuiteFile(file=file, suites=suites)


def suite_from_compose(text: str, *, file: str, name: str = "tests") -> SuiteSpec | None:
    """The suite that a Compose file is by itself; None when none of its services runs tests.

    The service is the one labelled ``itdash.tests: "true"``, else the one with a well-known name.
    """
    services = _document(text, file).get("services")
    if not isinstance(services, Map):
        return None
    labels = {service: _labels(entry) for service, entry in services.items()}
    labelled = [service for service in services if labels[service].get(TESTS_LABEL, "").lower() == "true"]
    named = [service for service in TESTS_NAMES if service in services]
    if len(labelled) > 1:
        both = " and ".join(map(repr, labelled))
        place = services.place(labelled[1])
        raise SuiteFileError(Problem(f"{both} are both labelled {TESTS_LABEL}", file, place.line, "services"))
    if not labelled and not named:
        return None
    tests = (labelled or named)[0]
    given = labels[tests].get(RESULTS_LABEL, "").split()
    return SuiteSpec(name=name, compose=(file,), tests=tests, results=tuple(given) or DEFAULT_RESULTS)


def gates_of(definition: Mapping[str, Any]) -> Gates:
    """The gates in a definition kept when its suite file was read; none where it has no good ones."""
    written = definition.get("gates")
    known = written if isinstance(written, Mapping) else {}
    return Gates(
        new_failures=_or_none(whole(0, 1_000_000), known.get("new_failures")),
        new_flaky=_or_none(whole(0, 1_000_000), known.get("new_flaky")),
        duration_increase=_or_none(share, known.get("duration_increase")),
    )


def _or_none[T](take: Callable[[object], T], value: object) -> T | None:
    try:
        return take(value)
    except InvalidValueError:
        return None


def _suite(name: str, tree: Map, reader: Reader) -> SuiteSpec:
    key = f"suites.{name}"
    reader.check_keys(tree, _SUITE_KEYS, key)
    for needed, mend in (
        ("compose", "Name the Compose file."),
        ("tests", "Name the service that runs the tests."),
    ):
        if needed not in tree:
            reader.problem(f"{key} needs the key {needed!r}", f"{key}.{needed}", tree.mark, mend)
    folder = posixpath.dirname(reader.file)
    on = reader.child(tree, "on", key)
    reader.check_keys(on, ("push", "pull_request", "schedule"), f"{key}.on")
    shards = reader.read(tree, "shards", key, whole(1, MAX_SHARDS), 1)
    matrix = _matrix(tree, key, reader, shards)
    return SuiteSpec(
        name=name,
        compose=reader.items(tree, "compose", key, lambda value: repository_path(folder, value)),
        tests=reader.read(tree, "tests", key, plain_text, ""),
        results=reader.items(tree, "results", key, container_glob) or DEFAULT_RESULTS,
        artifacts=reader.items(tree, "artifacts", key, container_glob),
        level=reader.read(tree, "level", key, one_of(Level), Level.INTEGRATION),
        timeout_seconds=reader.read(tree, "timeout", key, wait_seconds, DEFAULT_TIMEOUT_SECONDS),
        shards=shards,
        matrix=matrix,
        before=tuple(
            hook
            for index, entry in enumerate(reader.listed(tree, "before", key))
            if (hook := _hook(entry, f"{key}.before[{index}]", tree, reader))
        ),
        data={
            recipe: hook
            for recipe, entry, _ in reader.mapping(tree, "data", f"{key}.data")
            if (hook := _hook(entry, f"{key}.data.{recipe}", tree, reader))
        },
        push=_branches(on, "push", f"{key}.on", reader),
        pull_request=_branches(on, "pull_request", f"{key}.on", reader),
        schedules=_schedules(on, f"{key}.on", reader),
        gates=_gates(reader.child(tree, "gates", key), f"{key}.gates", reader),
        keep_on_failure_seconds=reader.read(tree, "keep_on_failure", key, wait_seconds, 0.0),
        definition=_plain(tree),
    )


_SUITE_KEYS: Final = (
    "compose",
    "tests",
    "results",
    "artifacts",
    "level",
    "timeout",
    "shards",
    "matrix",
    "before",
    "data",
    "on",
    "gates",
    "keep_on_failure",
)


def _matrix(tree: Map, key: str, reader: Reader, shards: int) -> dict[str, tuple[str, ...]]:
    matrix: dict[str, tuple[str, ...]] = {}
    environments = shards
    child = reader.child(tree, "matrix", key)
    for name in child:
        where = f"{key}.matrix.{name}"
        if not _VARIABLE.fullmatch(name):
            reader.problem(f"{where}: {name!r} is no name for a variable", where, child.place(name))
        matrix[name] = reader.items(child, name, f"{key}.matrix", plain_text)
        if not matrix[name]:
            reader.problem(f"{where} has no values", where, child.place(name))
        environments *= max(1, len(matrix[name]))
    if environments > MAX_ENVIRONMENTS:
        message = f"{key}: matrix and shards make {environments} environments; {MAX_ENVIRONMENTS} are allowed"
        reader.problem(message, key, tree.place("matrix"))
    return matrix


def _hook(entry: object, key: str, tree: Map, reader: Reader) -> Hook | None:
    if not isinstance(entry, Map):
        reader.problem(f"{key} must be a mapping with 'service' and 'run'", key, tree.mark)
        return None
    reader.check_keys(entry, ("service", "run"), key)
    found = len(reader.problems)
    for needed in ("service", "run"):
        if needed not in entry:
            reader.problem(f"{key} needs the key {needed!r}", f"{key}.{needed}", entry.mark)
    service = reader.read(entry, "service", key, plain_text, "")
    run = reader.read(entry, "run", key, plain_text, "")
    return Hook(service, run) if len(reader.problems) == found else None


def _branches(on: Map, name: str, key: str, reader: Reader) -> Branches | None:
    if name not in on:
        return None
    child = reader.child(on, name, key)
    reader.check_keys(child, ("branches", "paths", "cancel_superseded"), f"{key}.{name}")
    return Branches(
        branches=reader.items(child, "branches", f"{key}.{name}", plain_text),
        paths=reader.items(child, "paths", f"{key}.{name}", plain_text),
        cancel_superseded=reader.read(child, "cancel_superseded", f"{key}.{name}", truth, default=False),
    )


def _schedules(on: Map, key: str, reader: Reader) -> tuple[ScheduleSpec, ...]:
    schedules: list[ScheduleSpec] = []
    for index, entry in enumerate(reader.listed(on, "schedule", key)):
        where = f"{key}.schedule[{index}]"
        if not isinstance(entry, Map):
            reader.problem(f"{where} must be a mapping with 'cron'", where, on.place("schedule"))
            continue
        reader.check_keys(entry, ("cron", "timezone", "branch"), where)
        if "cron" not in entry:
            reader.problem(f"{where} needs the key 'cron'", f"{where}.cron", entry.mark)
        schedules.append(
            ScheduleSpec(
                cron=reader.read(entry, "cron", where, cron_line, ""),
                timezone=reader.read(entry, "timezone", where, time_zone, "UTC"),
                branch=reader.read(entry, "branch", where, plain_text, ""),
            )
        )
    return tuple(schedules)


def _gates(tree: Map, key: str, reader: Reader) -> Gates:
    reader.check_keys(tree, ("new_failures", "new_flaky", "duration_increase"), key)
    return Gates(
        new_failures=reader.read(tree, "new_failures", key, whole(0, 1_000_000), None),
        new_flaky=reader.read(tree, "new_flaky", key, whole(0, 1_000_000), None),
        duration_increase=reader.read(tree, "duration_increase", key, share, None),
    )


def _labels(service: object) -> dict[str, str]:
    labels = service.get("labels") if isinstance(service, Map) else None
    if isinstance(labels, Map):
        return {key: text_of(value) for key, value in labels.items() if not isinstance(value, Map | Seq)}
    pairs = (text_of(label).partition("=") for label in labels) if isinstance(labels, Seq) else ()
    return {key: value for key, _, value in pairs}


def _is_suite_file(text: str, file: str) -> bool:
    tree = _document(text, file)
    return "suites" in tree or "services" not in tree


def _document(text: str, file: str) -> Map:
    try:
        documents = read_yaml(text, file=file)
    except SpecError as error:
        raise SuiteFileError(*error.problems) from error
    if len(documents) != 1 or not isinstance(documents[0], Map):
        raise SuiteFileError(Problem("the file must be one mapping", file, 1))
    return documents[0]


def _text(folder: Path, file: str, *, is_needed: bool) -> str | None:
    path = (folder / file).resolve()
    try:
        if not path.is_relative_to(folder.resolve()):
            raise SuiteFileError(Problem("the suite file lies outside the repository", file))
        if not path.is_file():
            if is_needed:
                raise SuiteFileError(Problem("there is no such file", file))
            return None
        if path.stat().st_size > MAX_BYTES:
            raise SuiteFileError(Problem(f"the file is larger than {MAX_BYTES // 1024} KiB", file))
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SuiteFileError(Problem("the file is not UTF-8 text", file)) from error
    except OSError as error:
        raise SuiteFileError(Problem(f"the file cannot be read: {error.strerror}", file)) from error


def _plain(node: object) -> Any:  # noqa: ANN401 - a tree holds anything
    if isinstance(node, Map):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, Seq):
        return [_plain(value) for value in node]
    return node if node is None or isinstance(node, bool | int | str) else text_of(node)
