"""News as JSON, signed as our own generic webhooks are."""

from __future__ import annotations

from collections.abc import Callable

from runs.notify.http import HttpRequest
from runs.notify.news import News


def webhook_request(news: News, *, address: str, sign: Callable[[bytes], dict[str, str]]) -> HttpRequest:
    """The request that tells a machine; `sign` gives the headers that prove the body."""
    body = news.model_dump_json().encode()
    headers = {"X-Itdash-Event": str(news.event), **sign(body)}
    return HttpRequest("POST", address, headers=headers, body=body)
