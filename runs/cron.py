"""When a schedule is due: a cron line read in a time zone, in moments and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_FIELD_COUNT = 5
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_CODES = {day[:3].upper(): number for number, day in enumerate(_DAYS[:7])}
_MINUTES, _HOURS = 60, 24
#: Before this hour people say night.
_MORNING = 6
#: How far back the latest due moment is looked for, step by step: a line that is often due is found in the
#: first step however long nobody looked, and a rare one has few moments in the last.
_LOOKS_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))


class CronError(ValueError):
    """A cron line or time zone that cannot be; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a look at a schedule finds: the moment to run for, and the first one after the look."""

    moment: datetime
    following: datetime


def next_due(cron: str, timezone: str, after: datetime) -> datetime:
    """The first moment strictly after `after` (aware) at which `cron` is due, in UTC.

    Clock changes follow Debian's cron. For a line with fixed minutes and hours, a moment that is skipped is
    due when the clock goes on, and one that occurs twice is due the first time only. A line whose minutes or
    hours begin with `*` is due whenever the clock shows it.

    Raises:
        CronError: not five fields of cron, no such time zone, or a day that never comes.
    """
    due = next(_dues(cron, timezone, after), None)
    if due is None:
        raise CronError(f"“{cron}” is never due.")
    return due


def next_dues(cron: str, timezone: str, after: datetime, count: int) -> list[datetime]:
    """The first `count` moments strictly after `after`, in UTC; raises as `next_due` does."""
    return list(islice(_dues(cron, timezone, after), count))


def due_now(cron: str, timezone: str, *, since: datetime, now: datetime) -> Due | None:
    """What is due at `now` when `since` is the first moment that nobody took; None when that is to come.

    Of several missed moments the latest alone is due: an outage is caught up once. Raises as `next_due` does.
    """
    if since > now:
        return None
    return Due(moment=_latest(cron, timezone, since=since, now=now), following=next_due(cron, timezone, now))


def in_words(cron: str, timezone: str) -> str:
    """How people say the line, as in "every night at 02:00 Europe/Berlin"; else the line itself."""
    minute, hour, day, month, weekday = _fields(cron)
    is_daily = (day, month, weekday) == ("*", "*", "*")
    if is_daily and hour == "*" and (said := _within_an_hour(minute)):
        return said  # the same everywhere
    said = _every_few_hours(minute, hour) if is_daily else None
    at = _time(minute, hour)
    if said is None and at is not None and month == "*":
        said = _on_days(int(hour), day, weekday, at)
    return f"{said or cron} {timezone}"


def _latest(cron: str, timezone: str, *, since: datetime, now: datetime) -> datetime:
    for look_back in _LOOKS_BACK:
        begin = max(since, now - look_back)
        found = None
        for due in _dues(cron, timezone, begin):
            if due > now:
                break
            found = due
        if found is not None:
            return found
        if begin == since:
            break
    return since


def _dues(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CronError(f"“{timezone}” is no time zone. Use a name such as Europe/Berlin or UTC.") from error
    _fields(cron)
    try:
        moments = CronSim(cron, after.astimezone(zone))
    except CronSimError as error:
        raise CronError(_complaint(cron, str(error))) from error
    last = after
    for moment in moments:
        due = moment.astimezone(UTC)
        # In the hour that occurs twice the clock's reading alone would lead back to its first time.
        if due > last:
            last = due
            yield due


def _fields(cron: str) -> list[str]:
    fields = cron.split()
    # A sixth field would be seconds.
    if len(fields) != _FIELD_COUNT:
        raise CronError(_complaint(cron, "wrong number of fields"))
    return fields


def _complaint(cron: str, why: str) -> str:
    fields = "minute, hour, day of month, month, day of week"
    return f"“{cron}” is no cron line: {why}. It has five fields: {fields}."


def _within_an_hour(minute: str) -> str | None:
    every = _step(minute, _MINUTES)
    if every is not None:
        return "every minute" if every == 1 else f"every {every} minutes"
    if not _is_number(minute):
        return None
    return f"every hour, {int(minute)} min past" if int(minute) else "every hour"


def _every_few_hours(minute: str, hour: str) -> str | None:
    every = _step(hour, _HOURS)
    if every is None or every == 1 or not _is_number(minute):
        return None
    return f"every {every} hours" + (f", {int(minute)} min past" if int(minute) else "")


def _on_days(hour: int, day: str, weekday: str, at: str) -> str | None:
    """Lines that are due at one time of the day."""
    if day == "*" and weekday == "*":
        return f"every {'night' if hour < _MORNING else 'day'} at {at}"
    if weekday == "*" and _is_number(day):
        return f"on day {int(day)} of every month at {at}"
    days = _weekdays(weekday) if day == "*" else None
    return f"every {days} at {at}" if days else None


def _weekdays(field: str) -> str | None:
    first, dash, last = field.partition("-")
    if dash:
        ends = [_weekday(first), _weekday(last)]
        return f"{ends[0]} to {ends[1]}" if all(ends) else None
    names = [_weekday(name) for name in field.split(",")]
    known = [name for name in names if name]
    if len(known) < len(names):
        return None
    return " and ".join(filter(None, [", ".join(known[:-1]), known[-1]]))


def _weekday(code: str) -> str | None:
    number = _DAY_CODES.get(code.upper())
    if number is None and _is_number(code) and int(code) < len(_DAYS):
        number = int(code)
    return None if number is None else _DAYS[number]


def _time(minute: str, hour: str) -> str | None:
    if not (_is_number(minute) and _is_number(hour)):
        return None
    return f"{int(hour):02}:{int(minute):02}"


def _step(field: str, whole: int) -> int | None:
    """Of how many the field takes one; None for fields that are not as regular as that."""
    if field == "*":
        return 1
    step = field.removeprefix("*/")
    is_even = field.startswith("*/") and _is_number(step) and int(step) > 0 and whole % int(step) == 0
    return int(step) if is_even else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
