"""order-service: takes an order, has user-service charge it, announces it.

That an order is paid and the event about it are written in one transaction (an outbox), so that an event is
neither lost when the queue is down nor sent for an order that was rolled back. It may be sent twice, when
the service dies between sending and noting that it did: consumers look at `event_id`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import redis

from shop import events
from shop.database import Connection, Pool
from shop.fields import items, text, whole
from shop.web import Answer, ProblemError, Request, Service, serve


def order_service(pool: Pool, users: UserService, outbox: Outbox, *, token: str) -> Service:
    service = Service("order-service", token=token)

    @service.route("GET", "/health", public=True)
    def health(_request: Request) -> Answer:
        with pool.transaction() as connection:
            connection.execute("SELECT FROM orders.purchase LIMIT 1")
        return Answer(200, {"status": "ok"})

    @service.route("POST", "/orders")
    def create_order(request: Request) -> Answer:
        order = _read_order(request)
        with pool.transaction() as connection:
            _write_order(connection, order)
        try:
            users.debit(order.user_id, order.total_cents, reference=f"order {order.id}")
        except ProblemError as problem:
            # Without an answer the money may have moved all the same: that order stays "placed".
            if problem.status < 500:
                with pool.transaction() as connection:
                    _mark_refused(connection, order)
            raise
        with pool.transaction() as connection:
            _mark_paid(connection, order)
        outbox.wake()
        return Answer(201, {"id": order.id, "status": "paid", "total_cents": order.total_cents})

    @service.route("GET", "/orders/{id}")
    def show_order(request: Request) -> Answer:
        with pool.transaction() as connection:
            order = connection.execute(
                "SELECT id::text, user_id, status, total_cents, currency,"
                " (SELECT json_agg(line ORDER BY sku) FROM"
                "   (SELECT sku, quantity, price_cents FROM orders.line WHERE order_id = purchase.id) AS line"
                " ) AS lines"
                " FROM orders.purchase WHERE id::text = %s",
                (request.path["id"],),
            ).fetchone()
        if order is None:
            raise ProblemError(404, f"There is no order {request.path['id']}.")
        return Answer(200, order)

    return service


@dataclass(frozen=True, slots=True)
class Line:
    sku: str
    quantity: int
    price_cents: int


@dataclass(frozen=True, slots=True)
class Order:
    id: str
    user_id: int
    lines: tuple[Line, ...]

    @property
    def total_cents(self) -> int:
        return sum(line.quantity * line.price_cents for line in self.lines)


def _read_order(request: Request) -> Order:
    lines = [
        Line(
            text(line, "sku"),
            whole(line, "quantity", least=1, most=10_000),
            whole(line, "price_cents", least=1),
        )
        for line in items(request.body, "lines")
    ]
    if len({line.sku for line in lines}) < len(lines):
        raise ProblemError(400, "lines must name each sku once.")
    return Order(str(uuid4()), whole(request.body, "user_id", least=1), tuple(lines))


def _write_order(connection: Connection, order: Order) -> None:
    connection.execute(
        "INSERT INTO orders.purchase (id, user_id, total_cents) VALUES (%s, %s, %s)",
        (order.id, order.user_id, order.total_cents),
    )
    connection.cursor().executemany(
        "INSERT INTO orders.line (order_id, sku, quantity, price_cents) VALUES (%s, %s, %s, %s)",
        [(order.id, line.sku, line.quantity, line.price_cents) for line in order.lines],
    )


def _mark_refused(connection: Connection, order: Order) -> None:
    connection.execute("UPDATE orders.purchase SET status = 'refused' WHERE id = %s", (order.id,))


def _mark_paid(connection: Connection, order: Order) -> None:
    event = events.OrderPaid(str(uuid4()), order.id, order.user_id, order.total_cents)
    connection.execute("UPDATE orders.purchase SET status = 'paid' WHERE id = %s", (order.id,))
    connection.execute(
        "INSERT INTO orders.outbox (event_id, body) VALUES (%s, %s)", (event.event_id, event.encoded())
    )


class UserService:
    """What order-service asks of user-service."""

    def __init__(self, url: str, *, token: str, timeout_seconds: float = 3.0) -> None:
        self._url = url
        self._token = token
        self._timeout_seconds = timeout_seconds

    def debit(self, user_id: int, amount_cents: int, *, reference: str) -> None:
        """Take money from a user; a `ProblemError` when they have too little, or nobody answers."""
        request = urllib.request.Request(
            f"{self._url}/users/{user_id}/debits",
            data=json.dumps({"amount_cents": amount_cents, "reference": reference}).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds):
                return
        except urllib.error.HTTPError as error:
            if error.code == 402:
                raise ProblemError(402, "The user's balance does not cover the order.") from error
            if error.code == 404:
                raise ProblemError(422, f"There is no user {user_id}.") from error
            raise ProblemError(502, f"user-service answered {error.code}.") from error
        except OSError as error:
            raise ProblemError(503, "user-service cannot be reached; try again later.") from error


class Outbox:
    """Sends what the outbox holds: at once when woken, and every second for what did not go out."""

    def __init__(self, pool: Pool, queue: redis.Redis) -> None:
        self._pool = pool
        self._queue = queue
        self._woken = threading.Event()

    def wake(self) -> None:
        self._woken.set()

    def run(self) -> None:
        while True:
            self._woken.wait(timeout=1.0)
            self._woken.clear()
            try:
                self.send_pending()
            except (redis.RedisError, psycopg.OperationalError) as error:
                print(f"order-service: events wait in the outbox: {error}", file=sys.stderr, flush=True)

    def send_pending(self) -> None:
        with self._pool.transaction() as connection:
            pending = connection.execute(
                "SELECT event_id, body FROM orders.outbox WHERE sent_at IS NULL"
                " ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED"
            ).fetchall()
            for event in pending:
                events.publish(self._queue, json.dumps(event["body"]))
            connection.execute(
                "UPDATE orders.outbox SET sent_at = now() WHERE event_id = ANY(%s)",
                ([event["event_id"] for event in pending],),
            )


def main() -> None:
    pool = Pool(os.environ["DATABASE_URL"])
    token = os.environ["SHOP_TOKEN"]
    users = UserService(os.environ["USER_SERVICE_URL"], token=token)
    outbox = Outbox(pool, events.connect(os.environ["QUEUE_URL"]))
    serve(order_service(pool, users, outbox, token=token), beside=outbox.run)


if __name__ == "__main__":
    main()
