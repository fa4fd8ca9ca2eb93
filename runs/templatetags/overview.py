"""What the overview and the run list say of now against before, of when, and of what is to come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import charts
from runs.templatetags.itdash import duration, icon

register = template.Library()

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
#: Changes below these are none: shown with a word, without an arrow.
_LEAST_POINTS, _LEAST_MS = 0.05, 100


@register.simple_tag
def points_delta(change: float | None, *, more_is_good: bool) -> SafeString | str:
    """A change of a share, in percentage points: an arrow, a sign and a colour, never colour alone."""
    if change is None:
        return "nothing to compare with"
    points = change * 100
    if abs(points) < _LEAST_POINTS:
        return "no change"
    return _delta(
        f"{abs(points):.1f}".removesuffix(".0") + " pts", is_more=points > 0, more_is_good=more_is_good
    )


@register.simple_tag
def time_delta(change: float | None) -> SafeString | str:
    """A change of a duration in milliseconds; longer is worse."""
    if change is None:
        return "nothing to compare with"
    if abs(change) < _LEAST_MS:
        return "no change"
    return _delta(duration(abs(change)), is_more=change > 0, more_is_good=False)


def _delta(text: str, *, is_more: bool, more_is_good: bool) -> SafeString:
    return format_html(
        '<span class="delta {}">{}<span class="sr">{}</span>{}</span>',
        "up-good" if is_more is more_is_good else "up-bad",
        icon("up" if is_more else "down", "s"),
        "up by " if is_more else "down by ",
        text,
    )


@register.simple_tag
def run_columns(counts: Sequence[tuple[int, int]], label: str) -> SafeString:
    """Draw runs over time; see `charts.run_columns`."""
    return charts.run_columns(counts, label=label)


@register.filter
def ahead(moment: datetime | None) -> SafeString | str:
    """A moment to come: `in 18 min`, `in 5 h`, and the day from tomorrow on."""
    if moment is None:
        return ""
    now = timezone.now()
    seconds = (moment - now).total_seconds()
    if seconds < _MINUTE:
        words = "now"
    elif seconds < _HOUR:
        words = f"in {seconds // _MINUTE:.0f} min"
    elif seconds < _DAY:
        words = f"in {seconds // _HOUR:.0f} h"
    else:
        words = f"{moment:%a %-d %b, %H:%M}"
    stamp = f"{moment:%a %-d %b %Y, %H:%M} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), stamp, words)
