"""Show something once: kept in the session by a POST, taken out by the page that the POST leads to.

So a page with a fresh secret can be loaded again without making another one, and then shows nothing.
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest

_KEY: Final = "shown_once"


def keep_for_once(request: HttpRequest, kind: str, project_id: int, **values: str | int) -> None:
    """Keep values for the next page of the project that asks for this kind."""
    request.session[_KEY] = {"kind": kind, "project": project_id, "values": values}


def taken_once(request: HttpRequest, kind: str, project_id: int) -> dict[str, str | int]:
    """The values that were kept, which are gone then; empty when there are none for this page."""
    kept = request.session.get(_KEY)
    if not isinstance(kept, dict) or (kept["kind"], kept["project"]) != (kind, project_id):
        return {}
    del request.session[_KEY]
    values: dict[str, str | int] = kept["values"]
    return values
