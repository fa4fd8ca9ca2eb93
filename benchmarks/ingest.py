"""How fast reports become results, against the machine's own limit measured in the same run.

    python benchmarks/ingest.py [--cases 200000] [--rounds 3]

The raw limit parses the same file with lxml's iterparse while PostgreSQL copies one row per test case into
one table with one index: less cannot be done, and it keeps two cores busy. itdash's workers, processes of
their own, read the same file from disk, make test cases, results, totals and the counts by day of it, and
are done when the run's page shows them: with one worker, and with two that store at the same time, each
into a suite of its own. A private server is started with the settings of `itdash up`.

Promises, for test cases that are known, as they are in every run of a suite but its first: with two workers
on two cores at least 60,000 results a second and 0.3 of the raw limit; a worker that stores 500,000 cases of
250 MiB needs at most 200 MiB more than an idle one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PROMISED_RATIO = 0.3
PROMISED_PER_SECOND = 60_000
PROMISED_MEMORY_MIB = 200
LARGE_CASES = 500_000
LARGE_MIB = 250
CASES_PER_SUITE = 200
RAW = "raw limit: iterparse ∥ COPY into one indexed table"
KNOWN_BY_TWO = "itdash, two workers, every test case known"


def main() -> int:
    """Measure and print; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return print_memory(options.memory_of)
    if options.work:
        return work(options.work)
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        return measure(Path(folder), options.cases, options.rounds)


def measure(folder: Path, cases: int, rounds: int) -> int:
    """Print the figures; returns 1 when a promise is broken."""
    report = folder / "report.xml"
    write_report(report, cases)
    size = report.stat().st_size / 2**20
    load = os.getloadavg()[0]
    print(f"{cases:,} test cases, 1 in 100 failing, {size:.1f} MiB; {rounds} rounds, load {load:.1f}")
    with ExitStack() as workers:
        one, other = (workers.enter_context(worker(report)) for _ in range(2))
        known = [new_suite(), new_suite()]
        for suite in known:
            together([(one, suite)])
        rates = timed(
            {
                RAW: lambda: copy_raw(report),
                "itdash, one worker, every test case new": lambda: together([(one, new_suite())]),
                "itdash, one worker, every test case known": lambda: together([(one, known[0])]),
                "itdash, two workers, every test case new": lambda: together(
                    [(one, new_suite()), (other, new_suite())]
                ),
                KNOWN_BY_TWO: lambda: together([(one, known[0]), (other, known[1])]),
            },
            rounds,
        )
    for name, own in rates.items():
        if name != RAW:
            ratio = statistics.median(rate / raw for rate, raw in zip(own, rates[RAW], strict=True))
            promised = f" (promised: {PROMISED_RATIO})" if name == KNOWN_BY_TWO else ""
            print(f"ratio to the raw limit, {name.removeprefix('itdash, ')}: {ratio:.2f}{promised}")
            kept_ratio = ratio >= PROMISED_RATIO
    per_second = statistics.median(rates[KNOWN_BY_TWO])
    print(f"results a second: {per_second:,.0f} (promised: {PROMISED_PER_SECOND:,})")
    grown = memory_growth(folder)
    kept = kept_ratio and per_second >= PROMISED_PER_SECOND and grown <= PROMISED_MEMORY_MIB
    print("promises kept" if kept else "PROMISES BROKEN")
    return 0 if kept else 1


def timed(acts: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Time the acts in turn, so that whatever else runs meets all of them; return results a second."""
    rates: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            start = time.perf_counter()
            count = act()
            rates[name].append(count / (time.perf_counter() - start))
    for name, own in rates.items():
        spread = f"{min(own):,.0f} to {max(own):,.0f}"
        print(f"{name}: {statistics.median(own):,.0f} results/s ({spread})", flush=True)
    return rates


def together(shares: list[tuple[subprocess.Popen[str], int]]) -> int:
    """Let each worker store the report into its suite, all at once; returns the count of results shown."""
    for process, suite in shares:
        print(suite, file=process.stdin, flush=True)
    return sum(int(process.stdout.readline()) for process, _ in shares if process.stdout)


@contextmanager
def worker(report: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that stores the report into each suite whose number it is told."""
    command = [sys.executable, __file__, "--work", str(report)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout  # noqa: PT018 - for the type checker
        process.stdout.readline()
        yield process
        process.stdin.close()


def work(report: Path) -> int:
    """Be such a process, until there is nothing more to read."""
    import django  # noqa: PLC0415 - only here

    django.setup()
    print("ready", flush=True)
    for line in sys.stdin:
        print(ingest(report, int(line)), flush=True)
    return 0


def copy_raw(report: Path) -> int:
    """Parse and copy, nothing else; returns the count of rows."""
    from django.db import connection, transaction  # noqa: PLC0415 - once the server is up
    from lxml import etree  # noqa: PLC0415 - as above

    count = 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS raw_limit")
        cursor.execute(
            "CREATE TABLE raw_limit "
            "(id integer PRIMARY KEY, class_name text, name text, time text, failure text)"
        )
        with cursor.copy("COPY raw_limit FROM STDIN") as copy:
            for _, element in etree.iterparse(str(report), events=("end",), tag="testcase"):
                count += 1
                failure = element[0].get("message") if len(element) else r"\N"
                class_name, name, took = element.get("classname"), element.get("name"), element.get("time")
                copy.write(f"{count}\t{class_name}\t{name}\t{took}\t{failure}\n")
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    return count


def ingest(report: Path, suite_id: int) -> int:
    """Store the report as a run's; returns the count of results that the run's page shows."""
    from runs.actions.results import ReportFile, store_reports  # noqa: PLC0415 - once the server is up
    from runs.actions.runs import open_uploaded_run, settle_uploaded_run  # noqa: PLC0415 - as above
    from runs.models import Run, Suite  # noqa: PLC0415 - as above
    from runs.queries.run_page import run_page  # noqa: PLC0415 - as above

    suite = Suite.objects.select_related("project").get(pk=suite_id)
    run, _ = open_uploaded_run(project=suite.project, suite=suite.name, run_key=None)
    store_reports(run_id=run.pk, files=[ReportFile(report.name, open=lambda: report.open("rb"))])
    settle_uploaded_run(run.pk)
    page = run_page(Run.objects.select_related("suite", "project").get(pk=run.pk), now=datetime.now(tz=UTC))
    if not page.results.rows:
        return 0
    return page.run.test_count


def new_suite() -> int:
    """Make a suite of its own project; returns its id."""
    from runs.actions.projects import create_project, ensure_suite  # noqa: PLC0415 - once the server is up

    project = create_project(slug=f"bench-{time.monotonic_ns()}")
    return ensure_suite(project=project, name="bench").pk


def write_report(path: Path, cases: int, *, output_bytes: int = 0) -> None:
    """Write a report as Java's and pytest's tools do: suites of 200, names of some 50 characters.

    With `output_bytes` each case has printed about so much.
    """
    printed = "GET /orders 200 in 12 ms\n" * (output_bytes // 25)
    passed = f"><system-out>{printed}</system-out></testcase>\n" if printed else "/>\n"
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n')
        for first in range(0, cases, CASES_PER_SUITE):
            number = first // CASES_PER_SUITE
            class_name = f"com.example.shop.checkout.module{number % 40:02d}.Test{number:05d}"
            file.write(f'<testsuite name="{class_name}" tests="{CASES_PER_SUITE}">\n')
            for index in range(min(CASES_PER_SUITE, cases - first)):
                name = f"test_order_of_{index:03d}_items[eur-{index % 7}]"
                file.write(f'<testcase classname="{class_name}" name="{name}" time="0.{index % 1000:03d}"')
                if index % 100 == 99:  # noqa: PLR2004 - one in a hundred
                    message = f"expected status 201, got 503 (order {number % 50})"
                    file.write(
                        f'><failure type="AssertionError" message="{message}">at Test.java:{index}</failure>'
                        "</testcase>\n"
                    )
                else:
                    file.write(passed)
            file.write("</testsuite>\n")
        file.write("</testsuites>\n")


def memory_growth(folder: Path) -> float:
    """Print the peak memory of a process that stores a large report twice; returns MiB above its idle."""
    report = folder / "large.xml"
    write_report(report, LARGE_CASES, output_bytes=LARGE_MIB * 2**20 // LARGE_CASES - 115)
    command = [sys.executable, __file__, "--memory-of", str(report)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    before, first, second = (float(each) for each in told[-3:])
    size = report.stat().st_size / 2**20
    print(
        f"memory, {LARGE_CASES:,} cases, {size:.0f} MiB: {before:.0f} MiB idle, up to {first:.0f} when every"
    )
    print(f"  case is new, {second:.0f} when known (promised: {PROMISED_MEMORY_MIB} more than idle)")
    return max(first, second) - before


def print_memory(report: Path) -> int:
    """Ingest one report in this process and print its memory in MiB, before and at its peak."""
    import django  # noqa: PLC0415 - only here

    django.setup()
    suite = new_suite()
    small = report.with_name("warm.xml")
    write_report(small, 10)
    ingest(small, suite)
    before = resident_mib("VmRSS")
    peaks = []
    for _ in range(2):
        ingest(report, suite)
        peaks.append(resident_mib("VmHWM"))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begin a new peak
    print(f"{before:.0f} {peaks[0]:.0f} {peaks[1]:.0f}")
    return 0


def resident_mib(kind: str) -> float:
    """Read this process' memory; getrusage would tell the parent's peak, which exec hands on."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith(f"{kind}:")]
    return int(line.split()[1]) / 1024


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """Start a private PostgreSQL, name it to Django and make the tables."""
    from itdash.embedded import POSTGRES_SETTINGS  # noqa: PLC0415 - before anything reads settings
    from itdash.env import set_environment  # noqa: PLC0415 - as above
    from tests.start_servers import start_postgres  # noqa: PLC0415 - as above

    url, stop = start_postgres(folder / "postgres", settings=POSTGRES_SETTINGS)
    try:
        set_environment(
            {
                "DATABASE_URL": url,
                "DJANGO_SETTINGS_MODULE": "itdash.settings",
                "ITDASH_DATA_DIR": str(folder / "data"),
                "ITDASH_LOG_LEVEL": "WARNING",
            }
        )
        import django  # noqa: PLC0415 - settings are named now
        from django.core.management import call_command  # noqa: PLC0415 - as above

        django.setup()
        call_command("migrate", verbosity=0)
        yield
    finally:
        stop()


if __name__ == "__main__":
    sys.exit(main())
