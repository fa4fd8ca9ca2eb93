"""What makes two failures the same failure: the kind and the first line, less what differs by chance.

Raising `VERSION` makes every failure a new one to its group, so it is part of the digest.
"""

from __future__ import annotations

import re
from hashlib import sha256

VERSION = 1
LINE_LIMIT = 200

# In this order: each rule sees what those before it left.
_RULES = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s\"'<>)]+"), "<url>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"(?<![\w/])(?:[A-Za-z]:)?(?:[\\/][\w.@%+~-]+){2,}[\\/]?"), "<path>"),
    (re.compile(r"/?\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<ip>"),
    (re.compile(r"\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b"), "<host>"),
    (
        re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{7,}\b"),
        "<hex>",
    ),
    (re.compile(r"[-+]?\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_GUILLEMETS = {
    ord("<"): "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    ord(">"): "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
}
#: Longer lines are cut before the rules run over them: their time must stay bounded.
_RAW_LIMIT = 2_000


def failure_fingerprint(kind: str, message: str, text: str = "") -> bytes:
    """Return the 16 bytes that failures of one group share."""
    line = normalised_line(first_line(message) or first_line(text))
    whole = f"{VERSION}\0{kind.strip()}\0{line}"
    return sha256(whole.encode("utf-8", "replace")).digest()[:16]


def normalised_line(line: str) -> str:
    """Return a line with times, addresses, paths, identifiers and numbers replaced by what they are."""
    line = line[:_RAW_LIMIT]
    for rule, sign in _RULES:
        line = rule.sub(sign, line)
    return line.strip().lower()[:LINE_LIMIT]


def shown_line(kind: str, message: str, text: str = "") -> str:
    """Return the line that a group is known by, for people: what differs by chance stands in guillemets."""
    line = (first_line(message) or first_line(text) or kind.strip())[:_RAW_LIMIT]
    for rule, sign in _RULES:
        line = rule.sub(sign.translate(_GUILLEMETS), line)
    return line.strip()


def first_line(text: str) -> str:
    """Return the first line with something on it; empty when there is none."""
    return next((line.strip() for line in text[: 10 * _RAW_LIMIT].splitlines() if line.strip()), "")
