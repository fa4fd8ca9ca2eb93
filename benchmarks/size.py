"""How much disk a result takes, every index and everything kept beside it included.

    python benchmarks/size.py [--cases 5000] [--runs 40]

The same suite is ingested again and again through the real ingestion, as a team's CI does, and the growth
of all of the project's tables is divided by the results that caused it. First runs in which everything
passes, then runs in which one test in ten fails with a text that repeats, as broken builds do. Raw reports
and artifacts are files in storage and are not counted. A private server is started with the settings of
`itdash up`.

Promises: at most 150 bytes per passing result, and at most 1 KB per failing one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ingest import new_suite, server

PROMISED_PASSING_BYTES = 150
PROMISED_FAILING_BYTES = 1_000
#: One test in so many fails in the second half.
FAILING_EVERY = 10
#: Distinct failure texts of some two thousand characters each.
FAILURE_TEXTS = 20
_TRACE_LINES = 30


def main() -> int:
    """Measure and print; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        return measure(Path(folder), options.cases, options.runs)


def measure(folder: Path, cases: int, runs: int) -> int:
    """Print the figures; returns 1 when a promise is broken."""
    passing, failing = folder / "passing.xml", folder / "failing.xml"
    write_report(passing, cases, failing_every=None)
    write_report(failing, cases, failing_every=FAILING_EVERY)
    suite = new_suite()
    # What the test cases themselves take is shared by all of their results.
    print(f"{cases:,} test cases, {runs} runs of each kind")
    cases_bytes = growth(lambda: ingest_and_judge(passing, suite), "the first run, test cases included")
    passing_bytes = growth(lambda: repeat(passing, suite, runs), "runs that pass") / (cases * runs)
    failed_count = cases // FAILING_EVERY
    both = growth(lambda: repeat(failing, suite, runs), "runs with failures") / runs
    failing_bytes = (both - passing_bytes * (cases - failed_count)) / failed_count
    shared = cases_bytes / (cases * runs)
    print(f"per passing result: {passing_bytes:.0f} B (promised: at most {PROMISED_PASSING_BYTES})")
    print(f"  the first run spread over all {runs}: {shared:.0f} B more for each")
    print(f"per failing result: {failing_bytes:.0f} B (promised: at most {PROMISED_FAILING_BYTES:,})")
    kept = passing_bytes <= PROMISED_PASSING_BYTES and failing_bytes <= PROMISED_FAILING_BYTES
    print("promises kept" if kept else "PROMISES BROKEN")
    return 0 if kept else 1


def repeat(report: Path, suite: int, runs: int) -> None:
    """Ingest the report as so many runs."""
    for _ in range(runs):
        ingest_and_judge(report, suite)


def ingest_and_judge(report: Path, suite_id: int) -> None:
    """Store the report as a run's, and let everything be derived from it that a worker derives."""
    from runs.actions.blaming import blame_run  # noqa: PLC0415 - once the server is up
    from runs.actions.judging import judge_run  # noqa: PLC0415 - as above
    from runs.actions.pacing import pace_run  # noqa: PLC0415 - as above
    from runs.actions.results import ReportFile, store_reports  # noqa: PLC0415 - as above
    from runs.actions.runs import open_uploaded_run, settle_uploaded_run  # noqa: PLC0415 - as above
    from runs.models import Suite  # noqa: PLC0415 - as above

    suite = Suite.objects.select_related("project").get(pk=suite_id)
    run, _ = open_uploaded_run(project=suite.project, suite=suite.name, run_key=None)
    store_reports(run_id=run.pk, files=[ReportFile(report.name, open=lambda: report.open("rb"))])
    settle_uploaded_run(run.pk)
    judge_run(run.pk)
    pace_run(run.pk)
    blame_run(run.pk)


def growth(act: Callable[[], None], what: str) -> int:
    """Return by how many bytes an act makes the project's tables grow, and print what grew most."""
    before = table_bytes()
    act()
    after = table_bytes()
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    total = sum(grown.values())
    print(f"{what}: {total / 2**20:.1f} MiB")
    for name, size in sorted(grown.items(), key=lambda pair: -pair[1])[:6]:
        if size:
            print(f"  {name}: {size / 2**20:.2f} MiB", flush=True)
    return total


def table_bytes() -> dict[str, int]:
    """Tell the bytes of every table and index, vacuumed: what is dead is not counted as kept."""
    from django.db import connection  # noqa: PLC0415 - once the server is up

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute(
            "SELECT c.relname, pg_relation_size(c.oid)"
            " + coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'i')"
        )
        return dict(cursor.fetchall())


def write_report(path: Path, cases: int, *, failing_every: int | None) -> None:
    """Write a report with a failing test at every so many, each with one of a few long texts."""
    traces = [
        "\n".join(
            f"  File service_{kind}.py, line {10 + at}, in step_{at}_of_{kind}" for at in range(_TRACE_LINES)
        )
        for kind in range(FAILURE_TEXTS)
    ]
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites><testsuite name="bench">\n')
        for index in range(cases):
            class_name = f"com.example.shop.checkout.module{index // 100:03d}.OrderTest"
            name = f"test_order_of_{index:06d}_items"
            file.write(f'<testcase classname="{class_name}" name="{name}" time="0.{index % 1000:03d}"')
            if failing_every and index % failing_every == 0:
                kind = index // failing_every % FAILURE_TEXTS
                message = f"expected 201, got 50{kind}"
                file.write(f'><failure type="AssertionError" message="{message}">{traces[kind]}</failure>')
                file.write("</testcase>\n")
            else:
                file.write("/>\n")
        file.write("</testsuite></testsuites>\n")


if __name__ == "__main__":
    sys.exit(main())
