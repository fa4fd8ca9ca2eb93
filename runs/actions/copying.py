"""Words as PostgreSQL's COPY takes them in its text form: columns between tabs, rows between line feeds."""

from __future__ import annotations

from runs.ingestion.identity import split_parameters
from runs.ingestion.report import CaseRead

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": ""})
_WORD_COUNT = 6


def escaped(text: str) -> str:
    """Return a text as the content of one column."""
    return text.translate(_ESCAPES)


def case_columns(case: CaseRead) -> str:
    """Return the columns of what a case is called: path, class, name, parameters, file, variant and line."""
    name, parameters = split_parameters(case.name)
    words = f"{case.path}\t{case.class_name}\t{name}\t{parameters}\t{case.file}\t{case.variant}"
    if "\\" in words or "\n" in words or "\r" in words or words.count("\t") != _WORD_COUNT - 1:
        words = "\t".join(
            map(escaped, (case.path, case.class_name, name, parameters, case.file, case.variant))
        )
    return f"{words}\t{r'\N' if case.line is None else case.line}"
