"""Make accounts and change them."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import F

from runs.actions.errors import InvalidValueError
from runs.actions.locks import Lock, wait_for
from runs.models import User


def create_first_account(*, username: str, email: str, password: str) -> User | None:
    """Make the installation's administrator; None when any account exists already."""
    with transaction.atomic():
        # Two callers cannot both be first.
        wait_for(Lock.FIRST_ACCOUNT)
        if User.objects.exists():
            return None
        return User.objects.create_superuser(username=username, email=email, password=password)


def create_account(*, username: str, email: str, password: str) -> User:
    """Make an account that administers nothing.

    Raises:
        InvalidValueError: somebody has that user name.
    """
    try:
        with transaction.atomic():
            return User.objects.create_user(username=username, email=email, password=password)
    except IntegrityError as error:
        message = "Somebody has this user name already. Choose another."
        raise InvalidValueError("username", message) from error


def change_profile(*, user: User, first_name: str, last_name: str, email: str) -> None:
    """Keep how a person is called and reached."""
    user.first_name, user.last_name, user.email = first_name, last_name, email
    user.save(update_fields=["first_name", "last_name", "email"])


def change_password(*, user: User, password: str) -> None:
    """Give a person another password; every session that knows the old one ends."""
    user.set_password(password)
    user.save(update_fields=["password"])


def switch_shortcuts(*, user: User, has_shortcuts: bool) -> None:
    """Turn single-key shortcuts on or off for a person."""
    user.has_shortcuts = has_shortcuts
    user.save(update_fields=["has_shortcuts"])


def end_sessions(*, user: User) -> None:
    """Sign a person out everywhere, this browser included unless it is told of the new generation."""
    User.objects.filter(pk=user.pk).update(session_generation=F("session_generation") + 1)
    user.refresh_from_db(fields=["session_generation"])
