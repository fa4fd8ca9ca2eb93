"""order-service and user-service together: an order is charged once, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client import Client
from tests.conftest import Connection

LINES = [
    {"sku": "tea", "quantity": 2, "price_cents": 450},
    {"sku": "cup", "quantity": 1, "price_cents": 1200},
]


def test_an_order_charges_the_user_and_can_be_read_back(
    users: Client, orders: Client, make_user: Callable[..., int]
) -> None:
    user = make_user(balance_cents=5000)

    placed = orders.post("/orders", {"user_id": user, "lines": LINES})

    assert placed.status == 201
    # 2 * 450 + 1200
    assert placed.body["total_cents"] == 2100
    assert users.get(f"/users/{user}").body["balance_cents"] == 2900
    assert orders.get(f"/orders/{placed.body['id']}").body == {
        "id": placed.body["id"],
        "user_id": user,
        "status": "paid",
        "total_cents": 2100,
        "currency": "EUR",
        "lines": [LINES[1], LINES[0]],
    }


def test_an_order_the_balance_does_not_cover_is_refused_and_leaves_the_balance_alone(
    users: Client, orders: Client, make_user: Callable[..., int], database: Connection
) -> None:
    user = make_user(balance_cents=2099)

    refused = orders.post("/orders", {"user_id": user, "lines": LINES})

    assert refused.status == 402
    assert users.get(f"/users/{user}").body["balance_cents"] == 2099
    statuses = database.execute("SELECT status FROM orders.purchase WHERE user_id = %s", (user,)).fetchall()
    assert statuses == [("refused",)]


def test_an_order_for_a_user_who_does_not_exist_is_refused(orders: Client) -> None:
    refused = orders.post("/orders", {"user_id": 999_999_999, "lines": LINES})

    assert refused.status == 422
    assert "999999999" in refused.body["detail"]


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([], "lines"),
        ("tea", "lines"),
        ([{"sku": "tea", "quantity": 0, "price_cents": 450}], "quantity"),
        ([{"sku": "tea", "quantity": True, "price_cents": 450}], "quantity"),
        ([{"sku": "tea", "quantity": 1, "price_cents": -450}], "price_cents"),
        ([{"quantity": 1, "price_cents": 450}], "sku"),
        ([LINES[0], LINES[0]], "sku"),
    ],
    ids=["none", "a-text", "no-tea", "true-tea", "negative-price", "no-sku", "sku-twice"],
)
def test_bad_lines_are_refused_before_anything_is_charged(
    users: Client, orders: Client, make_user: Callable[..., int], lines: object, field: str
) -> None:
    user = make_user(balance_cents=5000)

    refused = orders.post("/orders", {"user_id": user, "lines": lines})

    assert refused.status == 400
    assert field in refused.body["detail"]
    assert users.get(f"/users/{user}").body["balance_cents"] == 5000


def test_an_unknown_order_is_missing(orders: Client) -> None:
    assert orders.get("/orders/00000000-0000-0000-0000-000000000000").status == 404


def test_a_stranger_places_no_order(orders: Client, make_user: Callable[..., int]) -> None:
    stranger = Client(orders.url, token="")

    assert stranger.post("/orders", {"user_id": make_user(5000), "lines": LINES}).status == 401
