"""user-service: who may buy, and with how much money."""

from __future__ import annotations

import os
import re

import psycopg

from shop.database import Connection, Pool
from shop.fields import text, whole
from shop.web import Answer, ProblemError, Request, Service, serve

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def user_service(pool: Pool, *, token: str) -> Service:
    service = Service("user-service", token=token)

    @service.route("GET", "/health", public=True)
    def health(_request: Request) -> Answer:
        with pool.transaction() as connection:
            connection.execute("SELECT FROM users.account LIMIT 1")
        return Answer(200, {"status": "ok"})

    @service.route("POST", "/users")
    def create_user(request: Request) -> Answer:
        email, name = text(request.body, "email"), text(request.body, "name")
        if not EMAIL.fullmatch(email):
            raise ProblemError(400, "email must look like name@example.org.")
        try:
            with pool.transaction() as connection:
                user = connection.execute(
                    "INSERT INTO users.account (email, name) VALUES (%s, %s)"
                    " RETURNING id, email, name, balance_cents",
                    (email, name),
                ).fetchone()
        except psycopg.errors.UniqueViolation as error:
            # Asking first and inserting then would let two at once both pass; the index does not.
            raise ProblemError(409, f"There is a user with the e-mail address {email}.") from error
        return Answer(201, user)

    @service.route("GET", "/users/{id}")
    def show_user(request: Request) -> Answer:
        with pool.transaction() as connection:
            return Answer(200, _user(connection, request))

    @service.route("POST", "/users/{id}/deposits")
    def deposit(request: Request) -> Answer:
        amount = whole(request.body, "amount_cents", least=1)
        return Answer(200, _move(pool, request, amount))

    @service.route("POST", "/users/{id}/debits")
    def debit(request: Request) -> Answer:
        amount = whole(request.body, "amount_cents", least=1)
        return Answer(200, _move(pool, request, -amount))

    return service


def _move(pool: Pool, request: Request, amount_cents: int) -> dict[str, object]:
    """Book an amount once per reference: a caller that heard no answer may ask again."""
    reference = text(request.body, "reference")
    with pool.transaction() as connection:
        user = _user(connection, request)
        booked = connection.execute(
            "INSERT INTO users.entry (reference, account_id, amount_cents) VALUES (%s, %s, %s)"
            " ON CONFLICT (reference) DO NOTHING",
            (reference, user["id"], amount_cents),
        )
        if booked.rowcount == 0:
            return _user(connection, request)
        # Condition and change in one statement: between two statements another debit would fit.
        changed = connection.execute(
            "UPDATE users.account SET balance_cents = balance_cents + %(amount)s"
            " WHERE id = %(id)s AND balance_cents + %(amount)s >= 0"
            " RETURNING id, email, name, balance_cents",
            {"amount": amount_cents, "id": user["id"]},
        ).fetchone()
        if changed is None:
            raise ProblemError(402, f"The balance does not cover {-amount_cents} cents.")
        return changed


def _user(connection: Connection, request: Request) -> dict[str, object]:
    identifier = request.path["id"]
    user = connection.execute(
        "SELECT id, email, name, balance_cents FROM users.account WHERE id::text = %s", (identifier,)
    ).fetchone()
    if user is None:
        raise ProblemError(404, f"There is no user {identifier}.")
    return user


if __name__ == "__main__":
    serve(user_service(Pool(os.environ["DATABASE_URL"]), token=os.environ["SHOP_TOKEN"]))
