from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import redis

from shop import events
from tests.client import Client


@pytest.fixture(scope="session")
def users() -> Client:
    return Client(os.environ["USER_SERVICE_URL"], os.environ["SHOP_TOKEN"])


@pytest.fixture(scope="session")
def orders() -> Client:
    return Client(os.environ["ORDER_SERVICE_URL"], os.environ["SHOP_TOKEN"])


@pytest.fixture(scope="session")
def notifications() -> Client:
    return Client(os.environ["NOTIFICATION_SERVICE_URL"], os.environ["SHOP_TOKEN"])


@pytest.fixture
def queue() -> Iterator[redis.Redis]:
    with events.connect(os.environ["QUEUE_URL"]) as connection:
        yield connection


@pytest.fixture
def email() -> str:
    """An address nobody has: tests share one database and need not clean up."""
    return f"{uuid4().hex}@example.org"


@pytest.fixture
def make_user(users: Client) -> Callable[..., int]:
    """Create a user with a balance; returns their id."""

    def make(balance_cents: int = 0) -> int:
        user = users.post("/users", {"email": f"{uuid4().hex}@example.org", "name": "Ada"})
        assert user.status == 201, user
        if balance_cents:
            deposit = {"amount_cents": balance_cents, "reference": uuid4().hex}
            assert users.post(f"/users/{user.body['id']}/deposits", deposit).status == 200
        return int(user.body["id"])

    return make
