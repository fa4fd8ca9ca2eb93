"""How far the tests are while they run, as they tell it themselves through marks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runs.models import Event, Run
from runs.vocabulary import RunStatus

MARK = "mark"
#: Marks looked at, newest first: two per test.
_MARKS = 120
SHOWN_TESTS = 40


@dataclass(frozen=True, slots=True)
class Sighting:
    """A test that was seen to start, and perhaps to end; how it went is not known before the report."""

    test: str
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None while it runs."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds() * 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """The tests seen so far, those still running first, then the newest."""

    ended_count: int
    sightings: list[Sighting]


def progress(run: Run) -> Progress:
    """Two queries while the tests run and nothing is reported, none otherwise."""
    if run.status != RunStatus.RUNNING or run.test_count:
        return Progress(ended_count=0, sightings=[])
    marks = Event.objects.filter(run=run, kind=MARK)
    newest = list(marks.order_by("-id").values_list("at", "data__test", "data__phase")[:_MARKS])
    started: dict[str, datetime] = {}
    ended: dict[str, datetime] = {}
    for at, test, phase in newest:
        (ended if phase == "end" else started).setdefault(str(test), at)
    seen = [Sighting(test, started.get(test), _end(started, ended, test)) for test in {**started, **ended}]
    seen.sort(key=lambda each: each.ended_at is not None)  # stable: the newest stay first
    return Progress(ended_count=marks.filter(data__phase="end").count(), sightings=seen[:SHOWN_TESTS])


def _end(started: dict[str, datetime], ended: dict[str, datetime], test: str) -> datetime | None:
    """The end that belongs to the newest start: a retried test starts again."""
    end, start = ended.get(test), started.get(test)
    return None if end is None or (start is not None and end < start) else end
