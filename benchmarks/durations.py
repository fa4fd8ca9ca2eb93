"""How well slower runs are found, and how often the alarm is false, on the durations of a real project's CI.

    python benchmarks/durations.py [--series 300] [--corpus ../shared/corpus]

Apache Ozone's jobs, successful ones: stretches of 120 durations in a row, as they were. False alarms are
whatever is reported on them. Then all from point 80 on is made slower by a share; found means reported,
as having begun within points 75 to 100. The true history has rises of its own: the false alarms are an
upper bound.

Promise: at most 0.1 false alarms per 120 points; of rises by half, at least 90 % found.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runs.analytics.durations import alerts, stretches  # noqa: E402 - run as a script, from anywhere
from runs.analytics.samples import median  # noqa: E402 - as above

type Detector = Callable[[Sequence[float]], list[int]]

LENGTH = 120
STEP_AT = 80
FOUND_WITHIN = range(75, 101)
RISES = (0.15, 0.30, 0.50, 1.00)
PROMISED_FALSE_ALARMS = 0.1
PROMISED_FOUND = 0.90
#: A series is taken from jobs with at least this many durations.
LEAST_HISTORY = 400
SEED = 5


def main() -> int:
    """Measure and print; returns 1 when the promise is broken, 2 without the corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=300, help="stretches of 120 points")
    parser.add_argument("--corpus", type=Path, default=default_corpus())
    options = parser.parse_args()
    folder = options.corpus / "histories" / "ozone-ci"
    if not folder.is_dir():
        print(f"no histories in {options.corpus}")
        return 2
    sample = sampled(job_durations(folder), options.series)
    print(f"{len(sample)} stretches of {LENGTH} durations, Ozone's jobs")
    print(f"{'':34s} false alarms " + " ".join(f"+{rise:4.0%} found" for rise in RISES) + "  off by")
    promised = report("10/30 medians (the alert)", alert_places, sample)
    report("levels on the chart, 20 % and more", level_places, sample)
    kept = promised[0] <= PROMISED_FALSE_ALARMS and promised[1][0.50] >= PROMISED_FOUND
    print("promise kept" if kept else "PROMISE BROKEN")
    return 0 if kept else 1


def default_corpus() -> Path:
    """Beside the project, or where ITDASH_CORPUS says."""
    return Path(os.environ.get("ITDASH_CORPUS") or ROOT.parent / "shared" / "corpus")


def job_durations(folder: Path) -> dict[str, list[float]]:
    """Seconds of each job's successful executions, in order of time."""
    created = {row["run_number"]: row["created_at"] for row in rows_of(folder / "runs.tsv.gz")}
    found: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in rows_of(folder / "jobs.tsv.gz"):
        if row["conclusion"] == "success" and row["started_at"] and row["completed_at"]:
            seconds = moment(row["completed_at"]) - moment(row["started_at"])
            if 5 < seconds < 20_000:  # noqa: PLR2004 - what ended at once or hung is no duration
                found[row["job"]].append((created.get(row["run_number"], ""), seconds))
    return {job: [seconds for _, seconds in sorted(values)] for job, values in sorted(found.items())}


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a compressed table."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def moment(text: str) -> float:
    """Seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def sampled(durations: dict[str, list[float]], count: int) -> list[list[float]]:
    """`count` stretches, the same ones each time."""
    whole = [
        values[start : start + LENGTH]
        for values in durations.values()
        if len(values) >= LEAST_HISTORY
        for start in range(0, len(values) - LENGTH, LENGTH)
    ]
    random.Random(SEED).shuffle(whole)
    return whole[:count]


def slowed(series: Sequence[float], rise: float) -> list[float]:
    """The series with its end made slower."""
    return [*series[:STEP_AT], *(seconds * (1 + rise) for seconds in series[STEP_AT:])]


def alert_places(series: Sequence[float]) -> list[int]:
    """Where the alert says a rise began."""
    return [alert.index for alert in alerts(series)]


def level_places(series: Sequence[float]) -> list[int]:
    """Where the chart shows a rise as large as the alert's."""
    levels = stretches(series)
    return [after.start for before, after in pairwise(levels) if after.median >= 1.2 * before.median]


def report(
    name: str, detect: Detector, sample: Sequence[Sequence[float]]
) -> tuple[float, dict[float, float]]:
    """Print one detector's figures; returns its false alarms per series and the shares found."""
    started = time.perf_counter()
    false_alarms = sum(len(detect(series)) for series in sample) / len(sample)
    per_series = (time.perf_counter() - started) / len(sample)
    found: dict[float, float] = {}
    errors: list[float] = []
    for rise in RISES:
        hits = [
            min(
                (abs(place - STEP_AT) for place in detect(slowed(series, rise)) if place in FOUND_WITHIN),
                default=-1,
            )
            for series in sample
        ]
        found[rise] = sum(1 for hit in hits if hit >= 0) / len(sample)
        if rise == 0.50:  # noqa: PLR2004 - the promised one
            errors = [hit for hit in hits if hit >= 0]
    shares = " ".join(f"{found[rise]:11.3f}" for rise in RISES)
    off = median(errors) if errors else -1.0
    print(
        f"{name:34s} {false_alarms:12.3f} {shares} {off:7.1f}   ({per_series * 1000:.1f} ms a series)",
        flush=True,
    )
    return false_alarms, found


if __name__ == "__main__":
    sys.exit(main())
