"""How long an upload takes from its first byte to a run that its page shows as finished, under load.

    python benchmarks/uploads.py [--seconds 60] [--rate 20] [--cases 50]

`itdash up` is started with everything it has: its own PostgreSQL and Valkey, the web process, the workers and
beat. Then reports of 50 test cases, every other with a failure, come at a steady 20 a second over HTTP, on
time whether or not those before were answered, as from many CIs: 10 suites, each upload a run of its own.
Another client asks the API for the project's newest runs over and over, as a page does; an upload is visible
when its run stands there as finished. Judging, pacing and blame of the runs go on meanwhile, as they do.

Then it says where the time went (until the answer, waiting in the queue, in the worker, until judged), how
much processor time an upload took of which process, what the machine had left for us at that moment, and so
what rate it could sustain: a figure from a machine that does other things as well is to be read beside that.

Promise: 95 of 100 are visible within 1 s.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PROMISED_SECONDS = 1.0
PROJECT = "bench"
SUITES = 10
SENDERS = 32
#: Runs on the page that the watcher asks for; whoever is not among them yet is looked for further down.
SHOWN = 25
LOOK_SECONDS = 0.2
START_SECONDS = 180.0
PATIENCE_SECONDS = 30.0
WARM_SECONDS = 3
#: How long the machine is asked what it has left for us.
PROBE_SECONDS = 2.0
JUDGED_SECONDS = 120.0
BOUNDARY = "itdash-benchmark"
#: What a worker's log says at the end of a task.
DONE = re.compile(r"Task runs\.tasks\.(\w+)\[[^]]+\] succeeded in ([0-9.e-]+)s")
KINDS = {
    "postgres": "PostgreSQL",
    "valkey": "Valkey",
    "uvicorn": "web",
    "ingest@": "worker of uploads",
    "runs@": "worker of runs",
}


def main() -> int:
    """Measure and print; returns 1 when the promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=20)
    parser.add_argument("--cases", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, site(Path(folder)) as one:
        return measure(one, seconds=options.seconds, rate=options.rate, cases=options.cases)


@dataclass(slots=True)
class Site:
    """A running itdash and a token for it."""

    port: int
    token: str
    #: `itdash up`, the parent of all the others, and the log of the worker that stores uploads.
    process: psutil.Process
    log: Path
    #: By run: when its upload began to be sent, and when the run was seen finished.
    begun: dict[int, float] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    #: What came instead of a 202.
    refused: list[str] = field(default_factory=list)
    #: Seconds until 202.
    answered: list[float] = field(default_factory=list)


def measure(site: Site, *, seconds: int, rate: int, cases: int) -> int:
    """Print the figures; returns 1 when the promise is broken."""
    load = os.getloadavg()[0]
    print(f"{rate} uploads/s of {cases} test cases for {seconds} s; {os.cpu_count()} cores, load {load:.1f}")
    left = cores_left()
    send_all(site, WARM_SECONDS * rate, rate, cases)  # test cases become known, connections open
    watched(site, WARM_SECONDS * rate, WARM_SECONDS)
    judged(site, len(site.seen))
    judged(site, WARM_SECONDS * rate)
    site.begun.clear()
    site.seen.clear()
    site.answered.clear()
    tasks_before = {name: len(own) for name, own in tasks_done(site).items()}
    used_before = processor_seconds(site)
    count = seconds * rate
    sending = threading.Thread(target=send_all, args=(site, count, rate, cases))
    sending.start()
    watched(site, count, seconds)
    sending.join()
    delays = sorted(site.seen[run] - begun for run, begun in site.begun.items() if run in site.seen)
    tell("answered with 202", sorted(site.answered))
    p95 = tell("visible", delays)
    seen_at = max(site.seen.values(), default=time.perf_counter())
    is_judged = judged(site, count + tasks_before.get("judge_run", 0))
    behind = max(time.perf_counter() - seen_at, 0.0)
    tell_stages(site, tasks_before)
    print(f"verdicts: {f'all, {behind:.1f} s after the last was visible' if is_judged else 'MISSING'}")
    tell_processors(used_before, processor_seconds(site), count, left)
    lost = count - len(delays)
    print(f"not visible, {PATIENCE_SECONDS:.0f} s after the last was due: {lost}")
    for words in site.refused[:5]:
        print(f"not taken: {words}")
    kept = p95 <= PROMISED_SECONDS and not lost
    print(f"visible, p95: {p95:.2f} s (promised: at most {PROMISED_SECONDS:g})")
    print("promise kept" if kept else "PROMISE BROKEN")
    return 0 if kept else 1


def tell(name: str, values: list[float]) -> float:
    """Print a distribution; returns its 95th percentile."""
    if len(values) < 2:  # noqa: PLR2004 - a percentile needs two
        print(f"{name}: nothing to tell")
        return float("inf")
    p95 = statistics.quantiles(values, n=20)[-1]
    print(f"{name}: p50 {statistics.median(values):.2f} s, p95 {p95:.2f} s, max {values[-1]:.2f} s")
    return p95


def tell_stages(site: Site, tasks_before: dict[str, int]) -> None:
    """Print how long uploads waited, were being stored, and their runs were being judged."""
    done = {name: own[tasks_before.get(name, 0) :] for name, own in tasks_done(site).items()}
    stored = delays_until_stored(site)
    own = done.get("ingest_upload", [])
    waited = max(statistics.fmean(stored) - statistics.fmean(own), 0.0) if stored and own else float("nan")
    print(f"of that waiting in the queue, on average: {waited:.2f} s")
    for name, words in (("ingest_upload", "being stored, in the worker"), ("judge_run", "being judged")):
        tell(words, sorted(done.get(name, [])))


def delays_until_stored(site: Site) -> list[float]:
    """Seconds between the row and the results of each upload that was measured, as the API tells them."""
    delays: list[float] = []
    path = f"/projects/{PROJECT}/uploads?limit=100"
    while path:
        _, page = call(site, "GET", path)
        items = [one for one in page.get("items", ()) if one["run"]["number"] in site.begun]
        delays += [one["delay_seconds"] for one in items if one["delay_seconds"] is not None]
        more = page.get("next") if items else None
        path = f"/projects/{PROJECT}/uploads?{more.partition('?')[2]}" if more else ""
    return delays


def judged(site: Site, count: int) -> bool:
    """Wait until so many runs have been judged since the start; False when that takes too long."""
    deadline = time.perf_counter() + JUDGED_SECONDS
    while len(tasks_done(site).get("judge_run", ())) < count:
        if time.perf_counter() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def tasks_done(site: Site) -> dict[str, list[float]]:
    """Seconds that each task took in the worker, by its name, in the order they ended."""
    found: dict[str, list[float]] = {}
    for name, took in DONE.findall(site.log.read_text("utf-8", "replace")):
        found.setdefault(name, []).append(float(took))
    return found


def tell_processors(before: dict[str, float], after: dict[str, float], count: int, left: float) -> None:
    """Print the processor time that an upload took, and what that means for the rate."""
    each = {kind: (after[kind] - before.get(kind, 0.0)) / count for kind in after}
    parts = ", ".join(
        f"{kind} {own * 1000:.0f}" for kind, own in sorted(each.items(), key=lambda one: -one[1])
    )
    whole = sum(each.values())
    print(f"processor time of an upload: {whole * 1000:.0f} ms ({parts})")
    print(
        f"this machine had {left:.2f} of {os.cpu_count()} cores for us: up to {left / whole:.0f} uploads/s; "
        f"alone on it: {(os.cpu_count() or 1) / whole:.0f}"
    )


def processor_seconds(site: Site) -> dict[str, float]:
    """Processor time so far by kind of process: itdash's own, and this one that sends and watches."""
    own = psutil.Process().cpu_times()
    spent = {"sender and watcher": own.user + own.system}
    for process in site.process.children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            kind = next((name for word, name in KINDS.items() if word in words), "others")
            # With what its children spent that have gone: PostgreSQL ends connections now and then.
            spent[kind] = spent.get(kind, 0.0) + sum(process.cpu_times()[:4])
    return spent


def cores_left() -> float:
    """How many cores' worth of time as many busy processes as there are cores are given at this moment."""
    spin = f"import time; end = time.monotonic() + {PROBE_SECONDS}\nwhile time.monotonic() < end: pass"
    spin += "\nprint(time.process_time())"
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", spin], stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    return sum(float(process.communicate()[0]) for process in busy) / PROBE_SECONDS


def send_all(site: Site, count: int, rate: int, cases: int) -> None:
    """Send at a steady rate: each at its own moment, however the others fare."""
    start = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as senders:
        for number in range(count):
            pause = start + number / rate - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            senders.submit(send, site, number, cases, time.perf_counter())


def send(site: Site, number: int, cases: int, due: float) -> None:
    """Send one report; its time counts from when it was due."""
    parts = {"suite": f"suite-{number % SUITES}", "branch": "main", "commit": f"{number:040x}"}
    body = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    head = 'Content-Disposition: form-data; name="files"; filename="junit.xml"\r\nContent-Type: text/xml'
    body += f"--{BOUNDARY}\r\n{head}\r\n\r\n{report(number, cases)}\r\n--{BOUNDARY}--\r\n"
    status, answer = call(
        site,
        "POST",
        f"/projects/{PROJECT}/uploads",
        body.encode(),
        f"multipart/form-data; boundary={BOUNDARY}",
    )
    if status != http.HTTPStatus.ACCEPTED:
        site.refused.append(f"{status}: {answer}")
        return
    site.answered.append(time.perf_counter() - due)
    site.begun[answer["run"]["number"]] = due


def report(number: int, cases: int) -> str:
    """A report of tests that are the same in every run of their suite; one of them fails now and then."""
    chance = random.Random(number)
    rows = []
    for case in range(cases):
        failed = case == number % cases and number % 2
        inside = '<failure message="expected 201, got 503">at checkout.py:12</failure>' if failed else ""
        took = f"{chance.uniform(0.01, 2):.3f}"
        rows.append(
            f'<testcase classname="shop.Checkout" name="test_{case:03d}" time="{took}">{inside}</testcase>'
        )
    return f'<testsuite name="shop" tests="{cases}">{"".join(rows)}</testsuite>'


def watched(site: Site, count: int, seconds: int) -> None:
    """Look at the project's runs until all that were sent are finished, or the patience is at its end."""
    deadline = time.perf_counter() + PATIENCE_SECONDS + seconds
    while len(site.seen) + len(site.refused) < count and time.perf_counter() < deadline:
        look(site)
        time.sleep(LOOK_SECONDS)


def look(site: Site) -> None:
    """Ask for the newest runs, and for the pages between them and the oldest that is missing."""
    missing = set(site.begun) - set(site.seen)
    path = f"/projects/{PROJECT}/runs?limit={SHOWN}"
    while path:
        status, page = call(site, "GET", path)
        now = time.perf_counter()
        if status != http.HTTPStatus.OK:
            return
        finished = {run["number"] for run in page["items"] if run["finished_at"]}
        site.seen |= dict.fromkeys(finished & set(site.begun) - set(site.seen), now)
        missing -= finished
        oldest = min((run["number"] for run in page["items"]), default=0)
        more = page["next"] if missing and min(missing) < oldest else None
        path = f"/projects/{PROJECT}/runs?{more.partition('?')[2]}" if more else ""


def call(
    site: Site, method: str, path: str, body: bytes | None = None, kind: str = ""
) -> tuple[int, dict[str, Any]]:
    """Ask the API; returns the status and what it said."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    headers = {"Authorization": f"Bearer {site.token}"} | ({"Content-Type": kind} if kind else {})
    try:
        connection.request(method, f"/api/v1{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, {"error": type(error).__name__}
    finally:
        connection.close()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start `itdash up` on a folder of its own; ends it with everything it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = ["--data-dir", str(folder / "data")]
    variables = {**os.environ, "ITDASH_INSTANCE": f"bench-{os.getpid()}", "ITDASH_LOG_LEVEL": "INFO"}
    for name in ("DATABASE_URL", "BROKER_URL"):
        variables.pop(name, None)
    command = [sys.executable, "-m", "itdash"]
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [*command, "up", "--port", str(port), *data], cwd=ROOT, env=variables, stdout=log, stderr=log
        )
        try:
            wait_for(up, port, folder / "up.log")
            ask = [*command, "project", "create", PROJECT, *data]
            subprocess.run(ask, cwd=ROOT, env=variables, check=True, capture_output=True)
            ask = [*command, "token", "create", "--project", PROJECT, "--scopes", "upload,read", *data]
            told = subprocess.run(ask, cwd=ROOT, env=variables, check=True, capture_output=True, text=True)
            logs = folder / "data" / "logs"
            yield Site(port, told.stdout.split()[-1], psutil.Process(up.pid), logs / "worker-ingest.log")
        finally:
            up.send_signal(SIGINT)
            up.wait(60)


def wait_for(up: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when everything has been started."""
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and up.poll() is None:
        if "beat" in log.read_text("utf-8", "replace"):
            return
        time.sleep(0.2)
    raise SystemExit(f"itdash up did not start on port {port}:\n{log.read_text('utf-8', 'replace')}")


if __name__ == "__main__":
    sys.exit(main())
