"""`extends`: a service that begins as a copy of another one, of the same file or of a different one."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from pathlib import Path

from environments.errors import Problem, SpecError
from environments.spec.files import Loading, asked_by
from environments.spec.merge import merge
from environments.spec.paths import is_remote, rebase_service
from environments.spec.source import Map, Mark, Override, nearest

#: Reads one file into canonical layers, its own `extends` not yet followed.
type ReadLayers = Callable[[Path, Mark], list[Map]]


class Extender:
    """Follows `extends` through the files of one project; each file is read once."""

    def __init__(self, loading: Loading, folder: Path, read: ReadLayers) -> None:
        self._loading = loading
        self._folder = folder
        self._read = read
        self._files: dict[Path, Map] = {}

    def extended(self, layer: Map, path: Path) -> Map:
        """The layer with every service merged over what it extends. Raises `SpecError`."""
        services = _bare(layer.get("services"))
        if not isinstance(services, Map):
            return layer
        whole = Map(marks=dict(services.marks), mark=services.mark)
        for name, service in services.items():
            is_plain = isinstance(service, Map)
            whole[name] = self._service(name, services, path, self._folder, ()) if is_plain else service
        result = Map(layer.items(), marks=layer.marks, mark=layer.mark)
        result["services"] = Override(whole) if isinstance(layer["services"], Override) else whole
        return result

    def _service(
        self, name: str, services: Map, path: Path, folder: Path, chain: tuple[tuple[Path, str], ...]
    ) -> Map:
        service = _bare(services[name])
        if not isinstance(service, Map):
            return Map(mark=services.place(name))
        extends = _bare(service.get("extends"))
        if not isinstance(extends, Map):
            return service
        place = service.place("extends")
        if (path, name) in chain:
            way = " -> ".join([*(link for _, link in chain), name])
            raise SpecError(
                Problem(
                    f"services extend each other in a circle: {way}",
                    place.file,
                    place.line,
                    f"services.{name}",
                )
            )
        base = self._base(extends, services, path, folder, place, (*chain, (path, name)))
        own = Map(((key, value) for key, value in service.items() if key != "extends"), marks=service.marks)
        own.mark = service.mark
        return merge(base, own)

    def _base(
        self,
        extends: Map,
        services: Map,
        path: Path,
        folder: Path,
        place: Mark,
        chain: tuple[tuple[Path, str], ...],
    ) -> Map:
        wanted = str(extends.get("service", ""))
        file = extends.get("file")
        if file is None:
            self._check_known(wanted, services, place)
            return self._service(wanted, services, path, folder, chain)
        if is_remote(file):
            message = f"{file!r} is not a file of the checkout"
            raise SpecError(Problem(message, place.file, place.line, "extends.file", "Check it out first."))
        other = Path(os.path.normpath(folder / file))
        others = self._services_of(other, place)
        self._check_known(wanted, others, place)
        base = self._service(wanted, others, other, other.parent, chain)
        # Paths of a chain are carried home one file at a time, each from its own folder to the next.
        return rebase_service(base, os.path.relpath(other.parent, folder))

    def _services_of(self, path: Path, place: Mark) -> Map:
        if path not in self._files:
            whole = Map(mark=Mark(self._loading.shown(path), 1))
            with asked_by("extends.file", place):
                for layer in self._read(path, place):
                    whole = merge(whole, layer)
            self._files[path] = whole
        services = _bare(self._files[path].get("services"))
        return services if isinstance(services, Map) else Map()

    @staticmethod
    def _check_known(name: str, services: Map, place: Mark) -> None:
        if not isinstance(_bare(services.get(name)), Map):
            message = f"cannot extend service {name!r}: there is none of that name"
            mend = nearest(name, services)
            raise SpecError(Problem(message, place.file, place.line, "extends.service", mend))


def _bare(node: object) -> object:
    return node.value if isinstance(node, Override) else node
