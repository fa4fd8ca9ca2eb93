"""Files → the resolved canonical model: read, fill in variables, check, spell out, merge, complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from environments.errors import Problem, SpecError
from environments.spec.canonical import canonical
from environments.spec.consistency import check_model, is_on
from environments.spec.dotenv import read_raw
from environments.spec.extends import Extender
from environments.spec.files import Loading, Scope
from environments.spec.include import take_in
from environments.spec.interpolation import interpolate
from environments.spec.merge import merge, settled
from environments.spec.schema import check_schema
from environments.spec.shellwords import ends_early
from environments.spec.source import Map, Mark, Seq, read_yaml
from environments.spec.values import InvalidValueError, integer, number


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


def load_model(
    files: Sequence[Path],
    *,
    directory: Path,
    variables: Mapping[str, str],
    profiles: Sequence[str] = (),
    services: Collection[str] = (),
) -> Model:
    """Read and merge Compose files. Raises `SpecError` with every problem found.

    `directory` is the checkout: no file outside it is read. Variables are the run's, then those of ``.env``
    beside the first file; never the process environment. The profile ``*`` switches every service on, and
    naming `services` the profiles that they are in.
    """
    if not files:
        raise SpecError(Problem("no Compose file is given"))
    root = directory.resolve()
    paths = [root / file for file in files]
    folder = paths[0].parent
    loading = Loading(root, profiles, services)
    dotenv = folder / ".env"
    own = loading.dotenv(dotenv, variables, told_by=Mark()) if dotenv.is_file() else {}
    scope = Scope(folder, {**own, **variables}, tuple(paths))
    tree = _project(paths, scope, Mark(loading.shown(paths[0]), 1), loading)
    loading.problems.stop_if_any()
    if not tree:
        loading.problem("the file says nothing", tree.mark, mend="Add 'services:'.")
    check_model(tree, profiles=loading.profiles, problems=loading.problems)
    loading.problems.stop_if_any()
    return Model(tree, root, folder, scope.variables, tuple(loading.notices))


def _project(paths: Sequence[Path], scope: Scope, told_by: Mark, loading: Loading) -> Map:
    """Files that are one model, merged; their environment variables completed within their scope."""

    def read(path: Path, place: Mark) -> list[Map]:
        return _layers(path, place, scope, loading, Map())

    def include(files: Sequence[Path], inner: Scope, place: Mark) -> Map:
        return _project(files, inner, place, loading)

    extender = Extender(loading, scope.folder, read)
    tree = Map(mark=told_by)
    for path in paths:
        for layer in _layers(path, told_by, scope, loading, tree):
            whole = take_in(extender.extended(layer, path), scope, loading, include)
            tree = settled(merge(tree, whole))
    loading.problems.stop_if_any()
    loading.profiles = [*loading.profiles, *_profiles_of(tree, loading.services)]
    _complete_environment(tree, scope, loading)
    _complete_labels(tree, scope, loading)
    return tree


def _profiles_of(tree: Map, names: Collection[str]) -> Iterator[str]:
    services = tree.get("services") or Map()
    for name in names:
        if isinstance(services.get(name), Map):
            yield from services[name].get("profiles") or ()


def _layers(path: Path, told_by: Mark, scope: Scope, loading: Loading, below: Map) -> list[Map]:
    """The documents of one file, each in canonical form, that will be laid over what is `below`."""
    name = loading.shown(path)
    place = told_by if told_by.file else Mark(name, 1)
    documents = read_yaml(loading.read(path, told_by=place), file=name)
    is_empty = all(document is None for document in documents)
    if is_empty:
        loading.problem("the file is empty", Mark(name, 1))
    layers: list[Map] = []
    for document in [] if is_empty else documents:
        if not isinstance(document, Map):
            what = "the file" if len(documents) == 1 else "each document of the file"
            loading.problem(f"{what} must be a mapping", Mark(name, 1))
            continue
        layer = _layer(document, scope, loading, below)
        if layer is not None:
            layers.append(layer)
    return layers


def _layer(document: Map, scope: Scope, loading: Loading, below: Map) -> Map | None:
    found = len(loading.problems)

    def unset(variable: str) -> None:
        loading.note(f"The variable {variable} is not set; it is taken as empty.")

    tree = interpolate(document, scope.variables, problems=loading.problems, unset=unset)
    _drop_nothings(tree, below)
    _cast(tree)
    check_schema(tree, loading.problems)
    if "version" in tree:
        loading.note("The key 'version' is obsolete and ignored.")
        del tree["version"]
    # Notations are spelled out only where the schema found them in order: they rely on it.
    if len(loading.problems) > found:
        return None
    layer = canonical(tree, loading.problems)
    _note_cut_commands(tree, loading)
    return layer


#: Numbers whose bounds the schema knows, but not when they are written as text.
_BOUNDED: Final = {"cpu_count": integer, "cpu_percent": number, "oom_score_adj": integer}


def _cast(tree: Map) -> None:
    """Numbers written as text become numbers where the schema has bounds for them."""
    services = tree.get("services")
    for service in services.values() if isinstance(services, Map) else ():
        for key, cast in _BOUNDED.items() if isinstance(service, Map) else ():
            with suppress(InvalidValueError):
                if isinstance(service.get(key), str):
                    service[key] = cast(service[key])


def _note_cut_commands(tree: Map, loading: Loading) -> None:
    services = tree.get("services")
    for name, service in services.items() if isinstance(services, Map) else ():
        for key in ("command", "entrypoint"):
            text = service.get(key) if isinstance(service, Map) else None
            with suppress(InvalidValueError):
                if isinstance(text, str) and ends_early(text):
                    sentence = (
                        f"services.{name}.{key} ends at its first unquoted ; & | < or >, as Compose reads it."
                    )
                    loading.note(f"{sentence} Write it as a list that begins with sh, -c.")


#: Keys that say "none" when they have no value, or must have one.
_SAID: Final = frozenset({"command", "entrypoint", "extends"})


def _drop_nothings(tree: Map, below: Map) -> None:
    """A key without a value says nothing to what lies below it: an earlier file, or the service extended."""
    if "include" in tree and tree["include"] is None:
        del tree["include"]
    services, others = tree.get("services"), below.get("services") or Map()
    for name, service in services.items() if isinstance(services, Map) else ():
        if not isinstance(service, Map):
            continue
        known = others.get(name) or Map()
        for key in [key for key, value in service.items() if value is None and key not in _SAID]:
            if "extends" in service or key in known:
                del service[key]


def _complete_environment(tree: Map, scope: Scope, loading: Loading) -> None:
    """Put `env_file` below `environment`, and the scope's variables behind names without a value."""
    services = tree.get("services")
    for name, service in services.items() if isinstance(services, Map) else ():
        if not is_on(service, loading.profiles):
            continue
        own = service.get("environment") or Map()
        below = Map(mark=service.place("env_file"))
        entries: Seq = service.pop("env_file", None) or Seq()
        for index, entry in enumerate(entries):
            place = entries.place(index)
            values = _env_file(entry, f"services.{name}.env_file[{index}]", place, scope, loading, below)
            for key, value in values.items():
                below.put(key, value, place)
        for key, value in own.items():
            if value is None and key in scope.variables:
                own[key] = scope.variables[key]
        if below or own:
            service.put("environment", merge(below, own), service.place("environment"))


def _complete_labels(tree: Map, scope: Scope, loading: Loading) -> None:
    """Put `label_file` below `labels`."""
    services = tree.get("services")
    for name, service in services.items() if isinstance(services, Map) else ():
        if not is_on(service, loading.profiles):
            continue
        own = service.get("labels") or Map()
        below = Map(mark=service.place("label_file"))
        files: Seq = service.pop("label_file", None) or Seq()
        for index, path in enumerate(files):
            place = files.place(index)
            entry = Map([("path", path)], mark=place)
            key = f"services.{name}.label_file[{index}]"
            for label, value in _env_file(entry, key, place, scope, loading, below).items():
                below.put(label, value, place)
        if below:
            service.put("labels", merge(below, own), service.place("labels"))


def _env_file(
    entry: Map, key: str, place: Mark, scope: Scope, loading: Loading, above: Mapping[str, str]
) -> dict[str, str]:
    path = scope.folder / entry["path"]
    if not entry.get("required", True) and not path.exists():
        return {}
    try:
        if entry.get("format") == "raw":
            text = loading.read(path, told_by=place, key=key)
            return read_raw(text, file=loading.shown(path), variables=scope.variables)
        return loading.dotenv(path, {**above, **scope.variables}, told_by=place, key=key)
    except SpecError as error:
        loading.problems.extend(error.problems)
        return {}
