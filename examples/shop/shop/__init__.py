"""A shop in three services: users with balances, orders that charge them, notifications of what was paid."""
