"""News as Slack's incoming webhooks take it; Mattermost, Rocket.Chat and Discord's `/slack` take the same."""

from __future__ import annotations

import json

from runs.notify.http import HttpRequest
from runs.notify.news import News, NewsEvent

_MARKS = {
    NewsEvent.FAILED: ":x:",
    NewsEvent.NEW_FAILURES: ":x:",
    NewsEvent.ERRORED: ":warning:",
    NewsEvent.PASSED: ":white_check_mark:",
    NewsEvent.TEST: ":wave:",
}
#: Slack cuts longer texts.
_TEXT_LIMIT = 3_500


def slack_request(news: News, *, address: str) -> HttpRequest:
    """The request that puts the news into a room."""
    body = {"text": slack_text(news), "unfurl_links": False, "unfurl_media": False}
    return HttpRequest("POST", address, body=json.dumps(body).encode())


def slack_text(news: News) -> str:
    """The news in Slack's own markup, a few lines; nothing in it calls anybody or opens a link of its own."""
    lines = [f"{_MARKS[news.event]} *<{news.url}|{_inert(news.headline)}>*"]
    lines += [_inert(line) for line in (news.explanation, news.about) if line]
    lines += [_test(test.url, test.name, test.message) for test in news.new_failures]
    if news.untold_count > 0:
        lines.append(f"and {news.untold_count} more")
    return "\n".join(lines)[:_TEXT_LIMIT]


def _test(url: str, name: str, message: str) -> str:
    said = f": {_inert(message)}" if message else ""
    return f"• <{url}|{_inert(name)}>{said}"


def _inert(text: str) -> str:
    """Strangers' text: no markup, no call for everybody, also where only `@` makes one.

    Where the same request is read as Markdown, as by Mattermost, `](` would make a link of it.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "¦")
    for mark in "*_~`@]":
        text = text.replace(mark, f"{mark}\u200b")
    return text
