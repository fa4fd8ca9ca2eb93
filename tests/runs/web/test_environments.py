"""What the environments' pages say, live and after they are gone, and what tearing one down does."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from environments.models import Environment, EnvironmentState
from runs.models import Event, Run
from runs.vocabulary import Outcome, Role, RunStatus
from tests.factories import NOW, make_event, make_member, make_project, make_run, make_suite
from tests.rows import add_environment, add_log, add_results
from tests.storms import add_storm, end_environment

pytestmark = pytest.mark.django_db


def shop_run(status: RunStatus = RunStatus.FAILED, **values: object) -> Run:
    project = make_project("shop", visibility="public", repository_url="https://git.example.org/shop.git")
    return make_run(make_suite(project, "checkout"), status=status, started_at=NOW, **values)


def address(environment: Environment, then: str = "") -> str:
    return f"/p/shop/environments/{environment.name}/{then}"


def text_of(client: Client, where: str) -> str:
    """What a page says: tags aside, white space folded."""
    answer = client.get(where)
    assert answer.status_code in {200, 286}, answer.status_code
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def verdict(client: Client, where: str) -> str:
    found = re.search(r'<p class="verdict">(.*?)</p>', client.get(where).content.decode(), re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]+>", "", found[1]).split())


def hold(environment: Environment) -> None:
    later = timezone.now() + timedelta(hours=1)
    Environment.objects.filter(pk=environment.pk).update(lease_expires_at=later, expires_at=later)


def test_a_storm_is_told_with_what_the_tests_did_kept_apart(client: Client) -> None:
    run = shop_run()
    add_results(
        run, {"test_create": Outcome.PASSED, "test_refund": Outcome.FAILED, "test_pay_later": Outcome.FAILED}
    )
    environment = add_storm(run)

    assert verdict(client, address(environment)) == (
        "Everything was well except order-service, which ran out of memory at 08:00:20 and was well again at "
        "08:00:26. The tests disturbed it on purpose 1 time; that is not held against any service."
    )
    page = text_of(client, address(environment))
    # test_pay_later ran from 28 to 31 s, the pause began at 29.9 s; test_refund had ended by then.
    assert "Paused payment-service 08:00:29.900 to 08:00:41.000 1" in page
    assert "Failing tests" in page
    assert "Digest" in page
    assert "4f4f4f4f4f4f" in page


def test_one_that_was_well_throughout_says_so(client: Client) -> None:
    environment = add_environment(shop_run(RunStatus.PASSED), {"postgres": (0.2, 0.3, 1.1)}, ready_after=2.5)
    end_environment(environment, NOW + timedelta(seconds=30))

    assert verdict(client, address(environment)) == (
        "Its service was ready after 2.5 s and nothing went wrong by itself until the end."
    )
    assert ">Digest</th>" not in client.get(address(environment)).content.decode()


def test_while_it_lives_it_says_where_published_ports_are_reached(client: Client) -> None:
    environment = add_environment(shop_run(RunStatus.RUNNING), {"web": (0.1, 0.2, 0.9)}, ready_after=1)
    hold(environment)
    environment.services.update(published={"8080/tcp": "127.0.0.1:32768", "53/udp": "127.0.0.1:32769"})

    page = text_of(client, address(environment))
    assert "8080/tcp at 127.0.0.1:32768" in page
    assert "53/udp at 127.0.0.1:32769" in page

    end_environment(environment, NOW + timedelta(seconds=30))
    assert "32768" not in text_of(client, address(environment))


def test_one_that_could_not_be_brought_up_says_why(client: Client) -> None:
    environment = add_environment(shop_run(RunStatus.ERRORED), {"postgres": (0.2, 0.3, None)})
    Environment.objects.update(
        failure_kind="never_healthy", error="postgres never became healthy.\nrole shop?"
    )
    environment.refresh_from_db()
    end_environment(environment, NOW + timedelta(seconds=30))

    page = text_of(client, address(environment))

    assert "It failed, not the tests. postgres never became healthy." in page
    assert "role shop?" in page
    assert "Never ready" in page


def test_while_it_comes_up_it_says_what_is_waited_for(client: Client) -> None:
    run = shop_run(RunStatus.PREPARING)
    environment = add_environment(run, {"postgres": (0.1, 0.2, 0.9), "orders": (0.2, 1.0, None)})
    hold(environment)

    assert "1 of 2 services ready, waiting for orders." in verdict(client, address(environment))


def test_a_service_that_was_stopped_by_the_tests_is_not_blamed_and_one_that_died_is(client: Client) -> None:
    run = shop_run(RunStatus.RUNNING)
    environment = add_environment(run, {"stock": (0, 0.1, 0.2), "orders": (0, 0.1, 0.2)}, ready_after=1)
    hold(environment)
    for at, service, kind, data in (
        (5, "stock", "control", {"action": "stop"}),
        (6, "stock", "service_exited", {"exit_code": 143}),
        (7, "orders", "service_exited", {"exit_code": 3}),
    ):
        make_event(run, kind, service=service, shard=1, at=NOW + timedelta(seconds=at), data=data)

    assert verdict(client, address(environment)) == (
        "Everything is well except orders, which ended with exit code 3 at 08:00:07 and is not back yet. "
        "The tests disturbed it on purpose 1 time; that is not held against any service."
    )


def test_the_part_that_is_asked_for_stops_asking_once_it_is_gone(client: Client) -> None:
    environment = add_storm(shop_run(RunStatus.RUNNING), is_gone=False)
    hold(environment)

    living = client.get(address(environment, "live/"))
    assert living.status_code == 200
    assert b'hx-trigger="every 3s"' in living.content
    assert b"<html" not in living.content
    assert b'hx-swap-oob="true"' in living.content

    end_environment(environment, NOW + timedelta(seconds=50))
    gone = client.get(address(environment, "live/"))
    assert gone.status_code == 286
    assert b"every 3s" not in gone.content


def test_only_the_log_of_its_own_time_is_shown(client: Client) -> None:
    run = shop_run()
    environment = add_storm(run)
    add_log(run, "orders", "of this try", at=NOW + timedelta(seconds=5))
    add_log(run, "orders", "of the next try", at=NOW + timedelta(minutes=5))

    page = text_of(client, address(environment))

    assert "of this try" in page
    assert "of the next try" not in page
    assert "of this try" in text_of(client, address(environment) + "?source=orders")


def test_the_list_counts_what_exists_and_what_failed(client: Client) -> None:
    run = shop_run()
    add_storm(run)
    second = make_run(run.suite, status=RunStatus.RUNNING, started_at=NOW)
    hold(add_environment(second, {"postgres": (0.1, 0.2, 0.9)}, ready_after=1))
    make_run(run.suite, status=RunStatus.PASSED)
    strange = make_run(make_suite(), status=RunStatus.PASSED)
    foreign = add_environment(strange, {"postgres": (0.1, 0.2, 0.9)}, ready_after=1)

    page = text_of(client, "/p/shop/environments/")

    assert "1 environment exists now. Of the 2 listed none failed to come up." in page
    assert "order-service" in page
    assert foreign.name not in page
    assert client.get(address(foreign)).status_code == 404


def test_environments_of_earlier_runs_are_a_page_further(client: Client) -> None:
    first = shop_run()
    oldest = add_environment(first, {}, ready_after=1)
    for _ in range(30):
        add_environment(make_run(first.suite, status=RunStatus.PASSED), {}, ready_after=1)

    assert oldest.name not in text_of(client, "/p/shop/environments/")
    assert "?before=2" in client.get("/p/shop/environments/").content.decode()
    assert oldest.name in text_of(client, "/p/shop/environments/?before=2")
    assert text_of(client, "/p/shop/environments/?before=x")


def test_tearing_down_asks_the_run_to_end(client: Client) -> None:
    run = shop_run(RunStatus.RUNNING)
    environment = add_storm(run, is_gone=False)
    hold(environment)
    client.force_login(make_member(run.project, Role.MEMBER))
    assert "Tear this environment down?" in text_of(client, address(environment))

    assert client.post(address(environment, "tear-down/")).status_code == 302

    run.refresh_from_db()
    assert run.cancel_requested_at is not None
    assert Event.objects.filter(run=run, kind="cancel_requested", message__contains=environment.name).exists()


def test_one_whose_run_is_finished_is_left_to_the_reaper(client: Client) -> None:
    run = shop_run(RunStatus.PASSED)
    environment = add_storm(run, is_gone=False)
    hold(environment)
    client.force_login(make_member(run.project, Role.MEMBER))

    client.post(address(environment, "tear-down/"))

    assert not Environment.objects.held(timezone.now()).exists()
    assert "Nobody holds it any more." in text_of(client, address(environment))


def test_an_earlier_try_is_left_to_the_reaper_and_its_run_goes_on(client: Client) -> None:
    run = shop_run(RunStatus.RUNNING)
    environment = add_storm(run, is_gone=False)
    hold(environment)
    Environment.objects.create(
        name="itd-next-1",
        instance=environment.instance,
        owner=environment.owner,
        fence=2,
        engine="docker",
        lease_expires_at=timezone.now() + timedelta(hours=1),
        expires_at=timezone.now() + timedelta(hours=1),
    )
    client.force_login(make_member(run.project, Role.MEMBER))

    client.post(address(environment, "tear-down/"))

    run.refresh_from_db()
    assert run.cancel_requested_at is None
    held = Environment.objects.held(timezone.now())
    assert [each.name for each in held] == ["itd-next-1"]


def test_what_is_gone_cannot_be_torn_down(client: Client) -> None:
    run = shop_run(RunStatus.RUNNING)
    environment = add_storm(run)
    client.force_login(make_member(run.project, Role.MEMBER))

    answer = client.post(address(environment, "tear-down/"), follow=True)

    assert "is gone; there is nothing to tear down" in answer.content.decode()
    run.refresh_from_db()
    assert run.cancel_requested_at is None
    assert Environment.objects.get().state == EnvironmentState.REMOVED
