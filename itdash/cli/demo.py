"""Start everything and run the example's suite: a shop of three services, with a past.

Sixty days of sample data are sent first, once: made-up reports, judged like real ones. The run is a real one,
in containers where an engine answers and has the images, else as processes of this machine. The servers go on
afterwards, so that you can look around; with --exit they are stopped and the exit code is 0 only if the run
passed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial

from itdash.cli import up
from itdash.supervisor import guard

#: Looking for an engine includes pulling the example's images once.
CHOICE_SECONDS = 150


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    up.add_arguments(parser)
    parser.add_argument(
        "--exit", action="store_true", help="stop after the run; exit 0 only if it passed as expected"
    )
    parser.add_argument(
        "--no-sample", action="store_true", help="leave the sample data out: only the real run"
    )


def run(options: argparse.Namespace) -> int:
    """Start everything, run the example, keep going or stop; returns the exit code."""
    steps = (
        up.start_servers,
        up.prepare_files_and_tables,
        up.note_running,
        choose_engine,
        up.start_web,
        up.start_workers,
        partial(play, leave=options.exit, bare=options.no_sample),
    )
    return guard(partial(up.serve, up.wish_of(options), steps))


def choose_engine(installation: up.Installation) -> None:
    """Settle on the engine before the workers start, and say why."""
    process = subprocess.run(
        [sys.executable, "-m", "itdash.cli._demo_part", "engine"],
        cwd=up.HOME,
        env=installation.variables,
        stdout=subprocess.PIPE,
        timeout=CHOICE_SECONDS,
        check=False,
    )
    if process.returncode:
        message = "the demo could not find out which engine to use; the lines above say why."
        raise up.CannotStartError(message)
    choice = json.loads(process.stdout)
    installation.variables["ITDASH_ENGINE"] = choice["engine"]
    installation.done("engine", f"{choice['engine']}: {choice['reason']}")


def play(installation: up.Installation, *, leave: bool, bare: bool) -> None:
    """Start the part that makes the project and follows its run."""
    installation.supervisor.on_end = lambda _name, _code: leave
    words = ["itdash.cli._demo_part", "leave" if leave else "stay", *(["bare"] if bare else [])]
    installation.supervisor.start(installation.program("demo", *words, once=True))
