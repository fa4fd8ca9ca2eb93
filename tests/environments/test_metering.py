"""Rates from counters, and stretches of samples that are written as rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Count

from environments.docker_engine.usage import samples
from environments.engine import Usage
from environments.lifecycle import records
from environments.lifecycle.metering import MOST_WAITING, Meter, Sample, sample
from environments.models import EnvironmentService, ServiceUsage
from tests.factories import make_run
from tests.rows import add_environment

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MEBIBYTE = 1024 * 1024


def usage(after: float, **facts: int | None) -> Usage:
    given: dict[str, Any] = {"cpu_ns": 0, "memory_bytes": MEBIBYTE, **facts}
    return Usage(START + timedelta(seconds=after), **given)


def test_rates_are_differences_by_the_engines_clock() -> None:
    last = usage(0, cpu_ns=1_000_000_000, throttled_ns=5_000_000)
    now = usage(2, cpu_ns=2_000_000_000, throttled_ns=125_000_000, memory_bytes=3 * MEBIBYTE)

    # One second of processor in two seconds is half a processor.
    assert sample(now, last) == Sample(now.at, 3 * MEBIBYTE, None, cpu_millis=500, throttled_ms=120)


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(None, id="the first sample"),
        pytest.param(usage(0, cpu_ns=9_000), id="the counters went back: it was started anew"),
        pytest.param(usage(-30), id="nobody knows when in so long a gap the work was done"),
    ],
)
def test_without_a_sample_to_compare_with_no_rate_is_invented(last: Usage | None) -> None:
    found = sample(usage(1, cpu_ns=8_000, throttled_ns=1), last)

    assert (found.cpu_millis, found.throttled_ms) == (None, None)


def test_samples_wait_in_stretches_under_one_limit_and_are_given_out_once() -> None:
    meter = Meter()
    for after, limit in ((0, 64), (1, 64), (2, 32)):
        meter.note("web", usage(after, memory_limit_bytes=limit))
    meter.note("web", usage(2, memory_limit_bytes=32))

    taken = meter.take()

    assert [(one.service, len(one.samples)) for one in taken] == [("web", 2), ("web", 1)]
    assert meter.take() == []


def test_what_could_not_be_written_waits_before_what_came_since_and_is_bounded() -> None:
    meter = Meter()
    meter.note("web", usage(0))
    failed = meter.take()
    for after in range(1, MOST_WAITING + 1):
        meter.note("web", usage(after))

    meter.put_back(failed)

    (stretch,) = meter.take()
    assert len(stretch.samples) == MOST_WAITING
    assert stretch.samples[0].at == START + timedelta(seconds=1)


@pytest.mark.django_db
def test_a_stretch_is_one_row() -> None:
    record = add_environment(make_run(), {"web": (0, 0, None)})
    service = EnvironmentService.objects.get(environment=record, name="web")
    meter = Meter()
    meter.note("web", usage(0, memory_limit_bytes=64 * MEBIBYTE))
    meter.note("web", usage(1.25, cpu_ns=250_000_000, memory_limit_bytes=64 * MEBIBYTE))
    meter.note("unheard-of", usage(0))

    records.save_usage(record, meter.take())

    assert ServiceUsage.objects.aggregate(count=Count("pk")) == {"count": 1}
    row = ServiceUsage.objects.get(service=service)
    assert row.began_at == START
    assert (row.offsets_ms, row.memory_kib, row.cpu_millis) == ([0, 1250], [1024, 1024], [None, 200])
    assert (row.throttled_ms, row.memory_limit_bytes) == ([None, None], 64 * MEBIBYTE)


def test_docker_counts_no_file_cache_and_takes_the_machines_memory_for_no_limit() -> None:
    said = {
        "read": "2026-01-02T03:04:05.123456789Z",
        "memory_stats": {"usage": 1000, "limit": 8000, "stats": {"total_inactive_file": 300}},
        "cpu_stats": {"cpu_usage": {"total_usage": 7}, "throttling_data": {"throttled_time": 9}},
    }
    second = said | {"memory_stats": {"usage": 1000, "limit": 2000, "stats": {"inactive_file": 200}}}
    ended = {"read": "0001-01-01T00:00:00Z", "memory_stats": {}, "cpu_stats": {}}
    text = b"".join(json.dumps(one).encode() + b"\n" for one in (said, ended, second))

    found = list(samples(iter([text[:100], text[100:]]), 8000))

    assert [(one.memory_bytes, one.memory_limit_bytes) for one in found] == [(700, None), (800, 2000)]
    assert {(one.cpu_ns, one.throttled_ns) for one in found} == {(7, 9)}
