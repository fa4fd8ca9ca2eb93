"""The events that services tell each other, on a Valkey stream."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from uuid import UUID

import redis

STREAM = "shop:events"
#: Where the consumer puts what it cannot read, for a person to look at.
DEAD_LETTERS = "shop:events:dead"


@dataclass(frozen=True, slots=True)
class OrderPaid:
    """An order was paid. `event_id` stays the same however often the event is delivered."""

    event_id: str
    order_id: str
    user_id: int
    total_cents: int

    def encoded(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, body: str) -> OrderPaid:
        """Read an event; `ValueError` says what is wrong with it."""
        try:
            event = cls(**json.loads(body))
            UUID(event.event_id), UUID(event.order_id), int(event.user_id), int(event.total_cents)
        except (TypeError, AttributeError) as error:
            message = f"not an order.paid event: {error}"
            raise ValueError(message) from error
        return event


def connect(url: str) -> redis.Redis:
    # Protocol 2 answers in lists, whatever the version of the driver prefers.
    return redis.Redis.from_url(url, decode_responses=True, protocol=2, socket_connect_timeout=2)


def publish(queue: redis.Redis, body: str) -> None:
    queue.xadd(STREAM, {"body": body}, maxlen=100_000)
