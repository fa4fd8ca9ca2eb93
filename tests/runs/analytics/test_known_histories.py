"""Verdicts and alerts on histories whose truth is known: small, seeded forms of the benchmarks."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks import durations as durations_bench
from benchmarks import flakiness as flakiness_bench
from runs.analytics.durations import alerts
from runs.analytics.flakiness import CaseRun, FlakeThresholds, judge_case

#: With what is demanded. One block of 2,000 shows about 40 flaky tests, too few to tell 0.62 from 0.60:
#: without reruns it takes all of the data. `benchmarks/flakiness.py` takes all of it for both.
WITH_RERUNS = (0.25, 4, 0.97, 0.80)
WITHOUT_RERUNS = (0.0, 11, 0.97, 0.60)


@pytest.fixture(scope="module")
def rates(request: pytest.FixtureRequest) -> list[float]:
    corpus: Path = request.getfixturevalue("corpus")
    found = flakiness_bench.failure_rates(corpus / "histories" / "flakeflagger" / "test_results.csv.gz")
    random.Random(flakiness_bench.SEED).shuffle(found)
    return found


def block_of(rates: list[float], number: int) -> list[float]:
    return rates[number * flakiness_bench.TESTS : (number + 1) * flakiness_bench.TESTS]


@pytest.mark.parametrize(("rerun", "blocks", "precision", "recall"), [WITH_RERUNS, WITHOUT_RERUNS])
def test_flaky_tests_are_found_and_sound_ones_are_not_accused(
    rates: list[float], rerun: float, blocks: int, precision: float, recall: float
) -> None:
    total: Counter[str] = Counter()
    for number in range(blocks):
        block = flakiness_bench.simulate(block_of(rates, number), rerun, seed=flakiness_bench.SEED + number)
        total += flakiness_bench.score(block)

    assert total["flagged flaky"] / (total["flagged flaky"] + total["flagged sound"]) >= precision
    assert total["flagged shown"] / total["shown"] >= recall
    assert total["always flagged"] == 0
    assert total["always broken"] == total["always"] > 0
    assert total["changed"] == 0
    assert total["found outages"] == total["outages"] > 0
    assert total["false outages"] == 0


def test_slower_jobs_are_found_and_steady_ones_left_alone(corpus: Path) -> None:
    sample = durations_bench.sampled(
        durations_bench.job_durations(corpus / "histories" / "ozone-ci"), count=10_000
    )
    false_alarms = sum(len(alerts(series)) for series in sample)
    found = sum(
        any(place in durations_bench.FOUND_WITHIN for place in durations_bench.alert_places(slower))
        for slower in (durations_bench.slowed(series, 0.50) for series in sample)
    )

    assert len(sample) > 250
    assert false_alarms / len(sample) <= 0.1
    assert found / len(sample) >= 0.90


def test_failures_that_came_and_went_alone_are_flaky_by_the_word_of_reruns(corpus: Path) -> None:
    """Ozone's tests, judged by the first run of each commit; reruns of the same commits are the truth.

    What no rerun proved is not proven sound: the share is a lower bound of the precision.
    """
    histories, proven = ozone_tests(corpus / "histories" / "ozone-ci")
    everything = FlakeThresholds(window_commits=100_000, recovery_passes=100_000, recovery_days=100_000)
    last = max(row.at for rows in histories.values() for row in rows)
    isolated = {
        name: judge_case(rows, {}, now=last, thresholds=everything).isolated
        for name, rows in histories.items()
    }
    twice = {name for name, count in isolated.items() if count >= 2}

    assert len(twice) > 30
    assert len(twice & proven) / len(twice) >= 0.95
    assert len(twice & proven) / len(proven & histories.keys()) >= 0.60


def ozone_tests(folder: Path) -> tuple[dict[str, list[CaseRun]], set[str]]:
    """Tests that failed in the first run of a commit, with those runs; and which ones reruns prove flaky."""
    runs = sorted(durations_bench.rows_of(folder / "runs.tsv.gz"), key=lambda run: run["created_at"])
    commit_of = {run["run_number"]: run["head_sha"] for run in runs}
    first_runs: dict[str, dict[str, str]] = {}
    for run in runs:
        first_runs.setdefault(run["head_sha"], run)
    concluded: defaultdict[str, dict[str, str]] = defaultdict(dict)
    succeeded: set[tuple[str, str]] = set()
    for job in durations_bench.rows_of(folder / "jobs.tsv.gz"):
        if job["run_number"] in commit_of and job["conclusion"] in {"success", "failure"}:
            name = re.sub(r"^basic \((.*)\)$", r"\1", job["job"])
            concluded[name][job["run_number"]] = job["conclusion"]
            if job["conclusion"] == "success":
                succeeded.add((name, commit_of[job["run_number"]]))
    failures: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for row in durations_bench.rows_of(folder / "failing_tests.tsv.gz"):
        name = re.sub(r"^it-(.*)$", r"integration (\1)", row["job"])
        if row["run_number"] in commit_of:
            failures[row["failing_test"], name].add(row["run_number"])
    histories: dict[str, list[CaseRun]] = {}
    proven: set[str] = set()
    for (test, name), failed in sorted(failures.items()):
        if any((name, commit_of[number]) in succeeded for number in failed):
            proven.add(test)
        rows = [
            CaseRun(
                commit=sha,
                at=datetime.fromisoformat(run["created_at"]),
                run=int(run["run_number"]),
                passed_count=int(run["run_number"] not in failed),
                failed_count=int(run["run_number"] in failed),
                on_default_branch=True,
            )
            for sha, run in first_runs.items()
            if run["run_number"] in concluded[name]
        ]
        # A test that moved between jobs is judged where it failed most.
        if any(row.failed_count for row in rows) and sum(row.failed_count for row in rows) > sum(
            row.failed_count for row in histories.get(test, ())
        ):
            histories[test] = rows
    return histories, proven
