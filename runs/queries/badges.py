"""What a suite's badge says, how it stands on a branch and how flaky it is, and how to show it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.html import escape

from runs.models import Project, Run, Suite
from runs.queries.news import Standing, standing_of
from runs.queries.text import one_line
from runs.vocabulary import FINISHED, RunStatus, Visibility

#: Finished runs that the flake rate is made of, the newest.
WINDOW: Final = 30


@dataclass(frozen=True, slots=True)
class BadgeFacts:
    """How a suite stands; `standing` is None before a run says so."""

    suite: str
    standing: Standing | None
    #: Results that were flaky, and all that were not skipped, in the window's runs.
    flaky_count: int
    result_count: int

    @property
    def flake_rate(self) -> float | None:
        """Flaky results as a share; None when there are no results."""
        return self.flaky_count / self.result_count if self.result_count else None


def badge_facts(suite: Suite, *, branch: str) -> BadgeFacts:
    """One query: the newest finished run on the branch that was not cancelled, and those before it."""
    runs = Run.objects.filter(suite=suite, branch=branch, status__in=sorted(FINISHED - {RunStatus.CANCELLED}))
    found = list(
        runs.only("status", "verdict", "test_count", "skipped_count", "flaky_count").order_by("-number")[
            :WINDOW
        ]
    )
    return BadgeFacts(
        suite=suite.name,
        standing=standing_of(found[0]) if found else None,
        flaky_count=sum(run.flaky_count for run in found),
        result_count=sum(run.test_count - run.skipped_count for run in found),
    )


@dataclass(frozen=True, slots=True)
class BadgeSnippets:
    """How to show a suite's badge: its address below ours, and text for a README."""

    path: str
    markdown: str
    html: str


def badge_snippets(suite: Suite, project: Project) -> BadgeSnippets:
    """No query. Of a private project the addresses hold the key, so only its people may be shown them."""
    key = "" if project.visibility == Visibility.PUBLIC else f"?key={badge_key(project)}"
    path = _unbracketed(reverse("badge", args=[project.slug, suite.name])) + key
    page = f"{settings.PUBLIC_URL}{_unbracketed(reverse('suite', args=[project.slug, suite.name]))}"
    name = one_line(suite.name, 80)
    named = "".join(f"\\{character}" if character in "\\[]`*_<>" else character for character in name)
    image = f"{settings.PUBLIC_URL}{path}"
    return BadgeSnippets(
        path=path,
        markdown=f"[![{named}]({image})]({page})",
        html=f'<a href="{escape(page)}"><img src="{escape(image)}" alt="{escape(name)}" height="20"></a>',
    )


def badge_key(project: Project) -> str:
    """What opens the badges of a private project, and nothing else."""
    return salted_hmac("runs.badge", str(project.pk), algorithm="sha256").hexdigest()[:32]


def _unbracketed(path: str) -> str:
    """Without what ends an address in Markdown."""
    return path.replace("(", "%28").replace(")", "%29")
