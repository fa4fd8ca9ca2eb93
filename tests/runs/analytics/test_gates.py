"""Gates: what each says, with its numbers."""

from __future__ import annotations

import pytest

from runs.analytics.gates import (
    Holding,
    judge_duration,
    judge_new_failures,
    judge_new_flaky,
    not_applied,
)

BASE = "#41 on main"


def test_failures_that_the_base_has_too_do_not_count() -> None:
    ruling = judge_new_failures(0, new=0, known=2, base=BASE)

    assert ruling.holding is Holding.HOLDS
    assert ruling.sentence == (
        "Holds: 0 new failures against #41 on main, at most 0 allowed; "
        "2 failures that it has too do not count."
    )


@pytest.mark.parametrize(
    ("limit", "new", "sentence"),
    [
        (0, 1, "Fails: 1 new failure against #41 on main, at most 0 allowed."),
        (2, 3, "Fails: 3 new failures against #41 on main, at most 2 allowed."),
        (2, 2, "Holds: 2 new failures against #41 on main, at most 2 allowed."),
    ],
)
def test_as_many_new_failures_pass_as_the_gate_allows(limit: int, new: int, sentence: str) -> None:
    assert judge_new_failures(limit, new=new, known=0, base=BASE).sentence == sentence


@pytest.mark.parametrize(
    ("new", "known", "sentence"),
    [
        (1, 0, "Fails: 1 test newly flaky against #41 on main, at most 0 allowed."),
        (0, 1, "Holds: 0 tests newly flaky against #41 on main, at most 0 allowed; 1 more was known to be."),
        (0, 3, "Holds: 0 tests newly flaky against #41 on main, at most 0 allowed; 3 more were known to be."),
    ],
)
def test_only_tests_that_were_not_known_to_be_flaky_count(new: int, known: int, sentence: str) -> None:
    assert judge_new_flaky(0, new=new, known=known, base=BASE).sentence == sentence


@pytest.mark.parametrize(
    ("seconds", "holding", "part"),
    [
        (125.0, Holding.HOLDS, "125.0 s against a median of 100.0 s in the last 10 passed runs, 25 % longer"),
        (126.0, Holding.FAILS, "26 % longer; at most 25 % longer is allowed."),
        (80.0, Holding.HOLDS, "20 % less"),
        (None, Holding.NOT_APPLIED, "how long the run took is not known"),
    ],
)
def test_a_run_may_take_so_much_longer_than_usual(seconds: float | None, holding: Holding, part: str) -> None:
    ruling = judge_duration(0.25, seconds=seconds, usual_seconds=100.0, passes=10)

    assert ruling.holding is holding
    assert part in ruling.sentence


def test_what_cannot_be_judged_says_why() -> None:
    ruling = not_applied("new_flaky", "there is no finished run on main")

    assert ruling.sentence == "Not applied: new_flaky, because there is no finished run on main."
