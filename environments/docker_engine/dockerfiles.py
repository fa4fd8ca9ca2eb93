"""What a Dockerfile needs of a builder, line by line. Plain.

The engine's classic builder knows no mounts, no here-documents and few options; BuildKit, which engines have
beside it, knows them, here-documents only in a newer syntax than an old engine's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SYNTAX: Final = re.compile(r"^#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_HERE: Final = re.compile(r"<<(-?)\s*([\"']?)([A-Za-z_]\w*)\2")
_OPTIONS: Final = {
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("chmod", "link", "parents", "exclude"),
    "ADD": ("chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack"),
}
_PLATFORM: Final = re.compile(r"\b(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)\b")
_INSTRUCTION: Final = re.compile(r"^\s*([A-Za-z]+)\s")
_WITH_HERE: Final = frozenset({"RUN", "COPY", "ADD"})


@dataclass(frozen=True, slots=True)
class Need:
    """Something that only BuildKit does. `line` counts from 1."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}"


def buildkit_needs(text: str) -> list[Need]:
    """Everything in the Dockerfile that the classic builder does not know, in its order."""
    return list(_needs(text))


def syntax(text: str) -> str | None:
    """The image that reads the Dockerfile, which its first lines may name."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return None
        if named := _SYNTAX.match(line):
            return named[1]
    return None


def _needs(text: str) -> Iterator[Need]:
    for number, line, heres in _instructions(text):
        found = _INSTRUCTION.match(line)
        instruction = found[1].upper() if found else ""
        options = {option.partition("=")[0] for option in _options(line)}
        for option in _OPTIONS.get(instruction, ()):
            if f"--{option}" in options:
                yield Need(number, f"{instruction} --{option}")
        if heres:
            yield Need(number, f"a here-document (<<{heres[0]})")
        if instruction in {"FROM", "ARG"} and (platform := _PLATFORM.search(line)):
            yield Need(number, platform[0])


def _instructions(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, the whole instruction, and the names of its here-documents, whose text is passed over."""
    begun, held, ends = 0, "", list[tuple[str, bool]]()
    for number, line in enumerate(text.splitlines(), start=1):
        if ends:
            name, is_stripped = ends[0]
            if (line.lstrip("\t") if is_stripped else line) == name:
                ends.pop(0)
            continue
        if line.lstrip().startswith("#") or (not line.strip() and not held):
            continue
        begun = begun if held else number
        held += line.rstrip()
        if held.endswith(("\\", "`")):
            held = held[:-1] + " "
            continue
        found = _INSTRUCTION.match(held)
        if found and found[1].upper() in _WITH_HERE:
            ends = [(here[3], bool(here[1])) for here in _HERE.finditer(held)]
        yield begun, held, [name for name, _ in ends]
        held = ""
    if held:
        yield begun, held, []


def _options(line: str) -> list[str]:
    """The options between the instruction and its first word."""
    options = []
    for word in line.split()[1:]:
        if not word.startswith("--"):
            break
        options.append(word)
    return options
