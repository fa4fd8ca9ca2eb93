"""Badges: a suite's state as a picture for a README, for everybody or for whoever has the key."""

from __future__ import annotations

import hashlib
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from runs.models import Project, Suite
from runs.queries.badges import BadgeFacts, badge_facts, badge_key
from runs.queries.news import Standing
from runs.queries.text import one_line
from runs.vocabulary import Visibility
from runs.web.access import project_for
from runs.web.badge_svg import AMBER, GREEN, RED, SLATE, badge_svg

#: Seconds that a badge may be kept by whoever shows it.
MAX_AGE: Final = 60
_NAME_LIMIT: Final = 40
_WORDS: Final = {
    Standing.PASSES: ("passing", GREEN),
    Standing.FAILS: ("failing", RED),
    Standing.ERRED: ("errored", AMBER),
    None: ("no runs yet", SLATE),
}


@require_safe
def badge(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """The suite's badge; of a private project only for its people, and for who shows its key."""
    project = _project(request, slug)
    suite = Suite.objects.filter(project=project, name=name.replace("\x00", "")).first()
    if suite is None:
        raise Http404
    branch = request.GET.get("branch", "")[:250].replace("\x00", "") or project.default_branch
    picture = drawn(badge_facts(suite, branch=branch)).encode()
    etag = f'"{hashlib.sha256(picture).hexdigest()[:24]}"'
    answer: HttpResponse
    if etag in request.headers.get("If-None-Match", ""):
        answer = HttpResponseNotModified()
    else:
        answer = HttpResponse(picture, content_type="image/svg+xml; charset=utf-8")
    answer["ETag"] = etag
    is_for_all = project.visibility == Visibility.PUBLIC
    answer["Cache-Control"] = f"{'public' if is_for_all else 'private'}, max-age={MAX_AGE}, must-revalidate"
    if not is_for_all:
        patch_vary_headers(answer, ["Cookie"])
    return answer


def drawn(facts: BadgeFacts) -> str:
    """The badge: the suite's name, how it stands, and its flake rate where one was counted."""
    word, colour = _WORDS[facts.standing]
    rate = facts.flake_rate
    flaky = "" if rate is None else f" · {_per_cent(rate)} flaky"
    name = one_line(facts.suite, _NAME_LIMIT)
    label = name if len(name) <= _NAME_LIMIT else f"{name[:_NAME_LIMIT]}…"
    return badge_svg(label, f"{word}{flaky}", colour)


def _per_cent(share: float) -> str:
    """One decimal; a little is not nothing."""
    return "<0.1%" if 0 < share < 0.001 else f"{share * 100:.1f}%"  # noqa: PLR2004 - a tenth of a per cent


def _project(request: HttpRequest, slug: str) -> Project:
    key = request.GET.get("key", "")
    if key:
        project = Project.objects.filter(slug=slug).first()
        if project is not None and constant_time_compare(key, badge_key(project)):
            return project
    return project_for(request, slug).project
