"""How fast a report becomes results, against the machine's own limit measured in the same run.

    python benchmarks/ingest.py [--cases 200000] [--rounds 3]

The raw limit parses the same file with lxml's iterparse while PostgreSQL copies one row per test case into
one table with one index: less cannot be done. itdash reads the same file from disk, makes test cases,
results and totals of it in one transaction, and is done when the run's page shows them. A private server
is started with the settings of `itdash up`.

Promises: at least 0.15 of the raw limit, and memory that does not grow with the file.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PROMISED_RATIO = 0.15
#: Growth of peak memory from 50,000 to 400,000 cases that is put down to the allocator.
PROMISED_GROWTH_MIB = 40
CASES_PER_SUITE = 200
RAW = "raw limit: iterparse ∥ COPY into one indexed table"


def main() -> int:
    """Measure and print; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return print_memory(options.memory_of)
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        return measure(Path(folder), options.cases, options.rounds)


def measure(folder: Path, cases: int, rounds: int) -> int:
    """Print the figures; returns 1 when a promise is broken."""
    report = folder / "report.xml"
    write_report(report, cases)
    print(f"{cases:,} test cases, 1 in 100 failing, {report.stat().st_size / 2**20:.1f} MiB; {rounds} rounds")
    known = new_suite()
    ingest(report, known)
    seconds = timed(
        {
            RAW: lambda: copy_raw(report),
            "itdash, every test case new": lambda: ingest(report, new_suite()),
            "itdash, every test case known": lambda: ingest(report, known),
        },
        rounds,
        cases,
    )
    ratios = [
        statistics.median(raw / own for raw, own in zip(seconds[RAW], seconds[name], strict=True))
        for name in seconds
        if name != RAW
    ]
    for name, ratio in zip(["new", "known"], ratios, strict=True):
        print(f"ratio to the raw limit, {name} cases: {ratio:.2f} (promised: {PROMISED_RATIO})")
    growth = memory_growth(folder)
    kept = min(ratios) >= PROMISED_RATIO and growth <= PROMISED_GROWTH_MIB
    print("promises kept" if kept else "PROMISES BROKEN")
    return 0 if kept else 1


def timed(acts: Mapping[str, Callable[[], int]], rounds: int, cases: int) -> dict[str, list[float]]:
    """Time the acts in turn, so that whatever else the machine does meets all of them; return seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            start = time.perf_counter()
            count = act()
            seconds[name].append(time.perf_counter() - start)
            if count != cases:
                message = f"{name}: {count} results, not {cases}"
                raise AssertionError(message)
    for name, own in seconds.items():
        median = statistics.median(own)
        spread = f"{min(own):.2f} to {max(own):.2f}"
        print(f"{name}: {median:.2f} s ({spread}), {cases / median:,.0f} results/s", flush=True)
    return seconds


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


def write_report(path: Path, cases: int) -> None:
    """Write a report as Java's and pytest's tools do: suites of 200, names of some 50 characters."""
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
                    file.write("/>\n")
            file.write("</testsuite>\n")
        file.write("</testsuites>\n")


def memory_growth(folder: Path) -> float:
    """Print the peak memory of a process for two sizes; returns the growth in MiB."""
    peaks = []
    for cases in (50_000, 400_000):
        report = folder / f"memory-{cases}.xml"
        write_report(report, cases)
        command = [sys.executable, __file__, "--memory-of", str(report)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        peaks.append(float(told[-1]))
        size = report.stat().st_size / 2**20
        print(f"peak memory, {cases:,} cases ({size:.0f} MiB): {peaks[-1]:.0f} MiB, {told[-2]} MiB before")
    print(f"growth: {peaks[1] - peaks[0]:.0f} MiB (promised: at most {PROMISED_GROWTH_MIB})")
    return peaks[1] - peaks[0]


def print_memory(report: Path) -> int:
    """Ingest one report in this process and print its memory in MiB, before and at its peak."""
    import django  # noqa: PLC0415 - only here

    django.setup()
    suite = new_suite()
    small = report.with_name("warm.xml")
    write_report(small, 10)
    ingest(small, suite)
    before = resident_mib("VmRSS")
    ingest(report, suite)
    print(f"{before:.0f} {resident_mib('VmHWM'):.0f}")
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
