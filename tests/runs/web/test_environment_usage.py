"""What an environment's page says and draws of memory and processors, and what it does not invent."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from runs.models import Run
from runs.vocabulary import RunStatus
from tests.factories import NOW, make_project, make_run, make_suite
from tests.rows import add_environment
from tests.storms import add_storm, add_usage

pytestmark = pytest.mark.django_db


def shop_run() -> Run:
    project = make_project("shop", visibility="public")
    return make_run(make_suite(project, "checkout"), status=RunStatus.FAILED, started_at=NOW)


def section(client: Client, name: str) -> str:
    page = client.get(f"/p/shop/environments/{name}/").content.decode()
    found = re.search(r'<section aria-labelledby="u-h">.*?</section>', page, re.DOTALL)
    assert found
    return found[0]


def words(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_the_service_that_ran_out_of_memory_is_told_and_drawn_against_its_limit(client: Client) -> None:
    drawn = section(client, add_storm(shop_run()).name)

    # 16 MiB and 12 more in each of 19 seconds are 244 MiB. 19 and 11 rates of 100 ms are 3 s.
    assert (
        "order-service held at most 244 MiB of the 256 MiB it may hold, and a process of it was killed for "
        "want of memory." in words(drawn)
    )
    assert "order-service 244 MiB 256 MiB 0.25 0.25 3.0 s 32" in words(drawn)
    assert "payment-service 64 MiB none 0.25 0.25 3.9 s 40" in words(drawn)
    assert "limit 256 MiB" in drawn
    (red,) = re.findall(r'<path class="c-bad"[^>]* d="([^"]*)"', drawn)
    # Between 23 and 30 s it was not seen: nothing is drawn there.
    assert red.count("M") == 2
    assert len(re.findall('<path class="c-ink2"', drawn)) == 1
    assert len(re.findall('<rect class="g-fault" opacity', drawn)) == 1


def test_where_nothing_was_measured_nothing_is_drawn(client: Client) -> None:
    environment = add_environment(shop_run(), {"db": (0.1, 0.2, 0.9)}, ready_after=1.0)

    drawn = section(client, environment.name)

    assert "Nothing has been measured yet" in words(drawn)
    assert "<svg" not in drawn


def test_a_single_sample_is_seen_and_has_no_rates(client: Client) -> None:
    environment = add_environment(shop_run(), {"db": (0.1, 0.2, 0.9)}, ready_after=1.0)
    add_usage(environment, "db", [30], since=1, limit_mib=1024)

    drawn = section(client, environment.name)

    assert "db 30 MiB 1 GiB not known not known not known 1" in words(drawn)
    (line,) = re.findall(r'<path class="c-line"[^>]* d="([^"]*)"', drawn)
    assert line.endswith("h2")
    # A limit far above would press the line flat: it is said in words alone.
    assert "limit 1 GiB" not in drawn
    assert "30 MiB of the 1 GiB it may hold" in words(drawn)


def test_of_many_samples_the_highest_are_drawn(client: Client) -> None:
    environment = add_environment(shop_run(), {"db": (0.1, 0.2, 0.9)}, ready_after=1.0)
    add_usage(environment, "db", [10] * 1500 + [100] + [10] * 1500, since=1)

    drawn = section(client, environment.name)

    assert "db 100 MiB none" in words(drawn)
    (line,) = re.findall(r'<path class="c-line"[^>]* d="([^"]*)"', drawn)
    assert line.count("L") <= 240
    # The axis ends at 128 MiB, 206 units high from 8: 100 MiB lie at 8 + 206 * 28 / 128.
    assert " 53.06" in line
