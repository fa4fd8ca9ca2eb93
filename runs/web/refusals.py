"""What an action refused, said on the page that comes next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib import messages
from django.http import HttpRequest

from runs.actions.errors import ActionError


@contextmanager
def refusals_told(request: HttpRequest) -> Iterator[None]:
    """Act within it: what is refused ends the block and is told on the next page."""
    try:
        yield
    except ActionError as error:
        messages.error(request, str(error))
