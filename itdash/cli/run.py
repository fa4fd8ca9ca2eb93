"""Queue a run of a suite, and with --wait follow it to its end.

Exit codes: 0 queued or passed, 1 failed, 2 anything that is not the tests' fault. The token needs the scope
`trigger`, and `read` to wait.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from itertools import repeat
from typing import Any

from environments.errors import DeadlineExceededError
from environments.probes import wait_until
from itdash.cli._server import Server, ServerError, UnreachableError, add_server, server_of

LOOK_SECONDS = 1.0
#: A server that is restarted is waited for.
UNREACHABLE_LIMIT = 60
FINISHED_EXIT_CODES = {"passed": 0, "failed": 1, "timed_out": 1, "errored": 2, "cancelled": 2}
EXIT_NOT_THE_TESTS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("suite", metavar="SUITE", help="the suite's name")
    parser.add_argument("--project", required=True, metavar="P", help="the project's address, its slug")
    parser.add_argument(
        "--ref", default="", metavar="R", help="branch, tag or commit (default: the project's default branch)"
    )
    parser.add_argument("--wait", action="store_true", help="follow the run; the exit code tells its end")
    parser.add_argument(
        "--timeout",
        type=float,
        default=24 * 3600,
        metavar="S",
        help="stop waiting after S seconds (default: a day)",
    )
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    """Queue the run; returns the exit code."""
    try:
        server = server_of(options)
        queued = server.post(
            f"/projects/{options.project}/runs",
            {"suite": options.suite, "ref": options.ref},
            # One for each call of the command: a repeated request is the same run.
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        print(f"Run {queued['number']} is queued: {queued['url']}", flush=True)
        return follow(server, queued["id"], seconds=options.timeout) if options.wait else 0
    except DeadlineExceededError:
        print(f"itdash: the run goes on, waiting has ended after {options.timeout:g} s.", file=sys.stderr)
    except ServerError as error:
        print(f"itdash: {error}", file=sys.stderr)
    return EXIT_NOT_THE_TESTS


def follow(server: Server, run_id: int, *, seconds: float) -> int:
    """Tell every change of status until the run has finished; returns the exit code."""
    seen = ""
    unreachable = 0

    def finished() -> dict[str, Any] | None:
        nonlocal seen, unreachable
        try:
            current = server.get(f"/runs/{run_id}")
        except UnreachableError:
            unreachable += 1
            if unreachable > UNREACHABLE_LIMIT:
                raise
            return None
        unreachable = 0
        if current["status"] != seen:
            seen = current["status"]
            print(f"  {seen}", flush=True)
        return current if seen in FINISHED_EXIT_CODES else None

    ended = wait_until(finished, deadline_seconds=seconds, pauses=repeat(LOOK_SECONDS))
    print(sentence(ended), flush=True)
    return FINISHED_EXIT_CODES[ended["status"]]


def sentence(ended: dict[str, Any]) -> str:
    """The run's end for a person."""
    totals = ended["totals"]
    seconds = ended["duration_seconds"] or 0
    told = (
        f"Run {ended['number']} {ended['status'].replace('_', ' ')} after {seconds:.1f} s: "
        f"{totals['tests']} tests, {totals['passed']} passed, {totals['failed'] + totals['errored']} failed, "
        f"{totals['skipped']} skipped, {totals['flaky']} flaky. {ended['url']}"
    )
    return f"{told}\n{ended['error_message']}" if ended["error_message"] else told
