"""What customers see while a service is down, and that all is well once it is back.

These tests stop real services, through itdash's control API; run by hand they are skipped.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.client import Client, eventually
from tests.control import Control


@pytest.fixture
def user(make_user: Callable[..., int]) -> int:
    return make_user(balance_cents=900)


def order_of(user: int) -> dict[str, object]:
    return {"user_id": user, "lines": [{"sku": "tea", "quantity": 1, "price_cents": 450}]}


def test_without_user_service_an_order_is_refused_and_works_again_afterwards(
    control: Control, users: Client, orders: Client, user: int
) -> None:
    with control.stopped("user-service"):
        refused = orders.post("/orders", order_of(user))
        assert refused.status == 503
        assert "user-service" in refused.body["detail"]

    assert users.get(f"/users/{user}").body["balance_cents"] == 900
    assert orders.post("/orders", order_of(user)).status == 201


def test_what_was_ordered_while_notification_service_was_down_is_announced_when_it_is_back(
    control: Control, orders: Client, notifications: Client, user: int
) -> None:
    with control.stopped("notification-service"):
        placed = orders.post("/orders", order_of(user))
        assert placed.status == 201

    path = f"/notifications?order_id={placed.body['id']}"
    assert len(eventually(lambda: notifications.get(path).body)) == 1


def test_what_was_ordered_while_the_queue_was_down_is_announced_when_it_is_back(
    control: Control, orders: Client, notifications: Client, user: int
) -> None:
    with control.stopped("valkey"):
        placed = orders.post("/orders", order_of(user))
        assert placed.status == 201

    path = f"/notifications?order_id={placed.body['id']}"
    assert len(eventually(lambda: notifications.get(path).body)) == 1
