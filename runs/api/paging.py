"""Cursors: opaque to callers, the last row's key to us."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest

from runs.api.problems import ProblemError


def read_cursor(cursor: str, *kinds: type) -> list[Any] | None:
    """The key in a cursor, one value per kind (`int` or `str`); None for the first page.

    Raises:
        ProblemError: 422 for a cursor that this endpoint did not make.
    """
    if not cursor:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError):
        key = None
    fits = (
        isinstance(key, list)
        and len(key) == len(kinds)
        and all(type(value) is kind for value, kind in zip(key, kinds, strict=True))
    )
    if not fits:
        detail = "cursor: not one of ours. Take it from `next` of the page before, or leave it out."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return list(key)


def page[Row](
    request: HttpRequest, rows: Sequence[Row], items: Sequence[object], *, limit: int, key: Sequence[object]
) -> dict[str, object]:
    """A page: its items and where the next one is. `key` names the last row; a short page is the last."""
    following = None
    if len(rows) == limit:
        cursor = base64.urlsafe_b64encode(json.dumps(list(key), separators=(",", ":")).encode()).decode()
        query = request.GET.copy()
        query["cursor"] = cursor
        following = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
    return {"items": list(items), "next": following}
