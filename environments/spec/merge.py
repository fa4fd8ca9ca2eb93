"""Merging canonical trees: several files, and `extends`. What is laid over wins; the rules are Compose's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from environments.errors import Problem, SpecError
from environments.spec.source import Map, Mark, Override, Reset, Seq

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

#: Lists of texts in which each is told once.
_PLAIN_SETS: Final = frozenset(
    {
        "aliases",
        "cap_add",
        "cap_drop",
        "dns",
        "dns_opt",
        "dns_search",
        "expose",
        "extra_hosts",
        "link_local_ips",
        "links",
        "platforms",
        "profiles",
        "tags",
        "tmpfs",
    }
)


def merge(base: Map, over: Map) -> Map:
    """A new tree: `over` laid over `base`, with ``!reset`` and ``!override`` obeyed but kept in place."""
    result = Map(marks=dict(base.marks), mark=over.mark)
    result.update(base)
    for key, value in over.items():
        if isinstance(value, Reset | Override) or key not in base or isinstance(base[key], Reset):
            result.put(key, value, over.place(key))
        else:
            below = base[key].value if isinstance(base[key], Override) else base[key]
            place = over.place(key)
            if key == "ulimits":
                below = _mergeable_limits(below, value)
            if value is not None and _kind(below) not in {_ONE, _kind(value)}:
                message = f"{key!r} cannot be laid over what is there already: that is {_kind(below)}"
                raise SpecError(Problem(message, place.file, place.line, key, "Write '!override' before it."))
            result.put(key, _merged(key, below, value), place)
    return result


def _mergeable_limits(base: object, over: object) -> object:
    """What `over` can be laid over: a limit told as one number takes the place of one told as two."""
    if not isinstance(base, Map) or not isinstance(over, Map):
        return base
    kept = [(name, limit) for name, limit in base.items() if _kind(limit) == _kind(over.get(name, limit))]
    return Map(kept, marks=base.marks, mark=base.mark)


_ONE: Final = "one value"


def _kind(value: object) -> str:
    return "a mapping" if isinstance(value, Map) else "a list" if isinstance(value, Seq) else _ONE


def _merged(key: str, base: object, over: object) -> object:
    if isinstance(base, Map) and isinstance(over, Map):
        whole = over if _is_other_driver(key, base, over) else merge(base, over)
        return _with_options(whole, base, over) if key == "provider" else whole
    if isinstance(base, Seq) and isinstance(over, Seq):
        return over if key in REPLACED else _appended(key, base, over)
    if over is None and isinstance(base, Map):
        return base
    return over


def _with_options(provider: Map, base: Map, over: Map) -> Map:
    """Options of a provider are lists only because each may have several values: the later ones hold."""
    below, above = base.get("options"), over.get("options")
    if isinstance(below, Map) and isinstance(above, Map):
        options = Map({**below, **above}.items(), marks={**below.marks, **above.marks}, mark=above.mark)
        provider.put("options", options, over.place("options"))
    return provider


def _is_other_driver(key: str, base: Map, over: Map) -> bool:
    """Options of one log driver mean nothing to another."""
    return key == "logging" and "driver" in over and over["driver"] != base.get("driver", over["driver"])


def _appended(key: str, base: Seq, over: Seq) -> Seq:
    items = Seq([*base, *over], marks=[*_marks(base), *_marks(over)], mark=over.mark)
    return ordered(unique(key, items)) if key == "extra_hosts" else unique(key, items)


def _marks(items: Seq) -> list[Mark]:
    return [items.place(index) for index in range(len(items))]


def ordered(items: Seq) -> Seq:
    """The list sorted, each item with its place."""
    pairs = sorted(zip(items, _marks(items), strict=True), key=lambda pair: str(pair[0]))
    return Seq([item for item, _ in pairs], marks=[mark for _, mark in pairs], mark=items.mark)


def unique(key: str, items: Seq) -> Seq:
    """The list with each identity once: where it first stood, as it was last given. Other lists stay."""
    if key not in _IDENTITY and key not in _PLAIN_SETS:
        return items
    identity = _IDENTITY.get(key)
    places: dict[Hashable, int] = {}
    result = Seq(mark=items.mark)
    for index, item in enumerate(items):
        name: Hashable = identity(item) if identity and isinstance(item, Map) else str(item)
        if name is None:
            result.add(item, items.place(index))
        elif name in places:
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
