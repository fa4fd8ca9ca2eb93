from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.analytics.flakiness import (
    ALGORITHM_VERSION,
    DEFAULTS,
    CaseRun,
    FlakeState,
    FlakeThresholds,
    FlakeVerdict,
    OutageReason,
    RunFacts,
    chance_flaky,
    findings,
    judge_case,
    outage,
    outages_among,
)

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
HEALTHY, SUSPECT, LIKELY, FLAKY = FlakeState


def row(run: int, commit: str, outcomes: str, *, days_ago: float = 0.0, **more: object) -> CaseRun:
    """One run of the test: `outcomes` are its attempts, P and F."""
    found = CaseRun(
        commit=commit,
        at=NOW - timedelta(days=days_ago) + timedelta(seconds=run),
        run=run,
        passed_count=outcomes.count("P"),
        failed_count=outcomes.count("F"),
        on_default_branch=True,
    )
    return replace(found, **more)  # type: ignore[arg-type] # any column


def commits(outcomes: str, *, every: timedelta = timedelta(hours=1)) -> list[CaseRun]:
    """One commit of the default branch for each letter, the last one now; X is a failure and a pass."""
    first = NOW - every * (len(outcomes) - 1)
    return [
        CaseRun(
            commit=f"c{number}",
            at=first + every * number,
            run=number,
            passed_count=int(letter in "PX"),
            failed_count=int(letter in "FX"),
            on_default_branch=True,
        )
        for number, letter in enumerate(outcomes)
    ]


def judged(
    rows: Sequence[CaseRun], *, previous: FlakeVerdict | None = None, **outages: OutageReason
) -> FlakeVerdict:
    masked = {int(name.removeprefix("run")): reason for name, reason in outages.items()}
    return judge_case(rows, masked, now=NOW + timedelta(hours=1), previous=previous)


@pytest.mark.parametrize(
    ("outcomes", "state", "isolated"),
    [
        ("", HEALTHY, 0),
        ("PPPPP", HEALTHY, 0),
        ("PPFPP", SUSPECT, 1),
        ("PFPFP", LIKELY, 2),
        ("PFPFPFP", FLAKY, 3),
        ("PFFP", HEALTHY, 0),  # two commits in a row: more likely a breakage
        ("FPPP", HEALTHY, 0),  # nothing before it
        ("PPPF", HEALTHY, 0),  # nothing after it yet
        ("FFFF", HEALTHY, 0),
        ("PXP", FLAKY, 0),
        ("XF" + "P", FLAKY, 1),  # the mixed commit has a pass
    ],
)
def test_the_state_follows_from_what_failed_alone(outcomes: str, state: FlakeState, isolated: int) -> None:
    verdict = judged(commits(outcomes))

    assert (verdict.state, verdict.isolated) == (state, isolated)


def test_a_pass_and_a_failure_of_one_commit_are_proof_from_any_two_runs() -> None:
    verdict = judged([row(1, "a", "F"), row(2, "b", "P"), row(3, "a", "P")])

    assert (verdict.state, verdict.direct, verdict.direct_recent) == (FLAKY, 1, 1)


def test_proof_from_a_branch_counts_too() -> None:
    verdict = judged([row(1, "a", "FP", on_default_branch=False, change="!7")])

    assert verdict.state is FLAKY


def test_an_isolated_failure_on_a_branch_is_the_branchs_own() -> None:
    history = [replace(one, on_default_branch=False) for one in commits("PFPFPFP")]

    assert judged(history).state is HEALTHY


def test_proof_that_is_also_isolated_counts_once() -> None:
    history = [*commits("PFP"), row(9, "c1", "P", on_default_branch=False)]

    verdict = judged(history)

    assert (verdict.direct, verdict.isolated) == (1, 0)


def test_runs_without_a_commit_prove_nothing_together_but_each_by_itself() -> None:
    assert judged([row(1, "", "F"), row(2, "", "P")]).direct == 0
    assert judged([row(1, "", "FP"), row(2, "", "P")]).direct == 1


def test_proof_older_than_the_window_does_not_make_a_state() -> None:
    assert judged([row(1, "a", "FP", days_ago=14.1)]).state is HEALTHY
    assert judged([row(1, "a", "FP", days_ago=13.9)]).state is FLAKY


def test_a_state_is_kept_when_its_evidence_has_grown_old() -> None:
    old = [row(1, "a", "FP", days_ago=13.9)]
    before = judged(old)
    later = judge_case(old, {}, now=NOW + timedelta(days=2), previous=before)

    assert (later.state, later.direct_recent) == (FLAKY, 0)


def test_thirty_passes_in_a_row_are_a_recovery() -> None:
    assert judged([*commits("X" + 29 * "P")]).state is FLAKY
    assert judged([*commits("X" + 30 * "P")]).state is HEALTHY
    assert judged([*commits("X" + 30 * "P" + "F")]).state is FLAKY


def test_a_fortnight_with_twenty_executions_and_no_evidence_is_a_recovery() -> None:
    proof = row(100, "a", "FP", days_ago=14.0)
    # A failure in a longer breakage is no evidence of flakiness, but ends the row of passes.
    calm = [row(n, f"c{n}", "F" if n in {5, 6} else "P", days_ago=13 - n * 0.5) for n in range(20)]
    before = judge_case([proof], {}, now=NOW - timedelta(days=13.9))

    assert before.state is FLAKY
    assert judged([proof, *calm[:19]], previous=before).state is FLAKY
    assert judged([proof, *calm], previous=before).state is HEALTHY


def test_a_relapse_brings_all_evidence_of_the_window_back() -> None:
    history = commits("PFPFP" + 30 * "P" + "FP")

    assert judged(history[:-2]).state is HEALTHY
    assert judged(history).state is FLAKY


def test_a_failure_that_proves_nothing_does_not_undo_a_recovery() -> None:
    history = commits("X" + 30 * "P")
    recovered = judged(history)
    on_a_branch = row(99, "b", "F", on_default_branch=False)

    later = judged([*history, on_a_branch], previous=recovered)

    assert (recovered.state, later.state, later.passing_executions) == (HEALTHY, HEALTHY, 0)
    # Proof of its own does.
    assert judged([*history, on_a_branch, row(100, "b", "P")], previous=later).state is FLAKY


def test_evidence_that_turns_out_to_be_an_outage_is_taken_back() -> None:
    history = [row(1, "a", "F"), row(2, "a", "P")]
    before = judged(history)

    after = judged(history, previous=before, run1=OutageReason.MOSTLY_FAILED)

    assert (before.state, after.state, after.masked_runs) == (FLAKY, HEALTHY, 1)


@pytest.mark.parametrize(
    ("executed", "failed", "shared", "expected"),
    [
        (10, 5, 0, OutageReason.MOSTLY_FAILED),
        (10, 4, 0, None),
        (9, 7, 0, None),  # 78 %
        (5, 4, 0, OutageReason.MOSTLY_FAILED),  # 80 %
        (2, 2, 0, OutageReason.MOSTLY_FAILED),
        (1, 1, 0, None),  # nothing to compare it with
        (0, 0, 0, None),
        (100, 5, 5, OutageReason.SHARED_FAILURE),
        (100, 5, 4, None),
        (100, 60, 60, OutageReason.MOSTLY_FAILED),
    ],
)
def test_an_outage_is_a_run_that_mostly_failed_or_failed_for_one_reason(
    executed: int, failed: int, shared: int, expected: OutageReason | None
) -> None:
    assert outage(RunFacts(1, executed, failed, shared)) is expected


def test_outages_are_named_by_run() -> None:
    runs = [RunFacts(1, 20, 0), RunFacts(2, 20, 20), RunFacts(3, 20, 6, 6)]

    assert outages_among(runs) == {2: OutageReason.MOSTLY_FAILED, 3: OutageReason.SHARED_FAILURE}


def test_of_a_shared_failure_only_the_failures_are_set_aside() -> None:
    history = [row(1, "a", "F"), row(2, "a", "P"), row(3, "b", "P"), row(4, "b", "FP")]

    assert judged(history, run4=OutageReason.SHARED_FAILURE).direct == 1
    assert judged(history, run1=OutageReason.SHARED_FAILURE, run4=OutageReason.SHARED_FAILURE).direct == 0
    # Its passes count: the failure of run 1 on the same commit is none of its.
    assert judged(history, run2=OutageReason.SHARED_FAILURE).direct == 2


def test_broken_is_failing_on_the_last_three_commits_and_never_in_doubt() -> None:
    assert judged(commits("PPFF")).is_broken is False
    assert judged(commits("PPFFF")).is_broken is True
    assert judged(commits("PPFFFP")).is_broken is False
    assert judged(commits("XPFFF")).is_broken is False
    assert judged(commits("PPFFF")).failing_streak == 3


def test_a_test_can_be_flaky_and_broken() -> None:
    verdict = judged(commits("PFPFPFPFFF"))

    assert (verdict.state, verdict.is_broken) == (FLAKY, True)


def test_a_test_that_always_fails_is_broken_and_never_flaky() -> None:
    verdict = judged(commits(100 * "F"))

    assert (verdict.state, verdict.is_broken, verdict.score) == (HEALTHY, True, 0.0)


def test_one_outage_breaks_nothing_but_three_commits_of_it_do() -> None:
    history = commits("PPPFFF")

    assert judged(history, run5=OutageReason.MOSTLY_FAILED).is_broken is False
    all_three = judge_case(history, dict.fromkeys((3, 4, 5), OutageReason.MOSTLY_FAILED), now=NOW)
    assert (all_three.is_broken, all_three.state) == (True, HEALTHY)


def test_what_several_tests_share_may_be_the_code_so_it_can_break() -> None:
    shared = dict.fromkeys((2, 3, 4), OutageReason.SHARED_FAILURE)

    verdict = judge_case(commits("PPFFF"), shared, now=NOW)

    assert (verdict.is_broken, verdict.executions) == (True, 2)


def test_the_score_and_the_cost_are_worked_out_by_hand() -> None:
    # Ten commits: one mixed, one isolated: (2 + 1)/20 = 0.15. Ten runs in two weeks: five a week.
    # 0.15 · 5 · (median 4 s + 20 s to run again) = 18 s a week.
    history = [replace(one, seconds=4.0) for one in commits("PXPFPPPPPP")]

    verdict = judge_case(history, {}, now=NOW, rerun_seconds=20.0)

    assert verdict.score == pytest.approx(0.15)
    assert verdict.runs_per_week == 5.0
    assert verdict.lost_seconds_per_week == pytest.approx(18.0)
    # Wilson for 1.5 of 10: (0.15 + 0.19207)/1.38415 ± 1.95996·√(0.01275 + 0.0096036)/1.38415
    assert (verdict.score_low, verdict.score_high) == pytest.approx((0.0354, 0.4588), abs=1e-4)
    assert (verdict.commits, verdict.executions, verdict.changes_hit) == (10, 10, 2)


def test_distinct_changes_count_once_however_often_they_are_hit() -> None:
    history = [
        row(1, "a", "F", on_default_branch=False, change="!7"),
        row(2, "b", "FF", on_default_branch=False, change="!7"),
        row(3, "c", "F", on_default_branch=False, change="!8"),
        row(4, "d", "P", on_default_branch=False, change="!9"),
    ]

    assert judged(history).changes_hit == 2


def test_a_verdict_carries_what_it_was_made_with() -> None:
    limits = FlakeThresholds(suspect_isolated=2)

    verdict = judge_case(commits("PFP"), {}, now=NOW, thresholds=limits)

    assert (verdict.state, verdict.thresholds, verdict.algorithm_version) == (
        HEALTHY,
        limits,
        ALGORITHM_VERSION,
    )


def test_only_the_last_hundred_commits_count_as_isolated() -> None:
    limits = FlakeThresholds(recovery_passes=1000)
    history = commits("PFP" + 97 * "P", every=timedelta(days=1))

    assert judge_case(history, {}, now=NOW, thresholds=limits).isolated == 1
    # Two commits later the failing one is not among the last hundred.
    longer = commits("PFP" + 99 * "P", every=timedelta(days=1))
    assert judge_case(longer, {}, now=NOW, thresholds=limits).isolated == 0


def test_the_chance_of_a_flake_is_learnt_from_a_half() -> None:
    assert chance_flaky(0, 0) == 0.5
    assert chance_flaky(365, 393) == pytest.approx(366 / 395)
    with pytest.raises(ValueError, match="no share"):
        chance_flaky(3, 2)


ROWS = st.lists(
    st.builds(
        lambda run, commit, passed, failed, main, hours: CaseRun(
            commit=f"c{commit}" if commit else "",
            at=NOW - timedelta(hours=hours),
            run=run,
            passed_count=passed,
            failed_count=failed,
            on_default_branch=main,
        ),
        st.integers(1, 400),
        st.integers(0, 12),
        st.integers(0, 2),
        st.integers(0, 2),
        st.booleans(),
        st.integers(0, 700),
    ),
    max_size=40,
    unique_by=lambda one: one.run,
)
OUTAGES = st.dictionaries(st.integers(1, 400), st.sampled_from(OutageReason), max_size=8)


@given(ROWS, OUTAGES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    rows: list[CaseRun], masked: dict[int, OutageReason], chance: object
) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis' stand-in for random

    assert judge_case(shuffled, masked, now=NOW) == judge_case(rows, masked, now=NOW)


@given(ROWS, OUTAGES)
def test_figures_stay_within_their_bounds(rows: list[CaseRun], masked: dict[int, OutageReason]) -> None:
    verdict = judge_case(rows, masked, now=NOW)

    assert 0 <= verdict.score_low <= verdict.score <= verdict.score_high <= 1
    assert verdict.direct + verdict.isolated <= verdict.commits
    assert verdict.direct_recent <= verdict.direct
    assert verdict.lost_seconds_per_week >= 0


@given(ROWS, OUTAGES)
def test_fresh_proof_never_makes_a_test_look_better(
    rows: list[CaseRun], masked: dict[int, OutageReason]
) -> None:
    before = judge_case(rows, masked, now=NOW)
    after = judge_case([*rows, row(999, "new", "FP")], masked, now=NOW + timedelta(hours=1), previous=before)

    assert after.state is FLAKY
    assert after.direct >= before.direct


@settings(max_examples=60)
@given(ROWS, st.integers(0, 12), st.integers(1, 700))
def test_one_outage_changes_no_state(rows: list[CaseRun], commit: int, hours: int) -> None:
    calm = judge_case(rows, {}, now=NOW)
    hit = row(999, f"c{commit}", "F", days_ago=hours / 24)

    struck = judge_case([*rows, hit], {999: OutageReason.MOSTLY_FAILED}, now=NOW)

    assert (struck.state, struck.is_broken, struck.score) == (calm.state, calm.is_broken, calm.score)


@given(ROWS)
def test_what_never_passed_is_never_called_flaky(rows: list[CaseRun]) -> None:
    failing = [replace(one, passed_count=0) for one in rows]

    assert judge_case(failing, {}, now=NOW).state is HEALTHY


def test_the_defaults_are_the_ones_that_were_measured() -> None:
    assert (DEFAULTS.window_days, DEFAULTS.flaky_isolated, DEFAULTS.recovery_passes) == (14, 3, 30)


def test_findings_are_the_very_executions_that_a_verdict_counts() -> None:
    rows = [*commits("PFPXPP"), row(10, "c5", "F", days_ago=-0.01)]

    found = findings(rows, {0: OutageReason.SHARED_FAILURE}, now=NOW + timedelta(hours=1))

    # c5 failed in run 10 and passed in run 5; c3 did both at once; c1 stands between c0 and c2.
    assert [commit.key for commit in found.direct] == ["c5", "c3"]
    assert [(one.before.key, one.failing.key, one.after.key) for one in found.isolated] == [
        ("c0", "c1", "c2")
    ]
    assert [masked.run for masked in found.masked] == [0]


@given(outcomes=st.text("PFX", max_size=40))
@settings(max_examples=60)
def test_findings_are_as_many_as_the_verdict_says(outcomes: str) -> None:
    rows = commits(outcomes)
    verdict, found = judged(rows), findings(rows, {}, now=NOW + timedelta(hours=1))

    assert (len(found.direct), len(found.isolated)) == (verdict.direct, verdict.isolated)
