"""notification-service: tells a customer once about each paid order, however often the event arrives."""

from __future__ import annotations

import os
import sys
import threading

import psycopg
import redis

from shop import events
from shop.database import Pool
from shop.web import Answer, Request, Service, serve

GROUP = "notification-service"
CONSUMER = "consumer-1"


def notification_service(pool: Pool, *, token: str) -> Service:
    service = Service("notification-service", token=token)

    @service.route("GET", "/health", public=True)
    def health(_request: Request) -> Answer:
        with pool.transaction() as connection:
            connection.execute("SELECT FROM notifications.notification LIMIT 1")
        return Answer(200, {"status": "ok"})

    @service.route("GET", "/notifications")
    def list_notifications(request: Request) -> Answer:
        with pool.transaction() as connection:
            found = connection.execute(
                "SELECT event_id::text, order_id::text, user_id, text, delivery_count"
                " FROM notifications.notification WHERE order_id::text = %s ORDER BY created_at",
                (request.query.get("order_id", ""),),
            ).fetchall()
        return Answer(200, found)

    return service


class Consumer:
    """Reads the stream as a member of a group: what it has not acknowledged is delivered again."""

    def __init__(self, pool: Pool, queue: redis.Redis) -> None:
        self._pool = pool
        self._queue = queue
        self._pause = threading.Event()

    def run(self) -> None:
        while True:
            try:
                self._join_group()
                # First what was delivered before a crash and never acknowledged, then what is new.
                while self._consume("0"):
                    pass
                while True:
                    self._consume(">")
            except (redis.RedisError, psycopg.OperationalError) as error:
                print(f"notification-service: will try again: {error}", file=sys.stderr, flush=True)
                self._pause.wait(0.2)

    def _join_group(self) -> None:
        try:
            self._queue.xgroup_create(events.STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _consume(self, position: str) -> int:
        """Handle what the stream has from `position` on; returns how many events that were."""
        answer = self._queue.xreadgroup(GROUP, CONSUMER, {events.STREAM: position}, count=50, block=1000)
        entries = [entry for _stream, batch in answer for entry in batch]
        for entry_id, values in entries:
            self._handle(values)
            self._queue.xack(events.STREAM, GROUP, entry_id)
        return len(entries)

    def _handle(self, values: dict[str, str]) -> None:
        try:
            event = events.OrderPaid.decoded(values.get("body", ""))
        except ValueError as error:
            # Set aside: one event that nobody can read must not hold up those behind it.
            self._queue.xadd(events.DEAD_LETTERS, {**values, "reason": str(error)}, maxlen=1000)
            return
        with self._pool.transaction() as connection:
            connection.execute(
                "INSERT INTO notifications.notification (event_id, order_id, user_id, text)"
                " VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (event_id) DO UPDATE SET delivery_count = notification.delivery_count + 1",
                (
                    event.event_id,
                    event.order_id,
                    event.user_id,
                    f"Thank you: {event.total_cents / 100:.2f} EUR received for order {event.order_id}.",
                ),
            )


def main() -> None:
    pool = Pool(os.environ["DATABASE_URL"])
    consumer = Consumer(pool, events.connect(os.environ["QUEUE_URL"]))
    serve(notification_service(pool, token=os.environ["SHOP_TOKEN"]), beside=consumer.run)


if __name__ == "__main__":
    main()
