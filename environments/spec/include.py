"""`include`: another project's resources taken into this one, with its own folder and its own ``.env``."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from environments.errors import Problem, SpecError
from environments.spec.files import Loading, Scope, asked_by
from environments.spec.merge import settled
from environments.spec.paths import is_remote, rebase_resource, rebase_service
from environments.spec.source import Map, Mark, Seq

#: Reads files that belong together into one canonical tree, completed within their scope.
type ReadProject = Callable[[Sequence[Path], Scope, Mark], Map]

SECTIONS: Final = ("services", "networks", "volumes", "secrets", "configs", "models")


@dataclass(frozen=True, slots=True)
class Included:
    """One entry of `include`."""

    files: list[Path]
    folder: Path
    env_files: list[Path] | None


def take_in(layer: Map, scope: Scope, loading: Loading, read: ReadProject) -> Map:
    """The layer together with everything it includes. Raises `SpecError`."""
    entries = layer.get("include")
    if not isinstance(entries, Seq):
        return layer
    result = Map(((key, value) for key, value in layer.items() if key != "include"), marks=layer.marks)
    result.mark = layer.mark
    for index, entry in enumerate(entries):
        place = entries.place(index)
        key = f"include[{index}]"
        included = _included(entry, scope, place, key)
        for file in included.files:
            if file in scope.chain:
                way = " -> ".join(loading.shown(link) for link in (*scope.chain, file))
                raise SpecError(
                    Problem(f"files include each other in a circle: {way}", place.file, place.line, key)
                )
        with asked_by(key, place):
            variables = _variables(included, scope, loading, place)
            inner = Scope(included.folder, variables, (*scope.chain, *included.files))
            tree = read(included.files, inner, place)
        _add(tree, result, os.path.relpath(included.folder, scope.folder), loading)
    return result


def _included(entry: object, scope: Scope, place: Mark, key: str) -> Included:
    options = entry if isinstance(entry, Map) else Map([("path", entry)])
    paths = _paths(options.get("path"))
    for path in paths:
        if is_remote(path):
            message = f"{path!r} is not a file of the checkout"
            raise SpecError(Problem(message, place.file, place.line, key, "Check it out first."))
    if not paths:
        raise SpecError(Problem("an include without a path", place.file, place.line, key))
    files = [Path(os.path.normpath(scope.folder / path)) for path in paths]
    named = options.get("project_directory")
    folder = Path(os.path.normpath(scope.folder / named)) if isinstance(named, str) else files[0].parent
    env_files = [Path(os.path.normpath(scope.folder / path)) for path in _paths(options.get("env_file"))]
    return Included(files, folder, env_files if "env_file" in options else None)


def _paths(value: object) -> list[str]:
    if isinstance(value, Seq):
        return [str(path) for path in value]
    return [value] if isinstance(value, str) else []


def _variables(included: Included, scope: Scope, loading: Loading, place: Mark) -> Mapping[str, str]:
    """What the includer knows wins over the included project's own files."""
    files = included.env_files
    if files is None:
        own = included.folder / ".env"
        files = [own] if own.is_file() else []
    found: dict[str, str] = {}
    for file in files:
        found |= loading.dotenv(file, {**found, **scope.variables}, told_by=place)
    return {**found, **scope.variables}


def _add(tree: Map, into: Map, prefix: str, loading: Loading) -> None:
    for section in SECTIONS:
        resources = tree.get(section)
        if not isinstance(resources, Map):
            continue
        home = into.get(section)
        if not isinstance(home, Map):
            home = Map(mark=resources.mark)
            into.put(section, home, resources.mark)
        for name, resource in resources.items():
            moved = (
                rebase_service(resource, prefix)
                if section == "services"
                else rebase_resource(resource, prefix)
            )
            if name in home and settled(home[name]) != moved:
                place = home.place(name)
                message = f"{section}.{name} is included and defined here too, differently"
                loading.problem(
                    message, place, f"{section}.{name}", "Rename one, or override it in a further file."
                )
            home.put(name, moved, home.place(name) if name in home else resources.place(name))
