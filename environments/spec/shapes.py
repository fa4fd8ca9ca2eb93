"""Small forms that larger ones are made of: texts, tables, lists, mappings with keys of their own forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from environments.spec.source import Map, Mark, Override, Reset, Seq
from environments.spec.values import InvalidValueError, text_of

#: A value as written → as it stands in the canonical tree. Raises `InvalidValueError`.
type Form = Callable[[Any], Any]


def bare(node: object) -> Any:  # noqa: ANN401 - a tree holds anything
    """The value under an ``!override``."""
    return node.value if isinstance(node, Override) else node


def like(marked: object, value: object) -> object:
    """The value, under an ``!override`` when the other one is."""
    return Override(value) if isinstance(marked, Override) else value


def each(items: Seq, form: Form) -> Seq:
    """The form of every item; an error names the item's own line."""
    result = Seq(mark=items.mark)
    for index, item in enumerate(items):
        mark = items.place(index)
        if isinstance(item, Reset):
            continue
        try:
            made = form(bare(item))
        except InvalidValueError as error:
            error.place = error.place or mark
            raise
        for one in made if isinstance(made, list) and not isinstance(made, Seq) else [made]:
            result.add(one, mark)
    return result


def marked(pairs: dict[str, Any], mark: Mark) -> Map:
    """A mapping of the pairs, each written in one place."""
    return Map(pairs.items(), marks=dict.fromkeys(pairs, mark), mark=mark)


def with_defaults(value: object, **pairs: object) -> object:
    """The mapping, with these pairs where it says nothing."""
    if isinstance(value, Map):
        for key, item in pairs.items():
            value.setdefault(key, item)
    return value


def text(value: object) -> str:
    """A scalar as text."""
    return text_of(value)


def texts(value: object) -> Seq:
    """A list of texts, also from one text alone."""
    return each(value, text_of) if isinstance(value, Seq) else Seq([text_of(value)])


def table(value: object) -> Map:
    """``[K=V, K]`` or ``{K: V}`` → texts by key; None where only the key is given."""
    result = Map()
    if isinstance(value, Map):
        result.mark = value.mark
        for key, item in value.items():
            if isinstance(item, Reset | Override):
                result.put(key, item, value.place(key))
            else:
                result.put(key, None if item is None else text_of(item), value.place(key))
    elif isinstance(value, Seq):
        result.mark = value.mark
        for index, item in enumerate(value):
            if not isinstance(item, Reset):
                key, separator, rest = text_of(bare(item)).partition("=")
                result.put(key, rest if separator else None, value.place(index))
    return result


def with_forms(**forms: Form) -> Form:
    """A mapping some of whose keys have forms of their own."""

    def shape(value: object) -> object:
        if not isinstance(value, Map):
            return value
        result = Map(mark=value.mark)
        for key, item in value.items():
            form = forms.get(key)
            if form is None or isinstance(item, Reset):
                result.put(key, item, value.place(key))
                continue
            try:
                result.put(key, like(item, form(bare(item))), value.place(key))
            except InvalidValueError as error:
                error.args = (f"{key}: {error}",)
                error.place = error.place or value.place(key)
                raise
        return result

    return shape


def by_key(value: object, form: Form) -> object:
    """A mapping whose every value has the form."""
    if not isinstance(value, Map):
        return value
    result = Map(mark=value.mark)
    for key, item in value.items():
        made = item if isinstance(item, Reset) else like(item, form(bare(item)))
        if isinstance(made, dict) and not isinstance(made, Map):
            made = marked(made, value.place(key))
        result.put(key, made, value.place(key))
    return result


def listed(form: Form) -> Form:
    """A list whose every item has the form."""
    return lambda value: each(value, form) if isinstance(value, Seq) else value


def optional_texts(value: object) -> object:
    """A mapping of texts; what has no value keeps none."""
    return by_key(value, lambda item: None if item is None else text_of(item))


def texts_by_key(value: object) -> object:
    """A mapping of texts; what has no value is an empty one."""
    return by_key(value, text_of)
