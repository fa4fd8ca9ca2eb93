"""What can keep a message from arriving; each sentence is for the people who made the channel."""

from __future__ import annotations


class SendError(Exception):
    """It was not taken. `may_heal` when the same message may be taken later."""

    may_heal = False


class AddressRefusedError(SendError):
    """itdash does not speak to that address."""


class NoAnswerError(SendError):
    """Nobody answered, or not to the end, or not in time."""

    may_heal = True


class MailRefusedError(SendError):
    """The mail server does not take the message, now or ever."""
