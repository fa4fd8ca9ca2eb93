"""The shape of what the API answers."""

from __future__ import annotations

from pydantic import BaseModel


class Answer(BaseModel):
    """An answer, or a part of one, made of named values that are checked once.

    The framework's own `Schema` also reads rows of the database and looks at each part again with every whole
    that it is in, field by field in Python: a list of a thousand failures took 150 ms (docs/decisions/0233).
    What a caller sends stays a `Schema`.
    """
