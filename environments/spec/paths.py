"""Relative paths in a canonical tree, carried from one folder to another."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any, Final

from environments.spec.source import Map, Override, Reset, Seq

#: Begins a context that is no folder of this machine.
_FOREIGN: Final = ("docker-image://", "oci-layout://", "service:", "target:", "git@", "github.com/")


def is_remote(path: str) -> bool:
    """Whether the path names something that is not a file here."""
    return "://" in path or path.startswith(_FOREIGN)


def rebase(path: str, prefix: str) -> str:
    """A path that began in the folder `prefix`, as seen from where `prefix` itself begins."""
    if path.startswith(("/", "~")) or path[1:3] in {":/", ":\\"} or is_remote(path):
        return path
    return posixpath.normpath(posixpath.join(prefix or ".", path))


def rebase_service(service: Map, prefix: str) -> Map:
    """A copy of the service whose relative paths are seen from the folder in which `prefix` begins."""

    def one(path: object) -> object:
        return rebase(path, prefix) if isinstance(path, str) else path

    def mount(entry: Map) -> object:
        is_bind = entry.get("type") == "bind" and isinstance(entry.get("source"), str)
        return _changed(entry, {"source": one}) if is_bind else entry

    def build(value: Map) -> object:
        contexts = {"additional_contexts": lambda table: _changed(table, dict.fromkeys(table, one))}
        return _changed(value, {"context": one, **contexts})

    result: Map = _changed(
        service,
        {
            "build": build,
            "develop": lambda value: _changed(
                value, {"watch": _each(lambda rule: _changed(rule, {"path": one}))}
            ),
            "env_file": _each(lambda entry: _changed(entry, {"path": one})),
            "label_file": _each(one),
            "volumes": _each(mount),
        },
    )
    return result


def rebase_resource(resource: object, prefix: str) -> object:
    """The same for a top-level secret or config, which may be a file."""
    if not isinstance(resource, Map):
        return resource
    return _changed(resource, {"file": lambda path: rebase(path, prefix)})


def _each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def all_of(items: Seq) -> Seq:
        result = Seq(mark=items.mark)
        for index, item in enumerate(items):
            result.add(change(item), items.place(index))
        return result

    return all_of


def _changed(node: object, changes: dict[str, Callable[[Any], Any]]) -> Any:  # noqa: ANN401 - a tree holds anything
    """A copy of the mapping with some of its values changed; tags stay, anything else comes back as it is."""
    if isinstance(node, Override):
        return Override(_changed(node.value, changes))
    if not isinstance(node, Map):
        return node
    result = Map(node.items(), marks=dict(node.marks), mark=node.mark)
    for key, change in changes.items():
        value = node.get(key)
        if isinstance(value, Override):
            result[key] = Override(change(value.value))
        elif value is not None and not isinstance(value, Reset):
            result[key] = change(value)
    return result
