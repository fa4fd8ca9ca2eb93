"""Refusals of actions: each message says what was expected and what to do."""

from __future__ import annotations


class ActionError(Exception):
    """An action refused; nothing was changed."""


class InvalidValueError(ActionError):
    """A value that cannot be: `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TakenError(ActionError):
    """What was asked for exists already, with other content."""


class NotPossibleError(ActionError):
    """Right value, wrong moment: for example cancelling a finished run."""


class RunLostError(ActionError):
    """The run has ended, or is another worker's by now: whoever worked on it writes nothing any more."""


class StorageAwayError(ActionError):
    """Files could not be stored now; the same may be tried again."""
