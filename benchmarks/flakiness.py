"""How many flaky tests are found, and how many sound ones are accused, on histories with known truth.

    python benchmarks/flakiness.py [--blocks 11] [--corpus ../shared/corpus]

Real failure rates (FlakeFlagger: 22,244 tests of 24 projects, 10,000 executions each), drawn into blocks of
2,000 tests, each with 100 commits of a default branch, seven a day. One test in ten of the others is really
broken one to three times for some commits, which looks like flakiness to whoever counts failures. One run in
a hundred, and at least one, is an outage in which nine of ten tests fail, which no verdict is told.
Judged after every run, as in life: a test counts as called flaky if it ever was.

Recall is of flaky tests that showed themselves: that both passed and failed within the hundred commits.

Promise: precision ≥ 0.97 and recall ≥ 0.80 when a quarter of the commits is run again, ≥ 0.97 and ≥ 0.60
without reruns; no test that always fails is called flaky; no outage changes a state.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runs.analytics.flakiness import (  # noqa: E402 - run as a script, from anywhere
    CaseRun,
    FlakeState,
    FlakeVerdict,
    OutageReason,
    RunFacts,
    judge_case,
    outages_among,
)

TESTS = 2_000
COMMITS = 100
COMMITS_PER_DAY = 7
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
BROKEN_SHARE = 0.10
MEAN_BROKEN_COMMITS = 4
LONGEST_BREAKAGE = 20
OUTAGE_SHARE = 0.01
OUTAGE_FAILS = 0.90
PROMISED_PRECISION = 0.97
#: By the share of commits that is run again.
PROMISED_RECALL = {0.25: 0.80, 0.0: 0.60}
SEED = 1


#: A run: its number, when, and the number and name of its commit.
type Moment = tuple[int, datetime, int, str]


class Kind(StrEnum):
    """The truth about a simulated test."""

    STABLE = "stable"
    BROKEN = "broken for a while"
    FLAKY = "flaky"
    ALWAYS = "always failing"


@dataclass(frozen=True, slots=True)
class Simulated:
    """One test with its history and the truth about it."""

    kind: Kind
    rows: tuple[CaseRun, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """The tests of one project, and what is known of its runs; `outages` is the truth."""

    tests: tuple[Simulated, ...]
    runs: dict[int, RunFacts]
    outages: frozenset[int]


def main() -> int:
    """Measure and print; returns 1 when a promise is broken, 2 without the corpus."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=11, help="blocks of 2,000 tests, at most 11")
    parser.add_argument("--corpus", type=Path, default=default_corpus())
    options = parser.parse_args()
    file = options.corpus / "histories" / "flakeflagger" / "test_results.csv.gz"
    if not file.is_file():
        print(f"no histories in {options.corpus}")
        return 2
    rates = failure_rates(file)
    random.Random(SEED).shuffle(rates)
    kept = [measure(rates, options.blocks, rerun) for rerun in PROMISED_RECALL]
    print("promises kept" if all(kept) else "PROMISE BROKEN")
    return 0 if all(kept) else 1


def default_corpus() -> Path:
    """Beside the project, or where ITDASH_CORPUS says."""
    return Path(os.environ.get("ITDASH_CORPUS") or ROOT.parent / "shared" / "corpus")


def failure_rates(file: Path) -> list[float]:
    """Of each test that ever ran, in the order of the file."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
        counts = [(int(row["NumFailingRuns"]), int(row["NumPassingRuns"])) for row in csv.DictReader(opened)]
    return [failed / (failed + passed) for failed, passed in counts if failed + passed]


def measure(rates: Sequence[float], blocks: int, rerun: float) -> bool:
    """Print one configuration's figures; returns whether its promises are kept."""
    started = time.perf_counter()
    parts = [rates[number * TESTS : (number + 1) * TESTS] for number in range(blocks)]
    scores = [
        score(simulate(part, rerun, seed=SEED + number))
        for number, part in enumerate(parts)
        if len(part) == TESTS
    ]
    total = sum(scores, Counter[str]())
    flagged = total["flagged flaky"] + total["flagged sound"]
    precision, recall = precision_of(total), recall_of(total)
    precisions, recalls = [precision_of(one) for one in scores], [recall_of(one) for one in scores]
    bound = PROMISED_RECALL[rerun]
    print(
        f"\nreruns on {rerun:.0%} of commits: {total['tests']} tests, {total['flaky']} flaky,"
        f" {total['shown']} of them showed it; {total['outages']} outages in {total['runs']} runs"
    )
    print(
        f"  precision             {precision:.3f} of {flagged} called flaky (promised {PROMISED_PRECISION})"
    )
    print(f"  recall                {recall:.3f} (promised {bound})")
    print(
        f"  a block alone         precision {min(precisions):.2f} to {max(precisions):.2f},"
        f" recall {min(recalls):.2f} to {max(recalls):.2f} (of some {total['shown'] // len(scores)})"
    )
    print(f"  or at least suspect   {total['noticed shown'] / max(1, total['shown']):.3f} of the shown")
    print(
        f"  always failing        {total['always flagged']} called flaky, {total['always broken']} of"
        f" {total['always']} broken at the end (promised 0 flaky)"
    )
    print(
        f"  changed by an outage  {total['changed']} states (promised 0);"
        f" {total['found outages']} of {total['outages']} outages set aside,"
        f" {total['false outages']} other runs"
    )
    print(
        f"  still called flaky    {total['still'] / max(1, total['flagged flaky']):.3f} of the found,"
        f" after the last commit (30 passes in a row are a recovery)"
    )
    print(f"  {time.perf_counter() - started:.1f} s", flush=True)
    return (
        precision >= PROMISED_PRECISION
        and recall >= bound
        and not total["always flagged"]
        and not total["changed"]
    )


def precision_of(found: Counter[str]) -> float:
    """Of the tests called flaky, the share that is; 1 when none was called so."""
    flagged = found["flagged flaky"] + found["flagged sound"]
    return found["flagged flaky"] / flagged if flagged else 1.0


def recall_of(found: Counter[str]) -> float:
    """Of the flaky tests that showed it, the share that was called so."""
    return found["flagged shown"] / max(1, found["shown"])


def simulate(rates: Sequence[float], rerun: float, seed: int) -> Block:
    """Play `COMMITS` commits of a default branch."""
    chance = random.Random(seed)
    commits = [1 + (chance.random() < rerun) + (chance.random() < rerun / 4) for _ in range(COMMITS)]
    schedule = [(commit, again) for commit, times in enumerate(commits) for again in range(times)]
    drawn = frozenset(run for run in range(len(schedule)) if chance.random() < OUTAGE_SHARE)
    outages = drawn or frozenset({chance.randrange(len(schedule))})
    moments = [
        (run, START + timedelta(days=commit / COMMITS_PER_DAY, hours=again), commit, f"commit {commit}")
        for run, (commit, again) in enumerate(schedule)
    ]
    tests = tuple(_play(rate, moments, outages, chance) for rate in rates)
    failed = Counter(row.run for test in tests for row in test.rows if row.failed_count)
    runs = {run: RunFacts(run, len(tests), failed[run]) for run in range(len(schedule))}
    return Block(tests, runs, outages)


def _play(
    rate: float, moments: Sequence[Moment], outages: frozenset[int], chance: random.Random
) -> Simulated:
    kind = Kind.ALWAYS if rate >= 1 else Kind.FLAKY if rate > 0 else Kind.STABLE
    broken: set[int] = set()
    if kind is Kind.STABLE and chance.random() < BROKEN_SHARE:
        kind = Kind.BROKEN
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            first = chance.randrange(COMMITS)
            length = min(LONGEST_BREAKAGE, int(chance.expovariate(1 / MEAN_BROKEN_COMMITS)) + 1)
            broken.update(range(first, first + length))
    rows = []
    for run, at, commit, name in moments:
        if run in outages and chance.random() < OUTAGE_FAILS:
            failed = True
        else:
            failed = commit in broken or chance.random() < rate
        rows.append(CaseRun(name, at, run, int(not failed), int(failed), on_default_branch=True))
    return Simulated(kind, tuple(rows))


def score(block: Block) -> Counter[str]:
    """Judge every test and count against the truth."""
    masked = outages_among(block.runs.values())
    found = Counter(tests=len(block.tests), runs=len(block.runs), outages=len(block.outages))
    found["found outages"] = len(masked.keys() & block.outages)
    found["false outages"] = len(masked.keys() - block.outages)
    for test in block.tests:
        count(test, block.outages, masked, found)
    return found


def count(
    test: Simulated, outages: frozenset[int], masked: dict[int, OutageReason], found: Counter[str]
) -> None:
    """Judge one test, with its outages and as if they had not been."""
    told = [row for row in test.rows if row.run not in outages]
    shown = any(row.failed_count for row in told) and any(row.passed_count for row in told)
    verdicts = judged_along(test.rows, masked)
    calm = judged_along(told, {})
    flagged = any(verdict.state is FlakeState.FLAKY for verdict in verdicts)
    last = verdicts[-1]
    found["changed"] += (last.state, last.is_broken) != (calm[-1].state, calm[-1].is_broken)
    if test.kind is Kind.FLAKY:
        found["flaky"] += 1
        found["shown"] += shown
        found["flagged flaky"] += flagged
        found["flagged shown"] += flagged and shown
        found["noticed shown"] += shown and any(v.state is not FlakeState.HEALTHY for v in verdicts)
        found["still"] += flagged and last.state is FlakeState.FLAKY
    else:
        found["flagged sound"] += flagged
    if test.kind is Kind.ALWAYS:
        found["always"] += 1
        found["always flagged"] += flagged
        found["always broken"] += last.is_broken


def judged_along(rows: Sequence[CaseRun], outages: dict[int, OutageReason]) -> list[FlakeVerdict]:
    """The verdicts after each run that can change one, each knowing the one before it; at least the last.

    Evidence appears with a failure or with the pass after it; a recovery is complete, if at all, right before
    the next failure. A failure between two others is none.
    """
    last = len(rows) - 1
    places = {last}
    failing = [row.failed_count > 0 and row.run not in outages for row in rows]
    for place in range(last + 1):
        if failing[place] and not all(failing[max(place - 1, 0) : place + 2]):
            places.update({max(place - 1, 0), place, min(place + 1, last)})
    # The run after a failure may be an outage, and the next one the first to tell: each outage moves it on.
    for place in range(last):
        if place in places and rows[place].run in outages:
            places.add(place + 1)
    verdicts: list[FlakeVerdict] = []
    for place in sorted(places):
        previous = verdicts[-1] if verdicts else None
        verdicts.append(judge_case(rows[: place + 1], outages, now=rows[place].at, previous=previous))
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
