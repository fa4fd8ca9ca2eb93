"""Print the tests of one parallel slice, balanced by measured time.

Reads tests from standard input, one a line, and prints those of the slice in the same order. A line may be
pytest's node id, a file, or a class; what it takes is known from the suite's runs, and what is not known
takes the mean of the rest. Every slice is told the same as long as all are given the same lines: only runs
that had ended when the commit was made count (--as-of).

A server that cannot be reached is told on standard error, and the tests are dealt evenly: the build goes on.
The token needs the scope `read`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from environments.errors import DeadlineExceededError
from environments.probes import backing_off, wait_until
from itdash.cli._server import Server, ServerError, UnreachableError, add_server, server_of
from runs.analytics.sharding import deal

EXIT_REFUSED = 2
GIT_SECONDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--project", required=True, metavar="P", help="the project's address, its slug")
    parser.add_argument("--suite", required=True, metavar="S", help="the suite's name")
    parser.add_argument(
        "--shard", required=True, type=_slice, metavar="N/M", help="which of how many slices, from 1: 1/4"
    )
    parser.add_argument(
        "--as-of", metavar="MOMENT",
        help="only runs that had ended by then count (default: when the commit here was made, as git says)",
    )  # fmt: skip
    parser.add_argument(
        "--retry-for", type=float, default=30, metavar="SECONDS",
        help="go on trying while the server cannot be reached (default: 30)",
    )  # fmt: skip
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    """Print the slice's tests; returns the exit code."""
    number, count = options.shard
    lines = [line.strip() for line in sys.stdin]
    tests = list(dict.fromkeys(line for line in lines if line))
    try:
        known = _asked(server_of(options), options)
    except UnreachableError as error:
        known = []
        print(
            f"itdash: the tests are dealt evenly, not by time. {error} Slices that did reach the server may "
            "have been given others: tests could then run twice or not at all.",
            file=sys.stderr,
        )
    except ServerError as error:
        print(f"itdash: {error}", file=sys.stderr)
        return EXIT_REFUSED
    plan = deal(tests, {test: [seconds] for test, seconds in expected(tests, known).items()}, count)[
        number - 1
    ]
    for test in plan.tests:
        print(test)
    return 0


def expected(lines: Iterable[str], known: Iterable[dict[str, Any]]) -> dict[str, float]:
    """What each line takes in seconds, where that is known: as a test, else as a file, else as a class."""
    tests: dict[str, float] = {}
    whole: defaultdict[str, float] = defaultdict(float)
    for one in known:
        if one["seconds"] is None:
            continue
        tests |= dict.fromkeys(_spellings(one["test"]), one["seconds"])
        for name in {one["file"], one["class_name"], *_modules(one["class_name"])} - {None, ""}:
            whole[name] += one["seconds"]
    found: dict[str, float] = {}
    for line in lines:
        for name in _spellings(line):
            seconds = tests.get(name, whole.get(name))
            if seconds is not None:
                found[line] = seconds
                break
    return found


def _modules(class_name: str | None) -> list[str]:
    """The modules that a dotted name lies in: pytest's reports name no file unless they are asked to."""
    parts = (class_name or "").split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _spellings(line: str) -> Sequence[str]:
    """What a report may call it: as it stands, and dotted, as pytest writes it."""
    plain = line.removeprefix("./")
    path, _, rest = plain.partition("::")
    names, bracket, parameters = rest.partition("[")
    dotted = path.removesuffix(".py").replace("/", ".") + (f".{names.replace('::', '.')}" if rest else "")
    return line, plain, f"{dotted}{bracket}{parameters}"


def _asked(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The suite's tests with their times. UnreachableError when nobody answers in time."""
    asked = {"suite": options.suite, "shards": "1"}
    moment = options.as_of or _commit_moment()
    if moment:
        asked["as_of"] = moment
    path = f"/projects/{options.project}/split?{urlencode(asked)}"
    trouble: list[UnreachableError] = []

    def answer() -> list[dict[str, Any]] | None:
        try:
            tests: list[dict[str, Any]] = server.get(path)["tests"]
        except UnreachableError as error:
            trouble.append(error)
            return None
        return tests

    try:
        return wait_until(
            answer,
            deadline_seconds=options.retry_for,
            pauses=backing_off(first=1.0, growth=2.0, longest=10.0),
        )
    except DeadlineExceededError:
        raise trouble[-1] from None


def _commit_moment() -> str:
    """When the commit that is checked out here was made; empty where there is no git or no commit."""
    try:
        told = subprocess.run(
            ["git", "show", "--no-patch", "--format=%cI", "HEAD"],  # noqa: S607 - as the CI has it
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def _slice(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        message = f"“{text}” is no slice. Write which of how many, for example 1/4."
        raise argparse.ArgumentTypeError(message)
    return number, count
