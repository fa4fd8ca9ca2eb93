"""What a suite's definition means by a push; plain values."""

from __future__ import annotations

from typing import Any

import pytest

from runs.suitefile import Branches, SuiteFileError, objection, read_suite_file, trigger_of

FILE = """
version: 1
suites:
  checkout:
    compose: c.yml
    tests: tests
    on: {on}
"""


@pytest.mark.parametrize(
    ("definition", "filters"),
    [
        ({}, None),
        ({"on": None}, None),
        ({"on": ["push"]}, None),
        ({"on": {"pull_request": {}}}, None),
        ({"on": {"push": None}}, Branches()),
        ({"on": {"push": "main"}}, Branches()),
        ({"on": {"push": {"branches": "main"}}}, Branches(branches=("main",))),
        ({"on": {"push": {"branches": ["main", 7]}}}, Branches(branches=("main", "7"))),
        ({"on": {"push": {"cancel_superseded": True}}}, Branches(cancel_superseded=True)),
        ({"on": {"push": {"cancel_superseded": 1}}}, Branches()),
    ],
)
def test_a_definition_is_read_as_it_was_written(definition: dict[str, Any], filters: Branches | None) -> None:
    assert trigger_of(definition, "push") == filters


def test_what_the_suite_file_says_is_what_its_definition_means() -> None:
    on = "{push: {branches: main, paths: [a/**], cancel_superseded: true}, pull_request: }"
    suite = read_suite_file(FILE.replace("{on}", on)).suites["checkout"]

    assert suite.push == Branches(branches=("main",), paths=("a/**",), cancel_superseded=True)
    assert trigger_of(suite.definition, "push") == suite.push
    assert trigger_of(suite.definition, "pull_request") == suite.pull_request == Branches()


def test_superseding_is_true_or_false() -> None:
    with pytest.raises(SuiteFileError, match="cancel_superseded: 'often' is neither true nor false"):
        read_suite_file(FILE.replace("{on}", "{push: {cancel_superseded: often}}"))


@pytest.mark.parametrize(
    ("patterns", "branch", "is_meant"),
    [
        (["main"], "main", True),
        (["main"], "mainline", False),
        (["release/*"], "release/1.8", True),
        (["release/*"], "release/1.8/fix", False),
        (["release/**"], "release/1.8/fix", True),
        (["v[0-9]*"], "v1", True),
        (["**"], "feat/cart", True),
        (["a.b"], "axb", False),
    ],
)
def test_a_branchs_glob_stays_between_slashes(patterns: list[str], branch: str, is_meant: bool) -> None:
    complaint = objection(Branches(branches=tuple(patterns)), branch=branch, paths=None)

    assert complaint == ("" if is_meant else f"only branches {patterns[0]}")


def test_a_long_list_of_filters_is_told_in_short() -> None:
    names = tuple(f"b{number}" for number in range(9))

    assert objection(Branches(branches=names), branch="x", paths=()) == (
        "only branches b0, b1, b2, b3, b4, b5 and 3 more"
    )


def test_no_changed_path_is_not_the_same_as_paths_that_are_not_known() -> None:
    wanted = Branches(paths=("docs/**",))

    assert objection(wanted, branch="main", paths=()) == "only changes in docs/**"
    assert objection(wanted, branch="main", paths=None) == ""
