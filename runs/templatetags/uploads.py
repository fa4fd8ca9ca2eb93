"""What templates say of uploads."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static

from runs.vocabulary import UploadStatus

register = template.Library()

UPLOAD_WORDS = {
    UploadStatus.RECEIVED: ("queued", "queued", "Waiting"),
    UploadStatus.STORED: ("pass", "pass", "Stored"),
    UploadStatus.PARTIAL: ("flaky", "flaky", "Partial"),
    UploadStatus.REJECTED: ("fail", "fail", "Rejected"),
}


@register.inclusion_tag("components/_status.html")
def upload_status(value: str, *, only: bool = False) -> dict[str, Any]:
    """What became of an upload or of a file in it: word, shape and colour; `only`: the shape alone."""
    code, glyph, word = UPLOAD_WORDS[UploadStatus(value)]
    return {"code": code, "glyph": glyph, "word": word, "only": only, "sprite": static("itdash/icons.svg")}
