"""A checkout of Compose files for the tests of the loader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from environments.errors import SpecError
from environments.spec import EnvironmentSpec, ServiceSpec, load_environment


class Checkout:
    """A folder of files to load Compose files from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, text: str, **variables: str) -> EnvironmentSpec:
        self.write("compose.yaml", text)
        return self.load_files("compose.yaml", variables=variables)

    def load_files(
        self, *files: str, variables: Mapping[str, str] | None = None, profiles: tuple[str, ...] = ()
    ) -> EnvironmentSpec:
        paths = [Path(file) for file in files]
        return load_environment(paths, directory=self.folder, variables=variables or {}, profiles=profiles)

    def service(self, text: str, **variables: str) -> ServiceSpec:
        lines = "".join(f"    {line}\n" for line in text.splitlines())
        spec = self.load(f"services:\n  web:\n    image: web\n{lines}\n  db: {{image: db}}\n", **variables)
        return spec.services["web"]

    def problems(self, text: str, **variables: str) -> list[str]:
        with pytest.raises(SpecError) as caught:
            self.load(text, **variables)
        return [str(problem) for problem in caught.value.problems]
