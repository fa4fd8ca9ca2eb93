"""How soon everything is ready, and how soon it is gone: four services in three levels, against Compose.

    python benchmarks/readiness.py [--rounds 5]

Two Valkeys, a migration that runs once both are healthy, an API that starts when that has ended well. Each
has an ordinary health check, asked every 5 s, then every 1 s, as such files have it. Compose: `up --wait` and
`down`, as people call them, by the binary that ITDASH_COMPOSE_BINARY names. itdash: `provisioned`, entered
and left, with its row and lease in PostgreSQL, events, logs, samples and control API. Both take turns on the
same engine and the same images, named as the demo names them: ITDASH_DEMO_PYTHON_IMAGE and
ITDASH_DEMO_VALKEY_IMAGE.

Promised, with cores to spare: ready in 2.5 s at either interval, in a quarter of Compose's time at 5 s and in
0.6 of it at 1 s; gone in 1 s and in 0.15 of the time of Compose's `down`, which waits 10 s for a process
that does not heed SIGTERM, as most do not. Nearly all of it is the engine's own: 0.2 s a container, more on
a busy machine, so the load is printed with the figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from overhead import server

from itdash.env import demo_variables, process_environment

INTERVALS = (5, 1)
READY_SECONDS = 2.5
READY_SHARES = {5: 0.25, 1: 0.6}
GONE_SECONDS = 1.0
GONE_SHARE = 0.15
PATIENCE_SECONDS = 120.0

CACHE = """
    image: {valkey}
    healthcheck: {{test: ["CMD", "valkey-cli", "ping"], interval: {interval}s, timeout: 3s, retries: 10}}
"""
SERVICES = """
services:
  sessions: {cache}
  queue: {cache}
  migrate:
    image: {python}
    command: ["python3", "-c", "print('migrated')"]
    depends_on: {{sessions: {{condition: service_healthy}}, queue: {{condition: service_healthy}}}}
  api:
    image: {python}
    command: ["python3", "-m", "http.server", "8000"]
    healthcheck:
      test: ["CMD", "python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8000)).close()"]
      interval: {interval}s
      timeout: 3s
      retries: 10
    depends_on: {{migrate: {{condition: service_completed_successfully}}}}
"""
#: What itdash runs once all is ready; it is not started here.
TESTS = """
services:
  tests:
    image: {python}
    command: ["true"]
    depends_on:
      sessions: {{condition: service_healthy}}
      queue: {{condition: service_healthy}}
      api: {{condition: service_healthy}}
"""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds to ready and to gone."""

    ready: float
    gone: float


def main() -> int:
    """Measure and print; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    binary = process_environment().get("ITDASH_COMPOSE_BINARY", "")
    if not binary:
        print("ITDASH_COMPOSE_BINARY names no Compose: only the seconds are measured, no share of its time.")
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        print(f"{os.cpu_count()} cores", flush=True)
        kept = [measure(Path(folder), interval, options.rounds, binary) for interval in INTERVALS]
    print("promises kept" if all(kept) else "PROMISE BROKEN")
    return 0 if all(kept) else 1


def measure(folder: Path, interval: int, rounds: int, binary: str) -> bool:
    """Print the figures of one interval; say whether what is promised holds."""
    project = folder / f"every-{interval}s"
    write(project, interval)
    print(f"health checks every {interval} s, load {os.getloadavg()[0]:.1f}", flush=True)
    ours, theirs = [], []
    for number in range(1, rounds + 1):
        ours.append(with_itdash(project))
        said = f"  round {number}: itdash ready {ours[-1].ready:.2f} s, gone {ours[-1].gone:.2f} s"
        if binary:
            theirs.append(with_compose(project, binary))
            said += f"; Compose ready {theirs[-1].ready:.2f} s, gone {theirs[-1].gone:.2f} s"
        print(said, flush=True)
    ready = judged("ready", READY_SECONDS, READY_SHARES[interval], ours, theirs, lambda took: took.ready)
    gone = judged("gone", GONE_SECONDS, GONE_SHARE, ours, theirs, lambda took: took.gone)
    return ready and gone


def judged(
    what: str,
    promised_seconds: float,
    promised_share: float,
    ours: list[Took],
    theirs: list[Took],
    figure: Callable[[Took], float],
) -> bool:
    """Print the medians beside what is promised; say whether they hold."""
    own = statistics.median(map(figure, ours))
    said = f"  {what}, medians: itdash {own:.2f} s (promised: at most {promised_seconds})"
    is_kept = own <= promised_seconds
    if theirs:
        other = statistics.median(map(figure, theirs))
        said += f", Compose {other:.2f} s: {own / other:.2f} of it (promised: at most {promised_share})"
        is_kept = is_kept and own / other <= promised_share
    print(said, flush=True)
    return is_kept


def write(project: Path, interval: int) -> None:
    """Write the project: what both run, and the tests' service beside it."""
    named = demo_variables()
    images = {
        "python": named.get("PYTHON_IMAGE", "python:3.13-slim"),
        "valkey": named.get("VALKEY_IMAGE", "valkey/valkey:8"),
    }
    cache = CACHE.format(interval=interval, **images)
    project.mkdir()
    (project / "compose.yaml").write_text(SERVICES.format(cache=cache, interval=interval, **images))
    (project / "tests.yaml").write_text(TESTS.format(**images))


def with_itdash(project: Path) -> Took:
    """Bring the environment up and leave it again."""
    from environments.engines import engine_named  # noqa: PLC0415 - once the server is up
    from environments.lifecycle import EnvironmentRequest, provisioned  # noqa: PLC0415 - as above
    from environments.spec import load_environment  # noqa: PLC0415 - as above

    spec = load_environment([Path("compose.yaml"), Path("tests.yaml")], directory=project, variables={})
    request = EnvironmentRequest(
        owner=f"bench:{os.getpid()}",
        shard=1,
        spec=spec,
        tests="tests",
        expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
    )
    began = time.perf_counter()
    with provisioned(
        request, engine=engine_named("docker"), tell=unheard, log=unheard, stop=threading.Event()
    ):
        ready = time.perf_counter() - began
        leaving = time.perf_counter()
    return Took(ready, time.perf_counter() - leaving)


def unheard(_: Any) -> None:  # noqa: ANN401 - whatever is told
    """Nobody listens: what listeners cost is not measured."""


def with_compose(project: Path, binary: str) -> Took:
    """The same by the reference."""
    base = [binary, "--project-name", f"itdash-bench-{os.getpid()}", "--file", str(project / "compose.yaml")]
    try:
        ready = timed([*base, "up", "--wait", "--detach"])
    finally:
        gone = timed([*base, "down", "--volumes"])
    return Took(ready, gone)


def timed(command: list[str]) -> float:
    """Seconds that a command takes. Raises when it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
