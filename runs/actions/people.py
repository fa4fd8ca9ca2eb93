"""Make accounts."""

from __future__ import annotations

from django.db import connection, transaction

from runs.models import User

#: Held while the first account is made, so that two callers cannot both be first.
_FIRST_ACCOUNT_LOCK = 0x17DA5400


def create_first_account(*, username: str, email: str, password: str) -> User | None:
    """Make the installation's administrator; None when any account exists already."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_FIRST_ACCOUNT_LOCK])
        if User.objects.exists():
            return None
        return User.objects.create_superuser(username=username, email=email, password=password)
