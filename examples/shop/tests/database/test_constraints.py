"""The rules that hold whatever a service gets wrong, because the database holds them."""

from __future__ import annotations

import pytest
from psycopg import errors

from tests.conftest import Connection

ORDER = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def shop(schema: Connection) -> Connection:
    """A user with 1000 cents and an order with one line."""
    schema.execute(
        "INSERT INTO users.account (email, name, balance_cents) VALUES ('ada@example.org', 'Ada', 1000)"
    )
    schema.execute("INSERT INTO orders.purchase (id, user_id, total_cents) VALUES (%s, 1, 450)", (ORDER,))
    schema.execute(
        "INSERT INTO orders.line (order_id, sku, quantity, price_cents) VALUES (%s, 'tea', 1, 450)", (ORDER,)
    )
    return schema


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE users.account SET balance_cents = -1", "account_balance_is_never_negative"),
        ("UPDATE users.account SET name = ' '", "account_name_is_not_blank"),
        (
            "INSERT INTO users.account (email, name) VALUES ('ADA@example.org', 'Ada')",
            "account_email_is_unique_in_any_case",
        ),
        ("UPDATE orders.line SET quantity = 0", "line_quantity_is_positive"),
        ("UPDATE orders.line SET price_cents = -1", "line_price_is_not_negative"),
        ("INSERT INTO orders.line SELECT * FROM orders.line", "line_pkey"),
        ("UPDATE orders.purchase SET total_cents = -1", "purchase_total_is_not_negative"),
        ("UPDATE orders.purchase SET status = 'lost'", "purchase_status_is_known"),
        ("UPDATE orders.purchase SET currency = 'euro'", "purchase_currency_is_a_code"),
    ],
    ids=lambda value: value if "_" in value and " " not in value else "",
)
def test_the_database_refuses(shop: Connection, statement: str, constraint: str) -> None:
    with pytest.raises(errors.IntegrityError) as refusal:
        shop.execute(statement.encode())

    assert refusal.value.diag.constraint_name == constraint


def test_a_line_needs_its_order(shop: Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        shop.execute(
            "INSERT INTO orders.line (order_id, sku, quantity, price_cents)"
            " VALUES (gen_random_uuid(), 'tea', 1, 1)"
        )


def test_lines_go_with_their_order(shop: Connection) -> None:
    shop.execute("DELETE FROM orders.purchase WHERE id = %s", (ORDER,))

    assert shop.execute("SELECT FROM orders.line").fetchall() == []
