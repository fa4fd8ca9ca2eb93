"""What templates say by the hundred on one page: addresses, and the lines of a log."""

from __future__ import annotations

from collections.abc import Collection
from html import escape

from django import template
from django.utils.safestring import SafeString, mark_safe

from runs.queries.addresses import address
from runs.queries.log import Line
from runs.queries.text import one_line

register = template.Library()

register.simple_tag(address)


@register.simple_tag
def log_items(lines: Collection[Line]) -> SafeString:
    """Lines of a log as items of a list: a page that follows a run is sent two thousand of them at once."""
    services = {name: escape(one_line(name, 60)) for name in {line.service for line in lines}}
    return mark_safe("".join(_log_item(line, services[line.service]) for line in lines))  # noqa: S308 - escaped


def _log_item(line: Line, service: str) -> str:
    css = f' class="{line.css}"' if line.css else ""
    time, text = line.time, escape(line.text)
    cells = f'<span class="t">{time}</span><bdi class="w">{service}</bdi><bdi class="l">{text}</bdi>'
    return f"<li{css}>{cells}</li>\n"
