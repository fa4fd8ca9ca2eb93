"""Every part that pages are made of, in every state it can be in: for those who work on the pages."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from runs.queries.environments import Standing
from runs.queries.marks import Mark
from runs.vocabulary import DeliveryStatus, Outcome, RunStatus, Trigger

#: What each mark of a strip means, in the order of `Mark`.
MEANINGS = {
    Mark.PASSED: "Short. Most of a page, so it stays quiet.",
    Mark.FAILED: "Tall. Failed on the last attempt.",
    Mark.FLAKY: "Split. Failed, then passed on the same commit.",
    Mark.SKIPPED: "A dash.",
    Mark.ERRORED: "Hollow. The environment broke, not the test.",
    Mark.RUNNING: "Accent, and it moves.",
    Mark.CANCELLED: "A dash in runs; kept out of every rate.",
    Mark.MISSING: "A dot. Not part of that run.",
}
SWATCHES = (
    *("text", "text-2", "text-3", "line-control", "line"),
    *("bg-sunken", "accent", "pass", "fail", "flaky"),
    *("skip", "heat-1", "heat-2", "heat-3", "heat-4"),
)
HEALTH = ("healthy", "running", "completed", "starting", "waiting", "tests", "ended", "fault")
TROUBLE = ("unhealthy", "died", "out_of_memory", "never_ready")


#: What the parts show. Nothing of it comes from a project.
SAMPLE = {
    "marks": list(MEANINGS.items()),
    "strip": "pppkppppfppppspppefffppppp",
    "few": "pppppfppp",
    "parts": [(Mark.PASSED, 261.0), (Mark.FAILED, 6.0), ("m-rest", 163.0)],
    "spark": [3.1, 3.0, 3.4, 3.2, 3.9, 3.8, 4.4, 4.9, 4.7, 5.6],
    "boot": [("wait", 0.0, 4.0), ("start", 4.0, 11.0), ("up", 11.0, 28.0), ("bad", 28.0, 31.0)],
    "fault": [("fault", 16.0, 24.0)],
    "cost": [("test_refund_of_two", 0.52), ("test_pay_later", 0.31), ("12 others", 0.17)],
    "long_name": "test_" + "a_name_that_goes_on_" * 20 + "\u202e<b>",
}


@require_GET
def kit(request: HttpRequest) -> HttpResponse:
    """The kit; no such page in production."""
    if settings.PRODUCTION:
        raise Http404
    return render(
        request,
        "kit/kit.html",
        {
            "sample": SAMPLE,
            "run_statuses": list(RunStatus),
            "outcomes": list(Outcome),
            "deliveries": list(DeliveryStatus),
            "triggers": list(Trigger),
            "standings": list(Standing),
            "health": [*HEALTH, *TROUBLE],
            "swatches": SWATCHES,
            "now": timezone.now(),
            "earlier": timezone.now() - timedelta(hours=3),
        },
    )
