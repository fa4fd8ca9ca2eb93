"""Variables in values: ``$V``, ``${V:-default}`` and their kin, as Compose reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from environments.errors import Problem
from environments.spec.source import NOWHERE, Map, Mark, Override, Seq, dotted

_NAME: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
#: What may follow a name inside braces; the longer spelling of each pair first.
_OPERATORS: Final = (":-", "-", ":?", "?", ":+", "+")
_MAX_NESTING: Final = 30

type Unset = Callable[[str], None]


class TemplateError(ValueError):
    """A value whose variables cannot be filled in; the message is a sentence for its author."""


def interpolate(tree: object, variables: Mapping[str, str], *, problems: list[Problem], unset: Unset) -> Any:  # noqa: ANN401 - a tree holds anything
    """A copy of the tree with every variable in its values (never in its keys) filled in.

    `unset` is told each name that had no value and no default. Failures are added to `problems`.
    """
    return _walk(tree, (), NOWHERE, lambda text: substitute(text, variables, unset=unset), problems)


def _walk(
    node: object, path: tuple[str | int, ...], mark: Mark, fill: Callable[[str], str], problems: list[Problem]
) -> Any:  # noqa: ANN401 - a tree holds anything
    if isinstance(node, str) and "$" in node:
        try:
            return fill(node)
        except TemplateError as error:
            problems.append(Problem(f"{dotted(path)}: {error}", mark.file, mark.line, dotted(path)))
            return ""
    if isinstance(node, Override):
        return Override(_walk(node.value, path, mark, fill, problems))
    if isinstance(node, Map):
        filled = Map(marks=node.marks, mark=node.mark)
        for key, value in node.items():
            filled[key] = _walk(value, (*path, key), node.place(key), fill, problems)
        return filled
    if isinstance(node, Seq):
        items = Seq(marks=node.marks, mark=node.mark)
        for index, value in enumerate(node):
            items.append(_walk(value, (*path, index), node.place(index), fill, problems))
        return items
    return node


def substitute(template: str, variables: Mapping[str, str], *, unset: Unset, depth: int = 0) -> str:
    """The template with its variables filled in. Raises `TemplateError`."""
    if depth > _MAX_NESTING:
        message = f"defaults nested more than {_MAX_NESTING} levels deep"
        raise TemplateError(message)
    parts: list[str] = []
    position = 0
    while (dollar := template.find("$", position)) >= 0:
        parts.append(template[position:dollar])
        after = dollar + 1
        if template.startswith("$", after):
            parts.append("$")
            position = after + 1
        elif template.startswith("{", after):
            end = _closing_brace(template, after)
            parts.append(_braced(template[after + 1 : end], template, variables, unset, depth))
            position = end + 1
        elif match := _NAME.match(template, after):
            parts.append(_value_of(match[0], variables, unset))
            position = match.end()
        else:
            parts.append("$")
            position = after
    parts.append(template[position:])
    return "".join(parts)


def _closing_brace(template: str, opening: int) -> int:
    """Where the variable ends that began at the brace; only ``${`` opens another one inside it."""
    depth, position = 1, opening + 1
    while position < len(template):
        if template.startswith("${", position):
            depth += 1
            position += 1
        elif template[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise TemplateError(_invalid(template))


def _braced(inside: str, template: str, variables: Mapping[str, str], unset: Unset, depth: int) -> str:
    match = _NAME.match(inside)
    if match is None or "\n" in inside:
        raise TemplateError(_invalid(template))
    name, rest = match[0], inside[match.end() :]
    if not rest:
        return _value_of(name, variables, unset)
    operator = next((operator for operator in _OPERATORS if rest.startswith(operator)), None)
    if operator is None:
        raise TemplateError(_invalid(template))
    argument = rest[len(operator) :]
    value = variables.get(name)
    is_there = bool(value) if operator.startswith(":") else value is not None
    is_used = is_there is operator.endswith("+")
    # Compose reads it in any case: what is wrong in it is wrong, but only what is used is missed.
    text = substitute(argument, variables, unset=unset if is_used else _nobody, depth=depth + 1)
    if operator.endswith("+"):
        return text if is_used else ""
    if is_there:
        return value or ""
    if operator.endswith("?"):
        reason = f": {text}" if text else ""
        message = f"required variable {name} is missing a value{reason}"
        raise TemplateError(message)
    return text


def _nobody(_: str) -> None:
    """Nobody misses a variable that is not used."""


def _value_of(name: str, variables: Mapping[str, str], unset: Unset) -> str:
    value = variables.get(name)
    if value is None:
        unset(name)
        return ""
    return value


def _invalid(template: str) -> str:
    shown = template if len(template) <= 80 else f"{template[:80]}…"  # noqa: PLR2004 - enough to find it
    return f"invalid interpolation format in {shown!r}; write a literal '$' as '$$'"
