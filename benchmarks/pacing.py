"""How long it takes to put a run's passes behind those before them, against one statement that only appends.

    python benchmarks/pacing.py [--cases 20000]

Every test has 100 passes kept; then come runs with a pass of each: some as before, some half as slow again,
so that thousands of tests are judged at once, and one that is stored late. The raw limit is one UPDATE that
writes each row's two arrays again, turned by one, and judges nothing. A private server is started with the
settings of `itdash up`.

Promise: a usual run in at most 8 times the raw limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingest import new_suite, server

PROMISED_RATIO = 8
START = datetime(2026, 9, 1, tzinfo=UTC)
#: Milliseconds of a case: from 5 ms to 20 s, evenly on a logarithmic scale, a fifth up and down.
DURATION = "(5 * exp(8.3 * ((%s * 7919) %% 1000) / 1000.0) * (0.8 + 0.4 * random()) * %s)::integer"


def main() -> int:
    """Measure and print; returns 1 when the promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        return measure(options.cases)


def measure(cases: int) -> int:
    """Print the figures; returns 1 when the promise is broken."""
    from runs.actions.pacing import KEPT, pace_run  # noqa: PLC0415 - once the server is up

    suite = new_suite()
    make_cases(suite, cases)
    pace_run(add_run(suite, cases, hour=0))
    fill(suite, cases, KEPT)
    print(f"{cases:,} tests, {KEPT} passes kept of each")
    raw = min(timed(append_raw) for _ in range(3))
    print(f"{'raw limit: one UPDATE':34s} {raw:6.2f} s")
    usual = min(paced("a usual run", suite, cases, hour=20 + at) for at in range(3))
    for at in range(7):
        paced(f"half as slow again, run {at + 1}", suite, cases, hour=30 + at, times=1.5)
    paced("a run that is stored late", suite, cases, hour=10)
    ratio = usual / raw
    print(f"a usual run takes {ratio:.1f} times the raw limit (promised: at most {PROMISED_RATIO})")
    return 0 if ratio <= PROMISED_RATIO else 1


def paced(name: str, suite: int, cases: int, *, hour: int, times: float = 1.0) -> float:
    """Add a run and pace it; returns the seconds that took."""
    from runs.actions.pacing import pace_run  # noqa: PLC0415 - once the server is up
    from runs.models import CaseDuration  # noqa: PLC0415 - as above

    run = add_run(suite, cases, hour=hour, times=times)
    seconds = timed(lambda: pace_run(run))
    rows = CaseDuration.objects.all()
    judged = rows.filter(p_value__isnull=False).count()
    print(
        f"{name:34s} {seconds:6.2f} s   judged {judged:6,}, slower {rows.filter(is_slower=True).count():6,}"
    )
    return seconds


def timed(act: Callable[[], object]) -> float:
    """Seconds on the wall."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def make_cases(suite: int, count: int) -> None:
    """Test cases of the suite, none of which ever ran."""
    run_sql(
        "INSERT INTO runs_testcase (suite_id, identity, path, class_name, name, parameters, variant, file,"
        " first_seen_at, last_seen_at)"
        " SELECT %s, decode(lpad(to_hex(g), 32, '0'), 'hex'), '', '', 'test_' || g, '', '', '', now(), now()"
        " FROM generate_series(1, %s) g",
        [suite, count],
    )


def add_run(suite: int, cases: int, *, hour: int, times: float = 1.0) -> int:
    """A passed run of that hour with a pass of every case; returns its id."""
    from runs.actions.partitions import ensure_partition  # noqa: PLC0415 - once the server is up

    run = bare_run(suite, cases, START + timedelta(hours=hour))
    ensure_partition(START + timedelta(hours=hour))
    duration = DURATION % ("id", times)
    run_sql(
        "INSERT INTO runs_result"
        " (run_at, run_id, case_id, outcome, duration_ms, position, shard, attempt_count)"
        f" SELECT %s, %s, id, 'passed', {duration.replace('%', '%%')}, 0, 1, 1 FROM runs_testcase",
        [START + timedelta(hours=hour), run],
    )
    return run


def bare_run(suite: int, cases: int, at: datetime) -> int:
    """A passed run without results."""
    from runs.models import Run, Suite  # noqa: PLC0415 - once the server is up

    project = Suite.objects.get(pk=suite).project
    number = Run.objects.count() + 1
    return Run.objects.create(
        project=project,
        suite_id=suite,
        number=number,
        status="passed",
        trigger="api",
        branch=project.default_branch,
        commit=f"{number:040x}",
        run_at=at,
        queued_at=at,
        finished_at=at,
        duration_ms=60_000,
        test_count=cases,
        passed_count=cases,
    ).pk


def fill(suite: int, cases: int, kept: int) -> None:
    """Give each case the passes that runs before would have left."""
    runs = [bare_run(suite, cases, START + timedelta(minutes=5 * at)) for at in range(1, kept)]
    duration = (DURATION % ("d.case_id", 1)).replace("%", "%%")
    run_sql(
        "UPDATE runs_caseduration d SET recent_runs = recent_runs || %s::bigint[], last_run_at = %s,"
        f" recent_ms = recent_ms || ARRAY(SELECT {duration} FROM generate_series(1, %s + 0 * d.case_id))",
        [runs, START + timedelta(minutes=5 * (kept - 1)), kept - 1],
    )
    run_sql("VACUUM ANALYZE runs_caseduration", [])


def append_raw() -> None:
    """What cannot be done without: every row written again."""
    run_sql(
        "UPDATE runs_caseduration SET recent_ms = recent_ms[2:] || recent_ms[1],"
        " recent_runs = recent_runs[2:] || recent_runs[1]",
        [],
    )


def run_sql(statement: str, values: Sequence[Any]) -> None:
    """Execute one statement."""
    from django.db import connection  # noqa: PLC0415 - once the server is up

    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


if __name__ == "__main__":
    sys.exit(main())
