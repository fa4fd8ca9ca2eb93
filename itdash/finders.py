"""Static files that come out of Python packages instead of the repository: fonts and Plotly.

Nothing third-party is committed. The fonts' packages carry whole variable TrueType files; a page needs
their Latin part as WOFF2, a quarter of the size. Plotly's package carries its script. Both are put
together once, below `settings.DATA_DIR`, and found there by `collectstatic`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.contrib.staticfiles.utils import matches_patterns
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage

#: Latin, Latin-1, Latin Extended-A, punctuation, arrows, and the signs the pages use.
LATIN = (
    *range(0x20, 0x7F),
    *range(0xA0, 0x180),
    *range(0x2B0, 0x2DE),
    *range(0x2010, 0x2040),
    0x20AC,
    0x2116,
    0x2122,
    *range(0x2190, 0x219A),
    0x2212,
    0x2260,
    0x2264,
    0x2265,
    0x2713,
    0x2717,
)
#: Kerning, marks and figures of one width; stylistic sets would double the file.
LAYOUT_FEATURES = ["kern", "mark", "mkmk", "ccmp", "locl", "tnum", "pnum"]


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A static file and the package it is made from."""

    path: str
    #: The distribution, whose version decides whether the built file is still good.
    distribution: str
    package: str
    source: str
    is_font: bool = False


PACKAGED_FILES = (
    PackagedFile(
        "itdash/fonts/geist.woff2", "fontpkg-geist", "fontpkg_geist", "files/Geist[wght].ttf", is_font=True
    ),
    PackagedFile(
        "itdash/fonts/geist-mono.woff2",
        "fontpkg-geist-mono",
        "fontpkg_geist_mono",
        "files/GeistMono[wght].ttf",
        is_font=True,
    ),
    PackagedFile("itdash/plotly/plotly.min.js", "plotly", "plotly", "package_data/plotly.min.js"),
)


class PackagedFilesFinder(BaseFinder):
    """Finds `PACKAGED_FILES`, building each at most once per version of its package."""

    def __init__(self, app_names: object = None) -> None:  # noqa: ARG002 - Django's signature
        super().__init__()
        self.storage = FileSystemStorage(location=settings.DATA_DIR / "build" / "static")

    def find(  # type: ignore[override] # Django's own overloads differ only in the literal
        self,
        path: str,
        find_all: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> str | list[str]:
        """Return where the file lies, or an empty list."""
        found = [self.built(file) for file in PACKAGED_FILES if file.path == path]
        return (found if find_all else found[0]) if found else []

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        """Yield every packaged file with the storage that holds it."""
        for file in PACKAGED_FILES:
            if not matches_patterns(file.path, ignore_patterns or []):
                self.built(file)
                yield file.path, self.storage

    def built(self, file: PackagedFile) -> str:
        """Return the path of the built file; build it when it is missing or of another version."""
        target = Path(self.storage.path(file.path))
        stamp = target.with_name(f".{target.name}.made-from")
        made_from = made_from_what(file)
        if not (target.exists() and stamp.exists() and stamp.read_text() == made_from):
            target.parent.mkdir(parents=True, exist_ok=True)
            build(file, target)
            stamp.write_text(made_from)
        return str(target)


def made_from_what(file: PackagedFile) -> str:
    """Everything the built file depends on, as one line."""
    letters = hashlib.sha256(repr(LATIN).encode()).hexdigest()[:12] if file.is_font else ""
    return f"{file.distribution} {version(file.distribution)} {letters}".strip()


def build(file: PackagedFile, target: Path) -> None:
    """Put the file together beside its place and move it there whole: two processes may build at once."""
    source = package_folder(file.package) / file.source
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        if file.is_font:
            cut_to_latin(source, temporary)
        else:
            shutil.copyfile(source, temporary)
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def package_folder(package: str) -> Path:
    """Where a package lies, without importing it: Plotly's import costs half a second."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        message = f"The package {package} is not installed; install itdash with its dependencies."
        raise ImproperlyConfigured(message)
    return Path(next(iter(spec.submodule_search_locations)))


def cut_to_latin(source: Path, target: Path) -> None:
    """Write the Latin part of a variable font as WOFF2, weight axis and figures kept."""
    from fontTools import subset  # noqa: PLC0415 - only the build needs it, pages do not

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it reports every table it drops
    options = subset.Options(
        flavor="woff2", layout_features=LAYOUT_FEATURES, name_IDs=[0, 1, 2, 13, 14], notdef_outline=True
    )
    with subset.load_font(str(source), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=LATIN)
        subsetter.subset(font)
        subset.save_font(font, str(target), options)
