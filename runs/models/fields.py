"""Columns that Django has no field for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    _Text = models.CharField[str, str]
else:
    _Text = models.CharField


class OutcomeField(_Text):
    """A result's outcome as PostgreSQL's enumeration `runs_outcome`: four bytes, and no other value fits.

    To Python and in SQL literals it is text; a text column or parameter with a type must be cast to it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the class it extends
        kwargs["max_length"] = 7
        super().__init__(*args, **kwargs)

    def db_type(self, connection: BaseDatabaseWrapper) -> str:  # noqa: ARG002 - there is one database
        """Name the type, also where Django casts parameters."""
        return "runs_outcome"

    def cast_db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Name the type that expressions are cast to."""
        return self.db_type(connection)
