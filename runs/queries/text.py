"""Text written by strangers (test names, messages, logs) made inert and readable.

Escaping is the templates' work; this module removes what escaping leaves: terminal colours, control
characters, marks that reorder a line, and lengths that no page can carry.
"""

from __future__ import annotations

import re

#: Terminal sequences: CSI (colours, cursor), OSC (titles, links), and two-character ones.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
LINE_LIMIT = 2_000
TEXT_LIMIT = 64_000
WHOLE_LIMIT = 200_000


def clean(text: str) -> str:
    """Drop terminal sequences; show other control and reordering characters as their escapes."""
    if text.isascii() and text.isprintable():
        return text
    text = _TERMINAL.sub("", text).replace("\r\n", "\n")
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if match.group() == "\x1b":
        return "␛"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - two digits or four


def cut(text: str, limit: int) -> str:
    """Keep the first `limit` characters and say how many were left out."""
    left_out = len(text) - limit
    return text if left_out <= 0 else f"{text[:limit]}… ({left_out:,} more characters not shown)"


def clean_line(line: str) -> str:
    """One line, inert, cut at `LINE_LIMIT`; a huge one is not even looked at to its end."""
    head = clean(line[: LINE_LIMIT * 4])
    left_out = max(0, len(line) - LINE_LIMIT * 4) + max(0, len(head) - LINE_LIMIT)
    return head if not left_out else f"{head[:LINE_LIMIT]}… ({left_out:,} more characters not shown)"


def readable(text: str, limit: int = TEXT_LIMIT) -> str:
    """Several lines: each is cut at `LINE_LIMIT`, the whole at `limit` characters, both with a note."""
    head = text[:limit]
    shown = "\n".join(clean_line(line) for line in head.replace("\r\n", "\n").split("\n"))
    left_out = len(text) - limit
    return shown if left_out <= 0 else f"{shown}\n… ({left_out:,} more characters not shown)"


def one_line(text: str, limit: int = 300) -> str:
    """The first line that says something, cut."""
    first = next((line for line in clean(text[:8_000]).splitlines() if line.strip()), "")
    return cut(first.strip(), limit)
