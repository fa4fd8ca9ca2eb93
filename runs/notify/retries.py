"""What an answer means for a message, and when to try again. Values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from runs.notify.http import Answer

#: The pauses between tries; after the last there is none. About five hours in all.
PAUSES: Final = tuple(
    timedelta(seconds=seconds) for seconds in (10, 30, 2 * 60, 10 * 60, 30 * 60, 3600, 3 * 3600)
)
TRY_LIMIT: Final = len(PAUSES) + 1
#: However long a host asks us to wait.
LONGEST_PAUSE: Final = timedelta(hours=3)
#: Request time-out, too early, too many requests.
_MAY_HEAL: Final = {408, 425, 429}
_FORBIDDEN: Final = 403
_SERVERS_FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not taken; `after` is how long its sender was asked to wait, if it was."""

    reason: str
    may_heal: bool
    after: timedelta | None = None


def refusal_of(answer: Answer, *, now: datetime) -> Refusal | None:
    """What an answer objects to; None when it took the message."""
    if answer.is_good:
        return None
    after = _asked_pause(answer, now)
    # GitHub says 403 when it means too many requests, and then names a moment.
    is_limit = answer.status == _FORBIDDEN and after is not None
    may_heal = is_limit or answer.status in _MAY_HEAL or answer.status >= _SERVERS_FAULT
    return Refusal(reason=_reason(answer), may_heal=may_heal, after=after if may_heal else None)


def pause_before(try_count: int, *, asked: timedelta | None, chance: float) -> timedelta | None:
    """How long to wait after `try_count` tries; None when it was the last.

    `chance`, between 0 and 1, spreads the tries of many by a fifth. Who asked for a longer wait gets it.
    """
    if not 1 <= try_count < TRY_LIMIT:
        return None
    usual = PAUSES[try_count - 1] * (0.9 + 0.2 * chance)
    return min(max(usual, asked or timedelta()), max(LONGEST_PAUSE, usual))


def _asked_pause(answer: Answer, now: datetime) -> timedelta | None:
    said = answer.headers.get("retry-after", "").strip()
    if said.isdecimal():
        return timedelta(seconds=min(int(said), 10**6))
    if said:
        try:
            return max(parsedate_to_datetime(said) - now, timedelta())
        except (ValueError, TypeError):
            return None
    reset = answer.headers.get("x-ratelimit-reset", "").strip()
    if answer.headers.get("x-ratelimit-remaining", "").strip() == "0" and reset.isdecimal():
        return timedelta(seconds=min(max(int(reset) - now.timestamp(), 0), 10**6))
    return None


def _reason(answer: Answer) -> str:
    said = " ".join(answer.text.split())[:300]
    if 300 <= answer.status < 400:  # noqa: PLR2004 - HTTP's range
        return f"It answered {answer.status}, which leads elsewhere: give the address it leads to."
    return f"It answered {answer.status}{f': {said}' if said else '.'}"
