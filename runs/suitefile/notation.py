"""What the values of a suite file may be. Each raises `InvalidValueError` with a sentence."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from environments.spec.source import Map, Seq, nearest
from environments.spec.values import InvalidValueError, seconds, text_of

MAX_TIMEOUT_SECONDS: Final = 24 * 3600.0
_CRON_FIELDS: Final = 5


def plain_text(value: object) -> str:
    """A scalar as text."""
    if isinstance(value, Map | Seq) or value is None:
        message = "must be a text"
        raise InvalidValueError(message)
    return text_of(value)


def repository_path(folder: str, value: object) -> str:
    """A path of the repository, from its root."""
    path = posixpath.normpath(posixpath.join(folder, plain_text(value)))
    if path.startswith(("/", "../")) or path == "..":
        message = f"{plain_text(value)!r} lies outside the repository"
        raise InvalidValueError(message)
    return path


def container_glob(value: object) -> str:
    """A glob of absolute paths inside a container."""
    pattern = plain_text(value)
    if not pattern.startswith("/"):
        message = f"{pattern!r} is not an absolute path"
        raise InvalidValueError(message, "Begin with '/'.")
    return pattern


def one_of[E: StrEnum](kind: type[E]) -> Callable[[object], E]:
    """A member of the enumeration."""

    def take(value: object) -> E:
        try:
            return kind(plain_text(value))
        except ValueError as error:
            known = ", ".join(kind)
            message = f"{plain_text(value)!r} is not one of {known}"
            raise InvalidValueError(message, nearest(plain_text(value), list(kind))) from error

    return take


def truth(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        message = f"{text_of(value)!r} is neither true nor false"
        raise InvalidValueError(message)
    return value


def whole(least: int, most: int) -> Callable[[object], int]:
    """A whole number within bounds."""

    def take(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            message = f"must be a whole number from {least} to {most}"
            raise InvalidValueError(message)
        return value

    return take


def wait_seconds(value: object) -> float:
    """A duration with its unit, above nothing and up to a day, in seconds."""
    if isinstance(value, int | float):
        message = f"{text_of(value)} has no unit"
        raise InvalidValueError(message, f"Write for example {text_of(value)}s or {text_of(value)}m.")
    wanted = float(seconds(plain_text(value)))
    if not 0 < wanted <= MAX_TIMEOUT_SECONDS:
        message = f"{plain_text(value)!r} is not between nothing and a day"
        raise InvalidValueError(message)
    return wanted


def share(value: object) -> float:
    """A percentage as a share: ``25%`` is 0.25."""
    match = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,5})?) ?%", plain_text(value))
    if match is None:
        message = f"{plain_text(value)!r} is not a percentage"
        raise InvalidValueError(message, "Write for example 25%.")
    return float(match[1]) / 100


def cron_line(value: object) -> str:
    """A cron line of five fields."""
    line = plain_text(value)
    refusal = InvalidValueError(f"{line!r} is not a cron line", "Write five fields, such as '0 2 * * *'.")
    if len(line.split()) != _CRON_FIELDS:  # a sixth would be seconds
        raise refusal
    try:
        CronSim(line, datetime.now(tz=UTC))
    except CronSimError as error:
        raise refusal from error
    return line


def time_zone(value: object) -> str:
    """The name of a time zone."""
    name = plain_text(value)
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        message = f"{name!r} is not a time zone"
        raise InvalidValueError(message, "Write a name such as UTC or Europe/Berlin.") from error
    return name
