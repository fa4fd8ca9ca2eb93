"""What templates say of uploads."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from runs.queries import text
from runs.templatetags.itdash import shown_status
from runs.vocabulary import UploadStatus

register = template.Library()

UPLOAD_WORDS = {
    UploadStatus.RECEIVED: ("queued", "queued", "Waiting"),
    UploadStatus.STORED: ("pass", "pass", "Stored"),
    UploadStatus.PARTIAL: ("flaky", "flaky", "Partial"),
    UploadStatus.REJECTED: ("fail", "fail", "Rejected"),
}


@register.simple_tag
def upload_status(value: str, *, only: bool = False) -> SafeString:
    """What became of an upload or of a file in it: word, shape and colour; `only`: the shape alone."""
    return shown_status(UPLOAD_WORDS[UploadStatus(value)], only=only)


@register.filter
def problem(value: object) -> str:
    """One problem of a report in a line: where, and why."""
    if not isinstance(value, dict):
        return text.one_line(str(value))
    line = f" line {value['line']}" if value.get("line") else ""
    why = value.get("reason") or value.get("message") or value.get("detail") or ""
    return text.one_line(f"{value.get('file', '')}{line}: {why}".lstrip(": "))
