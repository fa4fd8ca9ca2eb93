"""What was sent is removed when its days are over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from itdash.celery import app
from runs.actions.sending import forget_sent
from runs.models import Delivery, Run
from runs.tasks import forget_sent as nightly
from tests.factories import make_project, make_run

pytestmark = pytest.mark.django_db


def test_what_was_sent_is_forgotten_after_its_days_and_what_waits_is_not() -> None:
    run = make_run()
    now = timezone.now()

    def delivery(status: str, *, days_ago: float | None, direction: str = "sent") -> Delivery:
        handled_at = None if days_ago is None else now - timedelta(days=days_ago)
        made = Delivery.objects.create(
            project=run.project,
            direction=direction,
            provider="slack",
            key=f"{status} {days_ago}",
            status=status,
            handled_at=handled_at,
        )
        made.runs.add(run)
        return made

    for status in ("sent", "failed", "ignored"):
        delivery(status, days_ago=30.1)
    kept = [
        delivery("sent", days_ago=29.9),
        delivery("queued", days_ago=None),
        delivery("accepted", days_ago=400, direction="received"),
    ]

    assert forget_sent(now=now, days=30) == 3
    assert list(Delivery.objects.order_by("pk")) == kept
    assert Run.objects.filter(pk=run.pk).exists()


def test_many_that_were_sent_are_forgotten_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.actions.sending._FORGOTTEN_AT_ONCE", 2)
    project = make_project()
    long_ago = timezone.now() - timedelta(days=5)
    for number in range(5):
        Delivery.objects.create(
            project=project,
            direction="sent",
            provider="slack",
            key=str(number),
            status="sent",
            handled_at=long_ago,
        )

    assert forget_sent(now=timezone.now(), days=4) == 5
    assert not Delivery.objects.exists()


def test_it_is_done_each_night_by_the_setting(settings: Settings) -> None:
    settings.SENT_KEPT_DAYS = 7
    for days_ago in (6, 8):
        Delivery.objects.create(
            project=make_project(),
            direction="sent",
            provider="slack",
            key=str(days_ago),
            status="sent",
            handled_at=timezone.now() - timedelta(days=days_ago),
        )

    nightly()

    assert [delivery.key for delivery in Delivery.objects.all()] == ["6"]
    assert nightly.name in {entry["task"] for entry in app.conf.beat_schedule.values()}
