"""How long something is still to be."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def held_until(moment: datetime | None) -> SafeString | str:
    """A moment to come, by the clock and from now: ``14:20 (in 23 min)``."""
    if moment is None:
        return ""
    return format_html(
        '<time datetime="{}" title="{}">{} UTC ({})</time>',
        moment.isoformat(),
        f"{moment.astimezone(UTC):%a %-d %b %Y, %H:%M:%S} UTC",
        f"{moment.astimezone(UTC):%H:%M}",
        to_come((moment - timezone.now()).total_seconds()),
    )


def to_come(seconds: float) -> str:
    """How far away something is, to the minute; what is over is over."""
    if seconds <= 0:
        return "over"
    minutes = int(seconds // 60)
    if minutes == 0:
        return "in under a minute"
    hours, rest = divmod(minutes, 60)
    if hours == 0:
        return f"in {minutes} min"
    return f"in {hours} h {rest} min" if rest else f"in {hours} h"
