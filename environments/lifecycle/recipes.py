"""Recipes of the suite file: shell commands with places for arguments, filled in so that no value is code.

    python seed.py --orders {count} --name '{name}'

The command that runs is the file's own, with a variable where each place was; the values travel as variables
of the environment. A shell does not read what a variable holds as commands, whatever that is and whatever
quotes the file puts around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from environments.engine import ExecResult
from environments.errors import CommandFailedError, NotPossibleHereError
from environments.lifecycle.requests import Recipe

#: How long a recipe may take.
TIMEOUT_SECONDS = 120.0
#: How much of what a recipe printed an error repeats: its end.
OUTPUT_CHARACTERS = 4000
#: What the engine keeps of a command's output; as much as that was cut.
_OUTPUT_LIMIT = 64 * 1024
#: Where a JSON document is looked for behind what else was printed; each place costs a reading of the rest.
_MOST_STARTS = 50
_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
#: A place, unless a `$` before it makes it the shell's own; doubled braces are braces.
_TOKEN = re.compile(rf"\\.|['\"]|\{{\{{(?P<literal>{_NAME})\}}\}}|(?<!\$)\{{(?P<place>{_NAME})\}}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filled:
    """A command for the shell and the variables that it needs."""

    command: str
    variables: Mapping[str, str]


def places(run: str) -> tuple[str, ...]:
    """The names of the arguments that a command has places for, each once, in order."""
    found = (match["place"] for match in _TOKEN.finditer(run) if match["place"])
    return tuple(dict.fromkeys(found))


def fill(name: str, recipe: Recipe, arguments: Mapping[str, Any]) -> Filled:
    """Put the arguments into the command; texts as they are, anything else as JSON.

    Raises `NotPossibleHereError` for one that is missing, unknown, or cannot be passed.
    """
    wanted = places(recipe.run)
    for unknown in arguments.keys() - set(wanted):
        takes = ", ".join(f"'{one}'" for one in wanted) or "no arguments"
        message = f"Recipe '{name}' has no place for '{unknown}'. It takes {takes}."
        raise NotPossibleHereError(message, arguments=list(wanted))
    if missing := [one for one in wanted if one not in arguments]:
        message = f"Recipe '{name}' needs '{missing[0]}'. Send it in the body: {{\"{missing[0]}\": …}}."
        raise NotPossibleHereError(message, arguments=list(wanted))
    values = {one: _text(one, arguments[one]) for one in wanted}
    variables = {one: f"ITDASH_ARGUMENT_{number}" for number, one in enumerate(wanted, start=1)}
    return Filled(
        command=_with_variables(recipe.run, variables),
        variables={variables[one]: value for one, value in values.items()},
    )


def _with_variables(run: str, variables: Mapping[str, str]) -> str:
    quote = ""

    def token(match: re.Match[str]) -> str:
        nonlocal quote
        text = match[0]
        if match["literal"]:
            return f"{{{match['literal']}}}"
        if match["place"]:
            variable = f"${{{variables[match['place']]}}}"
            return {"": f'"{variable}"', '"': variable, "'": f"'\"{variable}\"'"}[quote]
        if text in {"'", '"'}:
            quote = "" if quote == text else quote or text
        elif quote == "'":
            # No escapes within single quotes: the backslash is itself, and what follows may end the quotes.
            quote = "" if text[1] == "'" else quote
        return text

    return _TOKEN.sub(token, run)


def _text(name: str, value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\0" in text:
        message = f"'{name}' holds a NUL character, which no command can be given."
        raise NotPossibleHereError(message)
    return text


def output_of(name: str, result: ExecResult) -> object:
    """The JSON that a recipe printed: all of it, or what follows other lines; None when it printed nothing.

    Raises `CommandFailedError` with what it printed.
    """
    printed = result.output.strip()
    end = printed[-OUTPUT_CHARACTERS:]
    if result.timed_out:
        message = f"Recipe '{name}' did not end in {TIMEOUT_SECONDS:g} s. It printed: {end or 'nothing'}"
        raise CommandFailedError(message, output=end, timed_out=True)
    if result.exit_code:
        message = f"Recipe '{name}' ended with exit code {result.exit_code}. It printed: {end or 'nothing'}"
        raise CommandFailedError(message, exit_code=result.exit_code, output=end)
    if not printed:
        return None
    found, value = _json_at_the_end(printed)
    if found:
        return value
    was_cut = len(result.output.encode()) >= _OUTPUT_LIMIT
    why = "printed more than 64 KiB, which were cut" if was_cut else "printed no JSON"
    message = f"Recipe '{name}' ended well but {why}. It printed: {end}"
    raise CommandFailedError(message, exit_code=0, output=end)


def _json_at_the_end(printed: str) -> tuple[bool, object]:
    lines = printed.splitlines()
    starts = [0, len(lines) - 1]
    starts += [number for number, line in enumerate(lines) if line[:1] in {"{", "["}][:_MOST_STARTS]
    for start in dict.fromkeys(starts):
        try:
            return True, json.loads("\n".join(lines[start:]))
        except (ValueError, RecursionError):
            continue
    return False, None
