"""Takes values out of a suite file's tree, a line for each that cannot be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from environments.errors import Problem
from environments.spec.source import Map, Mark, Seq, nearest
from environments.spec.values import InvalidValueError


class Reader:
    """Takes values out of a tree; what cannot be taken becomes a problem with its line."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def problem(self, message: str, key: str, place: Mark, mend: str = "") -> None:
        """Remember something wrong."""
        self.problems.append(Problem(message, self.file, place.line, key, mend))

    def check_keys(self, tree: Map, known: Iterable[str], key: str) -> None:
        """Every key that is not known is a problem."""
        for name in tree:
            if name not in known:
                where = f"{key}.{name}" if key else name
                inside = f" in {key}" if key else " at the top of the file"
                self.problem(f"unknown key {name!r}{inside}", where, tree.place(name), nearest(name, known))

    def read[T, D](self, tree: Map, name: str, key: str, take: Callable[[object], T], default: D) -> T | D:
        """The value at the key, or the default where there is none."""
        if name not in tree:
            return default
        try:
            return take(tree[name])
        except InvalidValueError as error:
            where = f"{key}.{name}"
            self.problem(f"{where}: {error}", where, tree.place(name), error.mend)
            return default

    def items[T](self, tree: Map, name: str, key: str, take: Callable[[object], T]) -> tuple[T, ...]:
        """A list of values; one value alone is a list of one."""
        value = tree.get(name)
        items = value if isinstance(value, Seq) else Seq([value], marks=[tree.place(name)])
        taken: list[T] = []
        for index, item in enumerate(items if name in tree else ()):
            try:
                taken.append(take(item))
            except InvalidValueError as error:
                where = f"{key}.{name}"
                self.problem(f"{where}: {error}", where, items.place(index), error.mend)
        return tuple(taken)

    def listed(self, tree: Map, name: str, key: str) -> list[Any]:
        """The list at the key, empty where there is none."""
        value = tree.get(name)
        if name in tree and not isinstance(value, Seq):
            self.problem(f"{key}.{name} must be a list", f"{key}.{name}", tree.place(name))
        return value if isinstance(value, Seq) else []

    def mapping(self, tree: Map, name: str, key: str) -> list[tuple[str, Any, Mark]]:
        """The entries of the mapping at the key, each with its place."""
        value = tree.get(name)
        if name in tree and not isinstance(value, Map):
            self.problem(f"{key} must be a mapping", key, tree.place(name))
        return (
            [(key, item, value.place(key)) for key, item in value.items()] if isinstance(value, Map) else []
        )

    def child(self, tree: Map, name: str, key: str) -> Map:
        """The mapping at the key; an empty one where there is none or nothing in it."""
        value = tree.get(name)
        if value is not None and not isinstance(value, Map):
            self.problem(f"{key}.{name} must be a mapping", f"{key}.{name}", tree.place(name))
        return value if isinstance(value, Map) else Map(mark=tree.place(name))
