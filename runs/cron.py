"""The next due moment of a schedule: a cron line read in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


class CronError(ValueError):
    """A cron line or time zone that cannot be; the message says what was expected."""


def next_due(cron: str, timezone: str, after: datetime) -> datetime:
    """The first moment strictly after `after` (aware) at which `cron` is due, in UTC.

    Clock changes follow Debian's cron: a moment that is skipped is due at the next one there is, one that
    occurs twice is due once.

    Raises:
        CronError: not five fields of cron, no such time zone, or a day that never comes.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CronError(f"“{timezone}” is no time zone. Use a name such as Europe/Berlin or UTC.") from error
    try:
        due: datetime = next(CronSim(cron, after.astimezone(zone)))
    except CronSimError as error:
        raise CronError(
            f"“{cron}” is no cron line: {error}. It has five fields: minute, hour, day of month, month, "
            "day of week."
        ) from error
    except StopIteration as error:
        raise CronError(f"“{cron}” is never due.") from error
    return due.astimezone(UTC)
