"""The small notations inside Compose files: durations, sizes, ports, mounts and the texts of scalars."""

from __future__ import annotations

import ipaddress
import math
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from environments.spec.source import Mark, Timestamp

_SECONDS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "\u00b5s": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|ms|s|m|h|d|w)")
_DIGITS: Final = r"[0-9]+(?:_[0-9]+)*"
_NUMBER: Final = rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?[0-9]+)?"
_SIZE: Final = re.compile(rf"({_NUMBER}) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE)
_SIZE_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_TRUE: Final = frozenset({"true", "y", "yes", "on"})
_FALSE: Final = frozenset({"false", "n", "no", "off"})
_PROPAGATIONS: Final = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_MAX_PORT: Final = 65535
_MAX_INT: Final = 2**63 - 1
#: A hundred years: no wait is longer, and none overflows.
_MAX_SECONDS: Final = Decimal(100 * 365 * 86400)
PORT_FORM: Final = "Write HOST:CONTAINER, CONTAINER or IP:HOST:CONTAINER, with /udp behind it if need be."


class InvalidValueError(ValueError):
    """A value that cannot be what its key needs: a sentence, the mend and, where known, the place."""

    def __init__(self, message: str, mend: str = "", *, place: Mark | None = None) -> None:
        super().__init__(message)
        self.mend = mend
        self.place = place


def text_of(value: object) -> str:
    """A scalar as the text that a container would see; floats as Go writes them (``1.50`` is ``1.5``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Timestamp):
        return value.text
    return "" if value is None else str(value)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digit_tuple, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    if not isinstance(exponent, int) or digits == "0":
        return "0"
    scale = len(digits) + exponent - 1
    minus = "-" if sign else ""
    if scale < -4 or scale >= 6:  # noqa: PLR2004 - where Go changes to exponents
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{minus}{digits[0]}{fraction}e{'-' if scale < 0 else '+'}{abs(scale):02d}"
    return f"{minus}{Decimal((0, digit_tuple, exponent)):f}"


def boolean(value: object) -> bool:
    """A truth value, also as one of the words that Compose takes for it."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    message = f"{_quoted(value)} is not true or false"
    raise InvalidValueError(message)


def integer(value: object) -> int:
    """A whole number, also as text; what a number has behind its point is left out, as in Compose."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and abs(value) <= _MAX_INT:
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,19}", value):
        return int(value)
    message = f"{_quoted(value)} is not a whole number"
    raise InvalidValueError(message)


def exact(value: object) -> int:
    """A whole number, also as text, but not written with a point."""
    if isinstance(value, float):
        message = f"{_quoted(value)} is not a whole number"
        raise InvalidValueError(message)
    return integer(value)


def natural(value: object) -> int:
    """A whole number that is not below nothing."""
    result = integer(value)
    if result < 0:
        message = f"{result} is below nothing"
        raise InvalidValueError(message)
    return result


def number(value: object) -> float:
    """A finite number, also as text."""
    try:
        result = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        result = math.nan
    if math.isfinite(result):
        return result
    message = f"{_quoted(value)} is not a number"
    raise InvalidValueError(message)


def seconds(value: object) -> Decimal:
    """A duration such as ``1m30s`` or ``500ms``, in seconds."""
    text = text_of(value).strip()
    unsigned = text.removeprefix("-").removeprefix("+")
    pieces = _DURATION.findall(unsigned) if len(unsigned) <= 64 else []  # noqa: PLR2004 - longer is no duration
    if unsigned == "0":
        return Decimal(0)
    if not pieces or "".join(map("".join, pieces)) != unsigned:
        message = f"{_quoted(value)} is not a duration"
        raise InvalidValueError(message, "Write for example 500ms, 10s or 1m30s.")
    total = sum((Decimal(amount) * _SECONDS[unit] for amount, unit in pieces), Decimal(0))
    if total > _MAX_SECONDS:
        message = f"{_quoted(value)} is longer than a hundred years"
        raise InvalidValueError(message)
    return -total if text.startswith("-") else total


def duration(value: object) -> str:
    """A duration in the one way the canonical model writes it: ``90s`` is ``1m30s``."""
    total = seconds(value)
    if total == 0:
        return "0s"
    minus, total = ("-", -total) if total < 0 else ("", total)
    for unit in ("ns", "us", "ms"):
        if total < _SECONDS[{"ns": "us", "us": "ms", "ms": "s"}[unit]]:
            return f"{minus}{_plain(total / _SECONDS[unit])}{'\u00b5s' if unit == 'us' else unit}"
    hours, rest = divmod(total, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{minus}{hours:f}h{minutes:f}m{_plain(left)}s"
    return f"{minus}{minutes:f}m{_plain(left)}s" if minutes else f"{minus}{_plain(left)}s"


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def size(value: object) -> int:
    """A number of bytes such as ``64m`` or ``1.5gb``; units are powers of 1024."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        return 0  # As Compose has it: bytes have no fractions, and such a number says nothing.
    text = text_of(value)
    match = _SIZE.fullmatch(text) if len(text) <= 32 else None  # noqa: PLR2004 - longer is no size
    amount = float(match[1]) * 1024 ** _SIZE_POWERS.get((match[2] or "").lower(), 0) if match else -1.0
    if not 0 <= amount <= _MAX_INT:
        message = f"{_quoted(value)} is not a size"
        raise InvalidValueError(message, "Write for example 64m, 512k or 1.5g.")
    return int(amount)


def ports(entry: object) -> list[dict[str, Any]]:
    """The ports of one short entry such as ``127.0.0.1:8080:80/tcp`` or ``3000-3002``, each by itself."""
    if isinstance(entry, float):
        message = f"port {_quoted(entry)} is not a whole number"
        raise InvalidValueError(message, "Put it in quotes.")
    text = text_of(entry)
    rest, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in {"tcp", "udp", "sctp"}:
        message = f"port {_quoted(text)}: the protocol is tcp, udp or sctp"
        raise InvalidValueError(message)
    left, _, container = rest.rpartition(":")
    host_ip, _, published = left.rpartition(":")
    host_ip = host_ip.removeprefix("[").removesuffix("]")
    if host_ip:
        check_address(host_ip, text)
    first, last = _port_range(container, text)
    if not first:
        message = f"port {_quoted(text)}: nothing listens on port 0"
        raise InvalidValueError(message, PORT_FORM)
    base: dict[str, Any] = {"mode": "ingress", "protocol": protocol} | (
        {"host_ip": host_ip} if host_ip else {}
    )
    if not published:
        return [{**base, "target": target} for target in range(first, last + 1)]
    low, high = _port_range(published, text)
    if first == last:
        return [{**base, "target": first, "published": str(low) if low == high else f"{low}-{high}"}]
    if high - low != last - first:
        message = f"port {_quoted(text)}: the two ranges differ in length"
        raise InvalidValueError(message, PORT_FORM)
    return [
        {**base, "target": target, "published": str(low + offset)}
        for offset, target in enumerate(range(first, last + 1))
    ]


def check_address(address: str, entry: str) -> None:
    """Raise `InvalidValueError` unless the port's address is one."""
    with suppress(ValueError):
        ipaddress.ip_address(address)
        if "%" not in address:
            return
    message = f"port {_quoted(entry)}: {_quoted(address)} is not an IP address"
    raise InvalidValueError(message, PORT_FORM)


def _port_range(text: str, entry: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if match is None or first > last or last > _MAX_PORT:
        message = f"port {_quoted(entry)}: {_quoted(text)} is not a port or a range of ports"
        raise InvalidValueError(message, PORT_FORM)
    return first, last


def is_host_path(source: str) -> bool:
    """Whether a mount's source is a path on the host, not the name of a volume."""
    return (
        source[:1] in {".", "/", "~"}
        or bool(re.match(r"[A-Za-z]:[\\/]", source))
        or source.startswith("\\\\")
    )


def mount(entry: str) -> dict[str, Any]:
    """One short entry of `volumes`: ``source:target:options``, or a target alone."""
    # Compose takes an entry as short as this for a target without looking into it.
    if 0 < len(entry) <= 2:  # noqa: PLR2004
        return {"type": "volume", "target": entry}
    parts = _mount_parts(entry)
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0], "volume": {}}
    source, target, options = parts[0], parts[1], parts[2].split(",") if len(parts) > 2 else []  # noqa: PLR2004
    is_bind = is_host_path(source) or bool(re.match(r"[A-Za-z]:", source))
    result: dict[str, Any] = {"type": "bind" if is_bind else "volume", "source": source, "target": target}
    bind: dict[str, Any] = {"create_host_path": True} if is_bind else {}
    volume: dict[str, Any] = {}
    for option in options:
        if option == "ro":
            result["read_only"] = True
        elif option == "nocopy":
            volume["nocopy"] = True
        elif option in {"z", "Z"}:
            bind["selinux"] = option
        elif option in _PROPAGATIONS:
            bind["propagation"] = option
    return result | ({"bind": bind} if bind else {}) | ({} if is_bind and not volume else {"volume": volume})


def _mount_parts(entry: str) -> list[str]:
    parts = [""]
    for character in entry:
        # A single letter before a colon is a Windows drive, as Compose reads it.
        is_drive = len(parts[-1]) == 1 and parts[-1].isalpha()
        if character == ":" and not is_drive:
            parts.append("")
        else:
            parts[-1] += character
    if not all(parts):
        message = f"mount {_quoted(entry)}: a section between colons is empty"
        raise InvalidValueError(message, "Write SOURCE:TARGET, SOURCE:TARGET:ro or TARGET.")
    if len(parts) > 3:  # noqa: PLR2004 - source, target, options
        message = f"mount {_quoted(entry)} has too many colons"
        raise InvalidValueError(message, "Write SOURCE:TARGET, SOURCE:TARGET:ro or TARGET.")
    return parts


def _quoted(value: object) -> str:
    text = text_of(value)
    return repr(text if len(text) <= 60 else f"{text[:60]}…")  # noqa: PLR2004 - enough to recognise it
