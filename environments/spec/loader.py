"""Files → the resolved canonical model: read, fill in variables, check, spell out, merge, complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from environments.errors import Problem, SpecError
from environments.spec.canonical import canonical
from environments.spec.consistency import check_model
from environments.spec.dotenv import read_dotenv, read_raw
from environments.spec.interpolation import interpolate
from environments.spec.merge import merge, settled
from environments.spec.schema import check_schema
from environments.spec.source import MAX_BYTES, Map, Mark, read_yaml

#: More problems than these help nobody.
MAX_PROBLEMS: Final = 50


@dataclass(frozen=True, slots=True)
class Model:
    """A project as ``docker compose config`` would print it, with the place of everything in it."""

    tree: Map
    #: The checkout, absolute: nothing outside it is read.
    root: Path
    #: The folder of the first file, absolute: relative paths begin there.
    folder: Path
    #: The run's variables, and those of ``.env`` below them.
    variables: Mapping[str, str]
    notices: tuple[str, ...] = ()


@dataclass(slots=True)
class Loading:
    """What is known while files are read."""

    root: Path
    folder: Path
    variables: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Remember a sentence for the run page, once."""
        if sentence not in self.notices:
            self.notices.append(sentence)

    def stop_if_bad(self) -> None:
        """Raise what was found so far, if anything was."""
        if self.problems:
            found = sorted(
                dict.fromkeys(self.problems), key=lambda problem: (problem.file, problem.line or 0)
            )
            raise SpecError(*found[:MAX_PROBLEMS])

    def shown(self, path: Path) -> str:
        """The path as messages name it: from the checkout down."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def read(self, path: Path, *, told_by: Mark, key: str = "") -> str:
        """The text of a file of the checkout; problems name the line that asked for it."""
        name = self.shown(path)
        real = path.resolve()
        if not real.is_relative_to(self.root):
            message = f"{name} lies outside the checkout"
            raise SpecError(
                Problem(message, told_by.file, told_by.line, key, "Only files of the checkout are read.")
            )
        try:
            if real.stat().st_size > MAX_BYTES:
                message = f"{name} is larger than {MAX_BYTES // 1024} KiB"
                raise SpecError(Problem(message, told_by.file or name, told_by.line, key))
            return real.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SpecError(Problem("the file is not UTF-8 text", name, 1, key)) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            message = f"{name} cannot be read: {reason.lower()}"
            raise SpecError(Problem(message, told_by.file or name, told_by.line, key)) from error


def load_model(
    files: Sequence[Path], *, directory: Path, variables: Mapping[str, str], profiles: Sequence[str] = ()
) -> Model:
    """Read and merge Compose files. Raises `SpecError` with every problem found.

    `directory` is the checkout: no file outside it is read. Variables are the run's, then those of ``.env``
    beside the first file; never the process environment. The profile ``*`` switches every service on.
    """
    if not files:
        raise SpecError(Problem("no Compose file is given"))
    root = directory.resolve()
    paths = [root / file for file in files]
    loading = Loading(root, paths[0].parent, variables)
    loading.variables = {**_dotenv(loading), **variables}
    tree = Map(mark=Mark(loading.shown(paths[0]), 1))
    for path in paths:
        for layer in _layers(path, loading):
            tree = settled(merge(tree, layer))
    loading.stop_if_bad()
    _complete_environment(tree, loading)
    check_model(tree, profiles=profiles, problems=loading.problems)
    loading.stop_if_bad()
    return Model(tree, root, loading.folder, loading.variables, tuple(loading.notices))


def _dotenv(loading: Loading) -> dict[str, str]:
    path = loading.folder / ".env"
    if not path.is_file():
        return {}
    text = loading.read(path, told_by=Mark(loading.shown(path), 1))
    return read_dotenv(text, file=loading.shown(path), variables=loading.variables)


def _layers(path: Path, loading: Loading) -> list[Map]:
    """The documents of one file, each in canonical form."""
    name = loading.shown(path)
    documents = read_yaml(loading.read(path, told_by=Mark(name, 1)), file=name)
    layers = [
        layer for layer in (_layer(document, name, loading) for document in documents) if layer is not None
    ]
    if not documents or all(document is None for document in documents):
        loading.problems.append(Problem("the file is empty", name, 1))
    return layers


def _layer(document: object, name: str, loading: Loading) -> Map | None:
    if document is None:
        return None
    if not isinstance(document, Map):
        loading.problems.append(Problem("the file must be a mapping", name, 1))
        return None
    found = len(loading.problems)

    def unset(variable: str) -> None:
        loading.note(f"The variable {variable} is not set; it is taken as empty.")

    tree = interpolate(document, loading.variables, problems=loading.problems, unset=unset)
    check_schema(tree, loading.problems)
    if "version" in tree:
        loading.note("The key 'version' is obsolete and ignored.")
        del tree["version"]
    # Notations are spelled out only where the schema found them in order: they rely on it.
    return canonical(tree, loading.problems) if len(loading.problems) == found else None


def _complete_environment(tree: Map, loading: Loading) -> None:
    """Put `env_file` below `environment`, and the run's variables behind names without a value."""
    for name, service in tree.get("services", Map()).items():
        own = service.get("environment") or Map()
        below = Map(mark=service.place("env_file"))
        for index, entry in enumerate(service.get("env_file") or ()):
            place = service["env_file"].place(index)
            for key, value in _env_file(
                entry, f"services.{name}.env_file[{index}]", place, loading, below
            ).items():
                below.put(key, value, place)
        for key, value in own.items():
            if value is None and key in loading.variables:
                own[key] = loading.variables[key]
        if below or own:
            service.put("environment", merge(below, own), service.place("environment"))


def _env_file(
    entry: Map, key: str, place: Mark, loading: Loading, above: Mapping[str, str]
) -> dict[str, str]:
    path = loading.folder / entry["path"]
    if not entry.get("required", True) and not path.exists():
        return {}
    try:
        text = loading.read(path, told_by=place, key=key)
        if entry.get("format") == "raw":
            return read_raw(text)
        return read_dotenv(text, file=loading.shown(path), variables={**above, **loading.variables})
    except SpecError as error:
        loading.problems.extend(error.problems)
        return {}
