"""Validate suite files and Compose files, offline.

Every problem is told with its file and line. Without FILES, the suite file of this folder is checked, or the
Compose files in it that are suites by themselves. Exit code 0 only when everything is good.

A suite must also be one that itdash runs: what it does not support, or a shared engine does not grant, is a
problem. What an administrator granted the project is said with --grant.

Of a Compose file that is named this is only noted: it is judged as Docker Compose would judge it.

With --json, a list with one object per file: `file`, `kind`, `ok`, `problems`, `notices` and `model`, which
is the resolved canonical model of a Compose file, as Compose prints it, or the suites of a suite file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from environments import policy
from environments.clamping import clamped
from environments.errors import PolicyError, Problem, SpecError
from environments.grants import GRANTS
from environments.plan import StartPlan
from environments.presets import filled
from environments.spec import EnvironmentSpec, compose_config, environment_from, load_model, with_replicas
from environments.spec.source import MAX_BYTES, Map, nearest, read_yaml
from runs.suitefile import (
    COMPOSE_FILES,
    SUITE_FILES,
    SuiteFileError,
    SuiteSpec,
    read_suite_file,
    suite_from_compose,
)

#: What every run has besides its own variables.
_OF_EVERY_RUN = {
    "CI": "true",
    "ITDASH": "true",
    "ITDASH_RUN_ID": "0",
    "ITDASH_SHARD": "1",
    "ITDASH_SHARDS": "1",
}
_NOTHING_TO_CHECK = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found of one file and all that it names."""

    file: str
    kind: str
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    model: Any = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about every file."""

    variables: Mapping[str, str] = field(default_factory=dict)
    profiles: Sequence[str] = ("*",)
    #: The project's; empty for the one that Compose would choose.
    name: str = ""
    #: Whether a Compose file must also be one that itdash runs.
    must_run: bool = False
    #: What an administrator of the installation granted the project.
    grants: frozenset[str] = frozenset()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", metavar="FILES", nargs="*", help="suite files or Compose files")
    parser.add_argument("--json", action="store_true", help="print the resolved models or the errors as JSON")
    parser.add_argument(
        "--var",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a variable of the run; the process environment counts for nothing",
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        action="append",
        default=[],
        help="check with this profile on; all when left out",
    )
    parser.add_argument(
        "--grant",
        metavar="NAME",
        action="append",
        default=[],
        choices=sorted(GRANTS),
        help="what an administrator granted the project, for example privileged",
    )
    parser.add_argument(
        "--project-name",
        metavar="NAME",
        help="as Compose's; the name in the file or of its folder when left out",
    )


def run(options: argparse.Namespace) -> int:
    """Check every file; returns 0 when all are good, 1 when one is not, 2 when there is nothing to check."""
    paths = [Path(file) for file in options.files]
    must_run = not paths
    paths = paths or _found(Path())
    if not paths:
        print("There is no itdash.yml and no Compose file that is a suite here.", file=sys.stderr)
        return _NOTHING_TO_CHECK
    variables = {name: value for name, _, value in (pair.partition("=") for pair in options.var)}
    question = Question(
        variables,
        options.profile or ["*"],
        options.project_name or "",
        must_run=must_run,
        grants=frozenset(options.grant),
    )
    answers = [check(path, question) for path in paths]
    if options.json:
        print(json.dumps([_as_json(answer) for answer in answers], indent=2))
    else:
        for answer in answers:
            _print(answer)
    return 1 if any(answer.problems for answer in answers) else 0


def check(path: Path, question: Question) -> Answer:
    """Check one file of either kind; with a suite file, also the Compose files that it names."""
    root = _checkout(path)
    try:
        text = _read(path)
        if _is_suite_file(path, text):
            return _check_suites(path, text, root, question)
        return _check_compose(path, text, root, question)
    except SuiteFileError as error:
        return Answer(str(path), "suite file", _placed(error.problems, root))
    except SpecError as error:
        return Answer(str(path), "Compose file", _placed(error.problems, root))


def _check_compose(path: Path, text: str, root: Path, question: Question) -> Answer:
    name = question.name or _project_name(text, path)
    variables = {"COMPOSE_PROJECT_NAME": name, **question.variables}
    model = load_model([path.absolute()], directory=root, variables=variables, profiles=question.profiles)
    notices = model.notices
    problems: tuple[Problem, ...]
    try:
        spec = environment_from(model)
        notices = spec.notices + clamped(spec)[1]
        problems = _shared_engine_problems(spec, question.grants)
    except SpecError as error:
        problems = error.problems
    problems = _placed(problems, root)
    if not question.must_run:
        notices += tuple(f"itdash does not run this: {problem}" for problem in problems)
        problems = ()
    config = None if problems else compose_config(model, name=name)
    return Answer(str(path), "Compose file", problems, notices, config)


def _project_name(text: str, path: Path) -> str:
    """The name that Compose gives the project: the one in the file, or its folder's, made fit for a name."""
    documents = read_yaml(text, file=path.name)
    named = [document["name"] for document in documents if isinstance(document, Map) and document.get("name")]
    folder = re.sub(r"[^a-z0-9_-]", "", path.absolute().parent.name.lower()).lstrip("_-")
    return str(named[-1]) if named else folder or "default"


def _check_suites(path: Path, text: str, root: Path, question: Question) -> Answer:
    # Inside the suite file, paths count from its own folder; in the result, from the checkout's.
    suites = read_suite_file(text, file=str(path.absolute().relative_to(root))).suites
    problems: dict[Problem, None] = {}
    notices: dict[str, None] = {}
    for suite in suites.values():
        for values in product(*suite.matrix.values()):
            combination = dict(zip(suite.matrix, values, strict=True))
            try:
                spec = _environment(suite, root, {**question.variables, **combination, **_OF_EVERY_RUN})
            except SpecError as error:
                problems.update(dict.fromkeys(error.problems))
                continue
            notices.update(dict.fromkeys(spec.notices + clamped(spec)[1]))
            problems.update(dict.fromkeys(_shared_engine_problems(spec, question.grants)))
            problems.update(dict.fromkeys(_unknown_services(suite, spec, path)))
    model = {name: _jsonable(asdict(replace(suite, definition={}))) for name, suite in suites.items()}
    for suite in model.values():
        del suite["definition"]
    return Answer(str(path), "suite file", _placed(problems, root), tuple(notices), {"suites": model})


def _environment(suite: SuiteSpec, root: Path, variables: Mapping[str, str]) -> EnvironmentSpec:
    return environment_from(
        load_model(
            [Path(file) for file in suite.compose],
            directory=root,
            variables=variables,
            services=[suite.tests],
        )
    )


def _shared_engine_problems(spec: EnvironmentSpec, grants: frozenset[str]) -> tuple[Problem, ...]:
    """What no schema sees: what policy refuses, and what never starts."""
    problems: list[Problem] = []
    try:
        spec = filled(replace(spec, grants=grants))
        policy.check(spec)
    except PolicyError as error:
        problems += error.problems
    except SpecError as error:
        return error.problems
    try:
        StartPlan(with_replicas(spec))
    except SpecError as error:
        problems += error.problems
    return tuple(problems)


def _unknown_services(suite: SuiteSpec, spec: EnvironmentSpec, path: Path) -> Iterable[Problem]:
    asked = {"tests": suite.tests}
    asked |= {f"before[{index}].service": hook.service for index, hook in enumerate(suite.before)}
    asked |= {f"data.{name}.service": hook.service for name, hook in suite.data.items()}
    for key, service in asked.items():
        if service not in spec.services:
            yield Problem(
                f"suites.{suite.name}.{key}: the Compose file has no service {service!r}",
                str(path.absolute()),
                key=f"suites.{suite.name}.{key}",
                mend=nearest(service, spec.services),
            )


def _found(folder: Path) -> list[Path]:
    suites = [folder / name for name in SUITE_FILES if (folder / name).is_file()]
    return suites[:1] or [path for name in COMPOSE_FILES if _is_suite_itself(path := folder / name)]


def _is_suite_itself(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return suite_from_compose(_read(path), file=str(path)) is not None
    except (SpecError, SuiteFileError):
        return True  # What is wrong with it is worth telling.


def _is_suite_file(path: Path, text: str) -> bool:
    if path.name in SUITE_FILES:
        return True
    documents = read_yaml(text, file=str(path))
    return any(isinstance(document, Map) and "suites" in document for document in documents)


def _checkout(path: Path) -> Path:
    """The folder of the repository that holds the file; its own folder outside of any."""
    folder = path.absolute().parent
    return next((parent for parent in [folder, *folder.parents] if (parent / ".git").exists()), folder)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(Problem(f"the file is larger than {MAX_BYTES // 1024} KiB", str(path.absolute())))
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(Problem("the file is not UTF-8 text", str(path.absolute()), 1)) from error
    except OSError as error:
        reason = (error.strerror or "no such file").lower()
        raise SpecError(Problem(f"the file cannot be read: {reason}", str(path.absolute()))) from error


def _placed(problems: Iterable[Problem], root: Path) -> tuple[Problem, ...]:
    """The problems with their files named from here, as editors and people open them."""
    return tuple(
        replace(problem, file=_from_here(root / problem.file)) if problem.file else problem
        for problem in problems
    )


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _print(answer: Answer) -> None:
    for notice in answer.notices:
        print(f"{answer.file}: note: {notice}")
    for problem in answer.problems:
        print(problem if problem.file else f"{answer.file}: {problem}")
    if not answer.problems:
        print(f"{answer.file}: good ({answer.kind})")


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "file": answer.file,
        "kind": answer.kind,
        "ok": not answer.problems,
        "problems": [asdict(problem) for problem in answer.problems],
        "notices": list(answer.notices),
        "model": _jsonable(answer.model),
    }


def _jsonable(value: object) -> Any:  # noqa: ANN401 - JSON holds anything
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and abs(value) < float("inf") else str(value)
