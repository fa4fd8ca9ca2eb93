"""Django's settings for a mail server, out of one URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_FORMS = (
    "smtps://user:password@host (TLS from the first byte), smtp://user:password@host (STARTTLS), or "
    "smtp://host?tls=off (neither; for a server on this machine)"
)


def mailer(url: str, *, timeout_seconds: float) -> dict[str, Any]:
    """One entry of `MAILERS`; without a URL, one that sends nothing.

    Raises:
        ImproperlyConfigured: it is no address of a mail server; the message never repeats it.
    """
    if not url:
        return {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    try:
        parts = urlsplit(url)
        port = parts.port
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError as error:
        raise _complaint() from error
    tls = options.pop("tls", ["on"])
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or options or tls not in (["on"], ["off"]):
        raise _complaint()
    is_tls = parts.scheme == "smtps"
    return {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "OPTIONS": {
            "host": parts.hostname,
            "port": port,
            "username": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "use_ssl": is_tls,
            "use_tls": not is_tls and tls == ["on"],
            "timeout": timeout_seconds,
        },
    }


def _complaint() -> ImproperlyConfigured:
    return ImproperlyConfigured(f"ITDASH_EMAIL_URL is no mail server's address. Write {_FORMS}.")
