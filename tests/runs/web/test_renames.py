"""What looks renamed, as people and programs see and decide it."""

from __future__ import annotations

import pytest
from django.test import Client

from runs.actions.tokens import create_token
from runs.models import Project, Rename, TestCase
from runs.queries import rename_list
from runs.vocabulary import Role, Scope
from tests.factories import make_case, make_member, make_project, make_rename, make_suite

pytestmark = pytest.mark.django_db


def test_a_move_is_confirmed_as_a_whole_and_split_again(client: Client) -> None:
    project = make_project("shop")
    suite = make_suite(project)
    first = make_rename(suite)
    second = make_rename(
        suite, old=make_case(suite, "refunds"), new=make_case(suite, "refunds", class_name="shop.Basket")
    )
    client.force_login(make_member(project, Role.MEMBER))
    assert "2 tests look renamed." in client.get("/p/shop/tests/").content.decode()
    assert "Confirm all 2" in client.get("/p/shop/tests/renames/").content.decode()

    told = client.post(f"/p/shop/tests/renames/{first.pk}/confirm/", {"whole": "1"}, follow=True)

    assert "2 tests joined" in told.content.decode()
    assert client.get(f"/p/shop/tests/{first.new_id}/")["Location"] == f"/p/shop/tests/{first.old_id}/"
    assert ">shop.Cart<" not in client.get("/p/shop/tests/").content.decode()
    assert "Split again" in client.get("/p/shop/tests/renames/?view=decided").content.decode()
    client.post(f"/p/shop/tests/renames/{second.pk}/part/")
    assert dict(Rename.objects.values_list("pk", "status")) == {first.pk: "confirmed", second.pk: "parted"}
    again = client.post(f"/p/shop/tests/renames/{first.pk}/refuse/", follow=True)
    assert "It was decided before." in again.content.decode()


def test_moves_that_do_not_fit_are_on_the_next_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rename_list, "PAIRS_SHOWN", 2)
    project = make_project("shop")
    suite = make_suite(project)
    for new in ("Basket", "Bag", "Crate"):
        old = make_case(suite, f"{new}-test")
        make_rename(
            suite, old=old, new=make_case(suite, f"{new}-test", class_name=f"shop.{new}"), new_place=new
        )
    client.force_login(make_member(project, Role.MEMBER))

    first = client.get("/p/shop/tests/renames/").content.decode()
    second = client.get("/p/shop/tests/renames/?after=2").content.decode()

    assert "Moves 1 to 2 of 3, the largest first" in first
    assert 'href="/p/shop/tests/renames/?after=2"' in first
    assert "Move 3 of 3" in second
    shown = [
        new for page in (first, second) for new in ("Bag", "Basket", "Crate") if f"<bdi>{new}</bdi>" in page
    ]
    assert shown == ["Bag", "Basket", "Crate"]


def test_the_rule_is_set_where_moves_are_decided(client: Client) -> None:
    project = make_project("shop")
    client.force_login(make_member(project, Role.ADMIN))

    client.post("/p/shop/tests/renames/rule/", {"confirms_moves": "1"})
    assert Project.objects.get().confirms_moves
    client.post("/p/shop/tests/renames/rule/")
    assert not Project.objects.get().confirms_moves


def test_a_program_decides_over_http(client: Client) -> None:
    project = make_project("shop")
    rename = make_rename(make_suite(project, "s"))
    secret = create_token(project=project, scopes=[Scope.READ, Scope.MANAGE]).secret
    headers = {"Authorization": f"Bearer {secret}"}

    def decide(decision: str) -> tuple[int, object]:
        answer = client.post(
            f"/api/v1/renames/{rename.pk}",
            {"decision": decision, "whole_move": True},
            content_type="application/json",
            headers=headers,
        )
        return answer.status_code, answer.json().get("count")

    [item] = client.get("/api/v1/projects/shop/renames?status=proposed", headers=headers).json()["items"]
    assert (item["former"]["class_name"], item["present"]["class_name"]) == ("shop.Cart", "shop.Basket")
    assert decide("confirm") == (200, 1)
    assert decide("confirm") == (409, None)
    [item] = client.get("/api/v1/projects/shop/renames", headers=headers).json()["items"]
    assert (item["status"], item["former"]["id"], item["present"]["class_name"]) == (
        "confirmed",
        rename.new_id,
        "shop.Basket",
    )
    assert client.get(f"/api/v1/tests/{rename.new_id}", headers=headers).json()["id"] == rename.old_id
    assert decide("part") == (200, 1)
    assert TestCase.objects.get(pk=rename.old_id).class_name == "shop.Cart"
