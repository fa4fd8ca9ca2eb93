"""Addresses of what pages and lists name by the hundred.

Django's `reverse` looks for the pattern, fills it in and checks it each time: a list of a thousand runs spent
a fifth of its time on that. Here it does so once for all runs of a project.
"""

from __future__ import annotations

from functools import lru_cache

from django.urls import get_script_prefix, get_urlconf, reverse

#: Numbers that no row has, to see where in an address a row's own belong.
_PLACES = (987_654_321_000_000_001, 987_654_321_000_000_002)


def address(view: str, slug: str, *numbers: int) -> str:
    """As `reverse` tells it, of a page of a project that its rows' numbers name."""
    start, *ends = _parts(view, slug, len(numbers), get_urlconf(), get_script_prefix())
    return start + "".join(f"{number}{end}" for number, end in zip(numbers, ends, strict=True))


@lru_cache(maxsize=1024)
def _parts(view: str, slug: str, count: int, _urlconf: str | None, _prefix: str) -> tuple[str, ...]:
    """The address without its numbers; the last two are what `reverse` depends on besides."""
    places = _PLACES[:count]
    start, ends = reverse(view, args=[slug, *places]), []
    for place in reversed(places):
        start, _, end = start.rpartition(str(place))
        ends.append(end)
    return (start, *reversed(ends))
