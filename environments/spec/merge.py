"""Merging canonical trees: several files, and `extends`. What is laid over wins; the rules are Compose's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from environments.spec.source import Map, Override, Reset, Seq

#: Lists that are replaced whole, by the end of their path.
REPLACED: Final = frozenset({"command", "entrypoint", "test"})
#: Lists whose items stand for something: two items with one identity are one, and the later wins.
_IDENTITY: Final[dict[str, Callable[[Any], Hashable]]] = {
    "configs": lambda item: item.get("target", f"/{item.get('source')}"),
    "devices": lambda item: item.get("target"),
    "env_file": lambda item: item.get("path"),
    "ports": lambda item: tuple(item.get(key) for key in ("host_ip", "target", "published", "protocol")),
    "secrets": lambda item: item.get("target", f"/run/secrets/{item.get('source')}"),
    "volumes": lambda item: item.get("target"),
}


def merge(base: Map, over: Map) -> Map:
    """A new tree: `over` laid over `base`, with ``!reset`` and ``!override`` obeyed but kept in place."""
    result = Map(marks=dict(base.marks), mark=over.mark)
    result.update(base)
    for key, value in over.items():
        if isinstance(value, Reset | Override) or key not in base or isinstance(base[key], Reset):
            result.put(key, value, over.place(key))
        else:
            below = base[key].value if isinstance(base[key], Override) else base[key]
            result.put(key, _merged(key, below, value), over.place(key))
    return result


def _merged(key: str, base: object, over: object) -> object:
    if isinstance(base, Map) and isinstance(over, Map):
        return over if _is_other_driver(key, base, over) else merge(base, over)
    if isinstance(base, Seq) and isinstance(over, Seq):
        return over if key in REPLACED else _appended(key, base, over)
    if over is None and isinstance(base, Map):
        return base
    return over


def _is_other_driver(key: str, base: Map, over: Map) -> bool:
    """Options of one log driver mean nothing to another."""
    return key == "logging" and "driver" in over and over["driver"] != base.get("driver", over["driver"])


def _appended(key: str, base: Seq, over: Seq) -> Seq:
    items = Seq([*base, *over], marks=[*_marks(base), *_marks(over)], mark=over.mark)
    return unique(key, items)


def _marks(items: Seq) -> list[Any]:
    return [items.place(index) for index in range(len(items))]


def unique(key: str, items: Seq) -> Seq:
    """The list with each identity once: where it first stood, as it was last given."""
    identity = _IDENTITY.get(key)
    places: dict[Hashable, int] = {}
    result = Seq(mark=items.mark)
    for index, item in enumerate(items):
        name: Hashable = identity(item) if identity and isinstance(item, Map) else str(item)
        if name in places:
            result[places[name]] = item
            result.marks[places[name]] = items.place(index)
        else:
            places[name] = len(result)
            result.add(item, items.place(index))
    return result


def settled(node: object) -> Any:  # noqa: ANN401 - a tree holds anything
    """The tree without tags: what was to be reset is gone, what was to override stands."""
    if isinstance(node, Override):
        return settled(node.value)
    if isinstance(node, Map):
        result = Map(mark=node.mark)
        for key, value in node.items():
            if not isinstance(value, Reset):
                result.put(key, settled(value), node.place(key))
        return result
    if isinstance(node, Seq):
        items = Seq(mark=node.mark)
        for index, value in enumerate(node):
            if not isinstance(value, Reset):
                items.add(settled(value), node.place(index))
        return items
    return node
