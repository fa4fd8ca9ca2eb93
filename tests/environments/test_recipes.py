"""Recipes: a real shell runs what was filled in, and nothing that a value says is run."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from environments.engine import ExecResult
from environments.errors import CommandFailedError, NotPossibleHereError
from environments.lifecycle import Recipe
from environments.lifecycle.recipes import fill, output_of, places

HOSTILE = "a'b\"c`id`$(id) $HOME \\ ; id\n* {count} é"
#: Says each of its arguments on a line of its own.
SHOW = 'show() { for each in "$@"; do printf \'<%s>\\n\' "$each"; done; }; show'


def shown(run: str, **arguments: Any) -> str:
    filled = fill("shown", Recipe("api", f"{SHOW} {run}"), arguments)
    done = subprocess.run(
        ["/bin/sh", "-c", filled.command],
        env=dict(filled.variables),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("run", ["{name}", "'{name}'", '"{name}"', "''{name}", '"$(printf %s "{name}")"'])
@pytest.mark.parametrize("value", [HOSTILE, "", "two words", "-n", "'; id; '", '"; id; "'])
def test_a_value_is_one_word_whatever_it_holds_and_whatever_quotes_are_around_its_place(
    run: str, value: str
) -> None:
    if "$(" in run and value == HOSTILE:
        value = value.replace("*", "")

    # Within `$(…)` of the file's own, the shell may split a value at blanks; it is never code.
    printed = shown(run, name=value)

    assert printed.replace(">\n<", " ") == f"<{value}>\n" or ("$(" in run and "uid=" not in printed)


def test_values_stand_beside_other_text_and_more_than_once() -> None:
    assert shown("--at={day}T'{hour}:00' {day}", day="1", hour="2 3") == "<--at=1T2 3:00>\n<1>\n"


def test_texts_are_passed_as_they_are_and_everything_else_as_json() -> None:
    printed = shown("{a} {b} {c} {d}", a="x", b=3, c=True, d={"k": ["é", None]})

    assert printed == '<x>\n<3>\n<true>\n<{"k": ["é", null]}>\n'


def test_what_is_not_a_place_stays_the_shells() -> None:
    run = "${HOME:-none} {{count}} a{1,2} '{\"a\": 1}' \\{count\\}"

    assert places(run) == ()
    assert shown(run) == '<none>\n<{count}>\n<a{1,2}>\n<{"a": 1}>\n<{count}>\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs 'count'"),
        ({"count": 1, "counts": 2}, "no place for 'counts'. It takes 'count'."),
        ({"count": "a\0b"}, "NUL"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(NotPossibleHereError, match=said):
        fill("orders", Recipe("api", "seed {count}"), arguments)


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ('{"id": 7}\n', {"id": 7}),
        ("7", 7),
        ("", None),
        ('seeding …\ndone\n{"id": 7}\n', {"id": 7}),
        ('warming up\n{\n  "id": 7\n}', {"id": 7}),
        ("{not json\n[1,\n 2]", [1, 2]),
    ],
)
def test_the_json_is_found_behind_what_else_was_printed(printed: str, value: object) -> None:
    assert output_of("orders", ExecResult(0, printed)) == value


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (ExecResult(3, "Traceback: no such table"), "exit code 3. It printed: Traceback: no such table"),
        (ExecResult(0, "done"), "printed no JSON. It printed: done"),
        (ExecResult(-1, "", timed_out=True), "did not end in 120 s. It printed: nothing"),
        (ExecResult(0, "x" * 65536), "which were cut"),
    ],
)
def test_a_recipe_that_fails_says_what_it_printed(result: ExecResult, said: str) -> None:
    with pytest.raises(CommandFailedError, match=said):
        output_of("orders", result)
