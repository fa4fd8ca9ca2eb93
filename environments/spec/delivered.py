"""`configs` and `secrets` of a service in the canonical model → the files that are put into it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from environments.errors import SpecError
from environments.spec.building import Teller
from environments.spec.files import Loading
from environments.spec.loader import Model
from environments.spec.model import EnvironmentSpec, FileSpec
from environments.spec.source import Map, Mark, Seq

#: Where a relative target begins.
_FOLDERS: Final = {"configs": "/", "secrets": "/run/secrets"}
_USUAL_MODE: Final = "0444"
#: The largest user or group id of a Linux kernel.
_LARGEST_ID: Final = 2**32 - 2
#: Permission bits; what sits above them would make a file run as somebody else.
_PERMISSIONS: Final = 0o777


class Deliveries:
    """Finds what each entry stands for, each source read once; says what cannot be had."""

    def __init__(self, model: Model, tell: Teller) -> None:
        self._model = model
        self._tell = tell
        self._loading = Loading(model.root)
        #: However many services have a secret, it is kept once.
        self._contents: dict[tuple[str, str], bytes | None] = {}

    def of(self, name: str, service: Map) -> tuple[FileSpec, ...]:
        """The files that the service finds in place when it starts; of two at one place, the secret holds."""
        files: dict[str, FileSpec] = {}
        for section in _FOLDERS:
            entries = service.get(section) or Seq()
            for index, entry in enumerate(entries):
                place = entries.place(index)
                file = self._file(section, f"services.{name}.{section}[{index}]", entry, place)
                if file is not None:
                    files[file.target] = file
        return tuple(files.values())

    def _file(self, section: str, key: str, entry: Map, place: Mark) -> FileSpec | None:
        source = str(entry["source"])
        if (section, source) not in self._contents:
            resources: Mapping[str, Any] = self._model.tree.get(section) or {}
            resource = resources.get(source) or Map(mark=place)
            self._contents[section, source] = self._content(section, source, resource)
        content = self._contents[section, source]
        mode = int(str(entry.get("mode", _USUAL_MODE)), 8)
        if mode & ~_PERMISSIONS:
            message = f"{key}.mode: {mode:o} is more than who may read, write and run the file"
            self._tell.problem(message, f"{key}.mode", entry.place("mode"), "Write for example 0440.")
        ids = {word: self._id(key, word, entry) for word in ("uid", "gid")}
        target = posixpath.normpath(posixpath.join(_FOLDERS[section], str(entry.get("target") or source)))
        if content is None:
            return None
        return FileSpec(
            target=target,
            content=content,
            mode=mode & _PERMISSIONS,
            uid=ids["uid"],
            gid=ids["gid"],
            is_secret=section == "secrets",
        )

    def _id(self, key: str, word: str, entry: Map) -> int:
        text = str(entry.get(word, "") or "0")
        if text.isascii() and text.isdecimal() and int(text) <= _LARGEST_ID:
            return int(text)
        message = f"{key}.{word}: {text!r} is not a number of a user or group"
        mend = "Names are known only inside the container: write the number."
        self._tell.problem(message, f"{key}.{word}", entry.place(word), mend)
        return 0

    def _content(self, section: str, source: str, resource: Map) -> bytes | None:
        key = f"{section}.{source}"
        if resource.get("external"):
            mend = "Give it 'file', 'environment' or 'content'."
            message = f"{key} is external: nothing outside the environment is kept for it"
            self._tell.problem(message, f"{key}.external", resource.place("external"), mend)
            return None
        for told in ("driver", "template_driver"):
            if resource.get(told):
                self._tell.unsupported(f"{key}.{told}", resource.place(told))
                return None
        if resource.get("content") is not None:
            return str(resource["content"]).encode()
        if resource.get("environment") is not None:
            return self._of_variable(key, str(resource["environment"]), resource.place("environment"))
        return self._of_file(f"{key}.file", str(resource.get("file") or ""), resource.place("file"))

    def _of_variable(self, key: str, variable: str, place: Mark) -> bytes | None:
        value = self._model.variables.get(variable)
        if value is None:
            message = f"{key}: the run has no variable {variable!r}"
            mend = "Give the project one of that name; the environment of the server is never read."
            self._tell.problem(message, f"{key}.environment", place, mend)
            return None
        return value.encode()

    def _of_file(self, key: str, file: str, place: Mark) -> bytes | None:
        path = Path(posixpath.normpath(self._model.folder / file))
        try:
            return self._loading.content(path, told_by=place, key=key)
        except SpecError as error:
            for problem in error.problems:
                self._tell.problem(problem.message, key, Mark(problem.file, problem.line), problem.mend)
            return None


def secrets_of(spec: EnvironmentSpec) -> Iterator[str]:
    """What may not be read in a log: every secret, and each line of those that have several.

    Not one that a service or its image goes by, as `postgres` does: it would go missing from every line that
    speaks of it, and its mask would tell it.
    """
    names = {name for service in spec.services.values() for name in (service.name, _short(service.image))}
    for service in spec.services.values():
        for file in service.files:
            if file.is_secret:
                text = file.content.decode("utf-8", "replace").strip()
                told = dict.fromkeys([text, *(line.strip() for line in text.splitlines())])
                yield from (one for one in told if one and one not in names)


def _short(image: str | None) -> str:
    """``registry:5000/team/postgres:17`` is known as ``postgres``."""
    return (image or "").partition("@")[0].rpartition("/")[2].partition(":")[0]
