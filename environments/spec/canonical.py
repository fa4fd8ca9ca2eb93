"""One file's tree → its canonical form: every short notation spelled out, every scalar in its type.

The forms are those that ``docker compose config`` prints, so that merging is a matter of keys and the result
can be compared with the reference. Relative paths stay relative here.
"""

from __future__ import annotations

from typing import Any, Final

from environments.errors import Problem
from environments.spec.forms import RESOURCE, SERVICE
from environments.spec.merge import unique
from environments.spec.shapes import Form, bare, like
from environments.spec.source import Map, Mark, Reset, Seq, dotted
from environments.spec.values import InvalidValueError

type Path = tuple[str | int, ...]

_SECTIONS: Final = {
    "services": SERVICE,
    **dict.fromkeys(("networks", "volumes", "secrets", "configs"), RESOURCE),
}


def canonical(tree: Map, problems: list[Problem]) -> Map:
    """The file in canonical form; what cannot be spelled out is added to `problems` and left out."""
    result = Map(mark=tree.mark)
    for section, content in tree.items():
        forms = _SECTIONS.get(section)
        if forms is None or not isinstance(bare(content), Map):
            result.put(section, content, tree.place(section))
            continue
        inner = bare(content)
        resources = Map(mark=inner.mark)
        for name, resource in inner.items():
            whole = _shaped(resource, forms, (section, name), problems)
            resources.put(name, whole, inner.place(name))
        result.put(section, like(content, resources), tree.place(section))
    return result


def canonical_service(service: Map, path: Path, problems: list[Problem]) -> Map:
    """One service in canonical form."""
    shaped = _shaped(service, SERVICE, path, problems)
    return shaped if isinstance(shaped, Map) else Map(mark=service.mark)


def _shaped(node: object, forms: dict[str, Form], path: Path, problems: list[Problem]) -> Any:  # noqa: ANN401
    content = bare(node)
    if not isinstance(content, Map):
        return node
    result = Map(mark=content.mark)
    for key, value in content.items():
        mark = content.place(key)
        form: Form = forms.get(key, bare)
        if isinstance(value, Reset):
            result.put(key, value, mark)
            continue
        try:
            made = form(bare(value))
            if isinstance(made, Seq) and made.mark.line is None:
                made.mark = mark
            result.put(
                key,
                like(value, unique(key, made) if isinstance(made, Seq) else made),
                mark,
            )
        except InvalidValueError as error:
            problems.append(_problem(error, (*path, key), error.place or mark))
    return like(node, result)


def _problem(error: InvalidValueError, path: Path, mark: Mark) -> Problem:
    key = dotted(path)
    return Problem(f"{key}: {error.args[0]}", mark.file, mark.line, key, error.mend)
