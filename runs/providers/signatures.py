"""Signatures over raw bodies, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

#: How old a delivery with a signed moment may be, and how far ahead its sender's clock.
TOLERANCE: Final = timedelta(minutes=5)


class SignatureError(Exception):
    """Not signed, wrongly signed or signed too long ago; the message says which and what to do."""


def hex_hmac(secret: str, text: bytes) -> str:
    """HMAC-SHA256 in hexadecimal, as most hosts write it."""
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare in a time that says nothing about where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def check_hex(headers: Mapping[str, str], name: str, *, secret: str, text: bytes, prefix: str = "") -> None:
    """Refuse unless the header holds the text's HMAC.

    Raises:
        SignatureError: it does not, or there is none.
    """
    given = headers.get(name, "")
    if not given:
        raise SignatureError(f"The header {name} is missing. Give the Git host the hook's secret.")
    if not same(given, prefix + hex_hmac(secret, text)):
        raise SignatureError(f"The signature in {name} is wrong. Give the Git host this hook's secret.")


def check_moment(stamp: str, *, name: str, now: datetime) -> None:
    """Refuse a moment, in seconds since 1970, that is further from now than `TOLERANCE`.

    Raises:
        SignatureError: it is, or it is no number.
    """
    try:
        age = abs(now - datetime.fromtimestamp(int(stamp), tz=UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise SignatureError(f"The header {name} must hold seconds since 1970.") from error
    if age > TOLERANCE:
        minutes = int(TOLERANCE.total_seconds() // 60)
        raise SignatureError(
            f"{name} is more than {minutes} minutes away from this server's clock: "
            "an old delivery sent again, or a clock that is wrong."
        )
