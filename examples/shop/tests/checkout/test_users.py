"""user-service over HTTP: what it accepts, what it refuses, and what happens when many ask at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.client import Client


def test_a_new_user_can_be_read_back(users: Client, email: str) -> None:
    created = users.post("/users", {"email": email, "name": "Ada"})

    assert created.status == 201
    assert created.body == {"id": created.body["id"], "email": email, "name": "Ada", "balance_cents": 0}
    assert users.get(f"/users/{created.body['id']}").body == created.body


def test_the_same_address_again_is_a_conflict(users: Client, email: str) -> None:
    users.post("/users", {"email": email, "name": "Ada"})

    again = users.post("/users", {"email": email.upper(), "name": "Someone else"})

    assert again.status == 409
    assert email.upper() in again.body["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": "ada", "name": "Ada"}, "email"),
        ({"email": "ada@example.org"}, "name"),
        ({"email": "ada@example.org", "name": "   "}, "name"),
        ({"email": "ada@example.org", "name": 7}, "name"),
        ([], "object"),
    ],
    ids=["empty", "no-address", "no-name", "blank-name", "name-is-a-number", "a-list"],
)
def test_a_bad_user_is_refused_and_the_field_is_named(users: Client, body: object, field: str) -> None:
    refused = users.post("/users", body)

    assert refused.status == 400
    assert field in refused.body["detail"]


def test_a_body_that_is_not_json_is_refused(users: Client) -> None:
    assert users.post_raw("/users", b"{").status == 400


def test_an_unknown_user_is_missing(users: Client) -> None:
    assert users.get("/users/999999999").status == 404
    assert users.get("/users/ada").status == 404


def test_without_the_token_nobody_is_let_in(users: Client, email: str) -> None:
    stranger = Client(users.url, token="guessed")

    assert stranger.post("/users", {"email": email, "name": "Ada"}).status == 401
    assert users.post("/users", {"email": email, "name": "Ada"}).status == 201


def test_of_many_who_create_the_same_user_at_once_exactly_one_succeeds(users: Client, email: str) -> None:
    with ThreadPoolExecutor(max_workers=12) as people:
        attempts = [people.submit(users.post, "/users", {"email": email, "name": "Ada"}) for _ in range(12)]

    assert sorted(attempt.result().status for attempt in attempts) == [201] + [409] * 11


def test_concurrent_debits_never_overdraw_a_balance(users: Client, make_user: Callable[..., int]) -> None:
    user = make_user(balance_cents=1000)

    def debit(_: int) -> int:
        return users.post(f"/users/{user}/debits", {"amount_cents": 150, "reference": uuid4().hex}).status

    with ThreadPoolExecutor(max_workers=12) as people:
        statuses = sorted(people.map(debit, range(12)))

    # 1000 covers six debits of 150 and leaves 100.
    assert statuses == [200] * 6 + [402] * 6
    assert users.get(f"/users/{user}").body["balance_cents"] == 100


def test_the_same_debit_sent_twice_moves_money_once(users: Client, make_user: Callable[..., int]) -> None:
    user = make_user(balance_cents=1000)
    debit = {"amount_cents": 300, "reference": uuid4().hex}

    with ThreadPoolExecutor(max_workers=4) as people:
        answers = list(people.map(lambda _: users.post(f"/users/{user}/debits", debit), range(4)))

    assert [answer.status for answer in answers] == [200] * 4
    assert users.get(f"/users/{user}").body["balance_cents"] == 700
