"""What templates say by the hundred on one page: addresses, and the lines of a log."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from django import template
from django.utils.safestring import SafeString, mark_safe

from runs.queries.addresses import address
from runs.queries.log import Line
from runs.queries.text import one_line

register = template.Library()

register.simple_tag(address)


@register.simple_tag
def log_items(lines: Iterable[Line]) -> SafeString:
    """Lines of a log as items of a list: a page that follows a run is sent two thousand of them at once."""
    return mark_safe("".join(map(_log_item, lines)))  # noqa: S308 - what strangers wrote is escaped below


def _log_item(line: Line) -> str:
    css = f' class="{line.css}"' if line.css else ""
    time, service, text = line.time, escape(one_line(line.service, 60)), escape(line.text)
    cells = f'<span class="t">{time}</span><bdi class="w">{service}</bdi><bdi class="l">{text}</bdi>'
    return f"<li{css}>{cells}</li>\n"
