from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.comparison import CaseResult, Change, Kind, Place, compare, count_changes, is_slower
from runs.analytics.flakiness import FlakeState
from runs.vocabulary import FAILING, Outcome

P, F, E, S, X = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED, Outcome.FLAKY
RESULTS = st.lists(
    st.builds(
        CaseResult,
        case=st.integers(1, 8),
        outcome=st.sampled_from(list(Outcome)),
        seconds=st.lists(st.floats(0, 50), max_size=3).map(tuple),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (P, F, Change.BROKE),
        (P, E, Change.BROKE),
        (S, F, Change.BROKE),
        (F, E, Change.STILL_FAILING),
        (E, F, Change.STILL_FAILING),
        (F, P, Change.FIXED),
        (F, S, None),
        (S, P, None),
        (P, S, None),
        (P, P, None),
        (P, X, Change.FLAKY),
        (F, X, Change.FLAKY),
        (X, F, Change.FLAKY),
        (X, P, None),
        (None, P, Change.NEW_TEST),
        (None, F, Change.NEW_TEST),
        (None, X, Change.FLAKY),
        (P, None, Change.REMOVED),
        (F, None, Change.REMOVED),
    ],
)
def test_every_pair_of_outcomes_has_its_category(
    base: Outcome | None, head: Outcome | None, expected: Change | None
) -> None:
    found = compare([CaseResult(1, base)] if base else [], [CaseResult(1, head)] if head else [])

    assert [one.change for one in found.differences] == ([expected] if expected else [])
    assert found.unchanged_count == (0 if expected else 1)


@pytest.mark.parametrize(("base", "head"), [(P, F), (F, P)])
def test_what_is_known_to_be_flaky_neither_broke_nor_was_fixed(base: Outcome, head: Outcome) -> None:
    found = compare([CaseResult(1, base)], [CaseResult(1, head)], states={1: FlakeState.LIKELY_FLAKY})

    assert [one.change for one in found.differences] == [Change.FLAKY]


def test_a_suspect_is_no_excuse() -> None:
    found = compare([CaseResult(1, P)], [CaseResult(1, F)], states={1: FlakeState.SUSPECT})

    assert [one.change for one in found.differences] == [Change.BROKE]


def test_a_flaky_test_that_fails_in_both_still_fails() -> None:
    found = compare([CaseResult(1, F)], [CaseResult(1, F)], states={1: FlakeState.FLAKY})

    assert [one.change for one in found.differences] == [Change.STILL_FAILING]


def test_failures_are_told_from_those_of_the_base_branch() -> None:
    head = [CaseResult(1, F), CaseResult(2, F), CaseResult(3, P)]

    found = compare([CaseResult(1, P), CaseResult(2, P)], head, base_failing={2, 3})

    assert {one.case: one.place for one in found.differences} == {
        1: Place.NEW_ON_BRANCH,
        2: Place.ALSO_ON_BASE,
        3: None,
    }


def test_without_the_base_branch_nothing_is_said_of_it() -> None:
    assert compare([CaseResult(1, P)], [CaseResult(1, F)]).differences[0].place is None


def test_the_gate_counts_what_broke_and_new_tests_that_fail() -> None:
    base = [CaseResult(1, P), CaseResult(2, F)]
    head = [CaseResult(1, F), CaseResult(2, F), CaseResult(3, F), CaseResult(4, P)]

    assert [one.case for one in compare(base, head).new_failures] == [1, 3]


def test_differences_come_in_the_order_in_which_they_matter() -> None:
    base = [CaseResult(1, P, (1.0,)), CaseResult(2, P), CaseResult(3, F), CaseResult(9, P)]
    head = [CaseResult(1, P, (2.0,)), CaseResult(3, P), CaseResult(4, P), CaseResult(5, F), CaseResult(9, F)]

    found = compare(base, head)

    assert [(one.change, one.case) for one in found.differences] == [
        (Change.BROKE, 9),
        (Change.FIXED, 3),
        (Change.NEW_TEST, 5),
        (Change.NEW_TEST, 4),
        (Change.REMOVED, 2),
        (Change.SLOWER, 1),
    ]
    assert found.counts[Change.NEW_TEST] == 2
    assert [one.case for one in found.of(Change.FIXED)] == [3]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((10.0,), (12.0,), True),
        ((10.0,), (11.9,), False),  # less than a fifth
        ((1.0,), (1.4,), False),  # less than half a second
        ((), (5.0,), False),
        ((5.0,), (), False),
        # Ten durations, median 5, p95 = 9 + 0.55·(10 - 9) = 9.55
        ((1.0, 2.0, 3.0, 4.0, 4.9, 5.1, 7.0, 8.0, 9.0, 10.0), (9.0,), False),
        ((1.0, 2.0, 3.0, 4.0, 4.9, 5.1, 7.0, 8.0, 9.0, 10.0), (9.6,), True),
    ],
)
def test_slower_is_more_than_the_usual_noise(
    before: tuple[float, ...], after: tuple[float, ...], *, expected: bool
) -> None:
    assert is_slower(before, after) is expected


@given(RESULTS)
def test_nothing_differs_from_itself_but_what_fails_or_flaked(results: list[CaseResult]) -> None:
    for one in compare(results, results).differences:
        assert one.change is Change.STILL_FAILING or one.head is Outcome.FLAKY


@given(RESULTS, RESULTS)
def test_every_test_is_counted_once(base: list[CaseResult], head: list[CaseResult]) -> None:
    found = compare(base, head)
    cases = [one.case for one in found.differences]

    assert len(cases) == len(set(cases))
    assert len(cases) + found.unchanged_count == len({result.case for result in [*base, *head]})
    assert sum(found.counts.values()) == len(cases)
    assert all(one.head in FAILING for one in found.new_failures)


KINDS = st.lists(
    st.builds(
        Kind,
        base=st.none() | st.sampled_from(list(Outcome)),
        head=st.none() | st.sampled_from(list(Outcome)),
        state=st.sampled_from(list(FlakeState)),
        number=st.integers(1, 3),
    ).filter(lambda kind: kind.base or kind.head),
    max_size=8,
)


@given(KINDS)
def test_kinds_of_tests_count_as_their_tests_do_one_by_one(kinds: list[Kind]) -> None:
    each = list(enumerate(kind for kind in kinds for _ in range(kind.number)))

    alone = compare(
        [CaseResult(case, kind.base) for case, kind in each if kind.base],
        [CaseResult(case, kind.head) for case, kind in each if kind.head],
        states={case: kind.state for case, kind in each},
    )

    counted = count_changes(kinds)
    assert counted.counts == alone.counts
    assert counted.new_failures == len(alone.new_failures)
