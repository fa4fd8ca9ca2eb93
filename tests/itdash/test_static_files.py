"""Static files: cut from packages, named by content, small enough."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from fontTools.ttLib import TTFont

from itdash.finders import PACKAGED_FILES, PackagedFilesFinder
from tests.conftest import ROOT

#: CSS and JavaScript of a page without an exploring chart, compressed, in bytes.
PAGE_BUDGET = 60 * 1024
PRINTED = "Aaß€→−…‹›·"  # noqa: RUF001 - signs that pages print
FONT_BUDGET = 60 * 1024
PLAIN = ROOT / "static" / "itdash"


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files as they are served."""
    folder = tmp_path_factory.mktemp("static")
    command = [sys.executable, str(ROOT / "manage.py"), "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(command, check=True, timeout=120, env=os.environ | {"ITDASH_DATA_DIR": str(folder)})
    return folder / "static"


def test_packaged_files_are_found_and_built_once() -> None:
    finder = PackagedFilesFinder()
    paths = {file.path: Path(finder.built(file)) for file in PACKAGED_FILES}
    built_at = {path: found.stat().st_mtime_ns for path, found in paths.items()}

    again = {path: Path(str(finders.find(path))).stat().st_mtime_ns for path in paths}

    assert again == built_at
    assert finder.find("itdash/fonts/unknown.woff2") == []


def test_fonts_keep_latin_letters_and_their_weights_within_their_budget() -> None:
    finder = PackagedFilesFinder()
    fonts = [Path(finder.built(file)) for file in PACKAGED_FILES if file.is_font]

    assert sum(font.stat().st_size for font in fonts) <= FONT_BUDGET
    for font in fonts:
        with TTFont(font) as opened:
            assert {ord(letter) for letter in PRINTED} <= set(opened.getBestCmap())
            assert [axis.axisTag for axis in opened["fvar"].axes] == ["wght"]


def test_styles_and_scripts_of_a_page_are_within_their_budget(collected: Path) -> None:
    styles = [path for path in collected.glob("itdash/css/*.css") if "plotly" not in path.name]
    scripts = [*collected.glob("itdash/js/*.js"), *collected.glob("django_htmx/htmx-2.min.*.js")]

    size = sum(len(gzip.compress(path.read_bytes())) for path in [*styles, *scripts])

    assert len(styles) == 6
    assert size <= PAGE_BUDGET, f"{size} bytes"


def test_every_served_file_is_named_by_its_content_and_compressed(collected: Path) -> None:
    served = [
        path for path in collected.glob("itdash/**/*") if path.suffix in {".js", ".css", ".svg", ".woff2"}
    ]

    assert all(re.search(r"\.[0-9a-f]{12}\.\w+$", path.name) for path in served)
    app = next(path for path in served if path.name.startswith("app."))
    imports = re.findall(r"import\(?[^\"]*\"\./([^\"]+)\"", app.read_text())
    assert len(imports) == len(list(PLAIN.glob("js/*.js"))) - 2  # itself, and what only copy.js asks for
    assert all((app.parent / name).exists() for name in imports)
    assert (collected / "itdash/plotly").is_dir()
    assert any(path.name.endswith(".js.br") for path in collected.glob("itdash/plotly/*"))


def test_scripts_are_short_and_no_third_partys() -> None:
    for path in PLAIN.glob("js/*.js"):
        assert len(path.read_text().splitlines()) < 150, path.name
