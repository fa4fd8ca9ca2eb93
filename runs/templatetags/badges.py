"""A suite's badge on its own page."""

from __future__ import annotations

from django import template

from runs.models import Project, Suite
from runs.queries.badges import BadgeSnippets, badge_snippets

register = template.Library()


@register.simple_tag
def badge_of(suite: Suite, project: Project) -> BadgeSnippets:
    """The badge's address and what to put into a README; for pages that the project's people see."""
    return badge_snippets(suite, project)
