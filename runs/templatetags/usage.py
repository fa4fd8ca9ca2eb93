"""What services used, in words and drawn."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from runs import memory_chart as drawing
from runs.queries.environment_page import EnvironmentPage

register = template.Library()


@register.filter
def mebibytes(size: int | None) -> str:
    """Bytes as limits are given: 256 MiB."""
    return "" if size is None else drawing.mebibytes(size)


@register.simple_tag
def memory_chart(page: EnvironmentPage) -> SafeString:
    """Draw the memory of an environment's services on the clock of its page."""
    return drawing.memory_chart(
        page.usage,
        start=page.environment.created_at,
        span=page.span,
        end=page.lived_ms / 1000,
        faults=[each.fault for each in page.faults],
    )
