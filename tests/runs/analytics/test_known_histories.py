"""Verdicts and alerts on histories whose truth is known: small, seeded forms of the benchmarks."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmarks import durations as durations_bench
from benchmarks import flakiness as flakiness_bench
from runs.analytics.durations import alerts

#: All of the data: one block of 2,000 shows about 40 flaky tests, too few to tell 0.62 from 0.60.
BLOCKS = 11


@pytest.fixture(scope="module")
def rates(request: pytest.FixtureRequest) -> list[float]:
    corpus: Path = request.getfixturevalue("corpus")
    found = flakiness_bench.failure_rates(corpus / "histories" / "flakeflagger" / "test_results.csv.gz")
    random.Random(flakiness_bench.SEED).shuffle(found)
    return found


def block_of(rates: list[float], number: int) -> list[float]:
    return rates[number * flakiness_bench.TESTS : (number + 1) * flakiness_bench.TESTS]


@pytest.mark.parametrize(("rerun", "precision", "recall"), [(0.25, 0.97, 0.80), (0.0, 0.97, 0.60)])
def test_flaky_tests_are_found_and_sound_ones_are_not_accused(
    rates: list[float], rerun: float, precision: float, recall: float
) -> None:
    total: Counter[str] = Counter()
    for number in range(BLOCKS):
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


def test_failures_alone_are_flaky_by_the_word_of_reruns(corpus: Path) -> None:
    """Ozone's tests: judged by first runs only, against what reruns of the same commits proved."""
    folder = corpus / "histories" / "ozone-ci"
    runs = {row["run_number"]: row for row in durations_bench.rows_of(folder / "runs.tsv.gz")}
    commits = dict.fromkeys(
        run["head_sha"] for run in sorted(runs.values(), key=lambda run: run["created_at"])
    )
    assert len(commits) > 1000
    attempts: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for job in durations_bench.rows_of(folder / "jobs.tsv.gz"):
        run = runs.get(job["run_number"])
        if run and job["conclusion"] in {"success", "failure"}:
            attempts[job["job"], run["head_sha"]].append((job["started_at"], job["conclusion"]))
    judged = Counter[bool]()
    by_job: defaultdict[str, list[list[str]]] = defaultdict(list)
    for job_name, sha in sorted(attempts, key=lambda key: list(commits).index(key[1])):
        by_job[job_name].append([conclusion for _, conclusion in sorted(attempts[job_name, sha])])
    for history in by_job.values():
        for before, here, after in zip(history, history[1:], history[2:], strict=False):
            alone = before[0] == "success" and here[0] == "failure" and after[0] == "success"
            if alone and len(here) > 1:
                judged["success" in here] += 1

    assert judged[True] / judged.total() >= 0.85
