"""The corpus of reports that lies beside the project, where there is one."""

from __future__ import annotations

import csv
from pathlib import Path

type Row = dict[str, str]


def rows_of(corpus: Path, *expected: str) -> list[tuple[Path, Row]]:
    """The files of which `expected` is expected, each with what is known of it."""
    folder = corpus / "junit"
    with (folder / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
        rows = csv.DictReader(index, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(folder / row["path"], row) for row in rows if row["expect"] in expected]
