"""Durations as test tools write them."""

from __future__ import annotations

import re

_GROUPED = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_CLOCK = re.compile(r"(?:(?P<hours>[0-9]+):)?(?P<minutes>[0-9]{1,2}):(?P<seconds>[0-9]{1,2}(?:\.[0-9]+)?)")
_ISO = re.compile(
    r"PT(?:(?P<hours>[0-9.]+)H)?(?:(?P<minutes>[0-9.]+)M)?(?:(?P<seconds>[0-9.]+)S)?", re.IGNORECASE
)
_UNITS = re.compile(
    r"(?:(?P<hours>[0-9.]+)\s*h)?\s*(?:(?P<minutes>[0-9.]+)\s*m(?:in)?)?\s*"
    r"(?:(?P<seconds>[0-9.]+)\s*s(?:ec(?:onds?)?)?)?\s*(?:(?P<milliseconds>[0-9.]+)\s*ms)?"
)
_SCALE = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "milliseconds": 0.001}
_LARGEST_SECONDS = 1e300
_LONGEST_SPELLING = 60


def plain_seconds(text: str) -> float | None:
    """Read a plain number of seconds, `1,234.56` and `0,532` included; None for every other form."""
    text = text.strip()
    if "," in text:
        text = text.replace(",", "") if _GROUPED.fullmatch(text) else text.replace(",", ".", 1)
    try:
        seconds = float(text)
    except ValueError:
        return None
    # Python also reads underscores and other scripts' digits; NaN fails the comparison.
    if 0.0 <= seconds < _LARGEST_SECONDS and "_" not in text and text.isascii():
        return abs(seconds)
    return None


def spelled_seconds(text: str) -> float | None:
    """Read `12 ms`, `1m30s`, `00:01:02.5` or `PT3.2S` as seconds; None for what is no duration."""
    text = text.strip()
    if len(text) > _LONGEST_SPELLING:
        return None
    for form in (_CLOCK, _ISO, _UNITS):
        match = form.fullmatch(text)
        parts = {unit: part for unit, part in match.groupdict().items() if part} if match else {}
        if parts:
            try:
                return sum(float(part) * _SCALE[unit] for unit, part in parts.items())
            except ValueError:
                return None
    return None
