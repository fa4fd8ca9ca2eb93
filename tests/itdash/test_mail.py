"""A mail server's address becomes Django's settings, or a sentence that does not repeat its password."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from itdash.mail import mailer

SMTP = "django.core.mail.backends.smtp.EmailBackend"


def options(url: str) -> dict[str, Any]:
    made = mailer(url, timeout_seconds=15)
    assert made["BACKEND"] == SMTP
    found: dict[str, Any] = made["OPTIONS"]
    return found


def test_without_an_address_nothing_is_sent() -> None:
    assert mailer("", timeout_seconds=15) == {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}


def test_smtps_speaks_tls_from_the_first_byte() -> None:
    assert options("smtps://ada:p%40ss@mail.example.org") == {
        "host": "mail.example.org",
        "port": None,
        "username": "ada",
        "password": "p@ss",
        "use_ssl": True,
        "use_tls": False,
        "timeout": 15,
    }


def test_smtp_starts_tls_unless_it_is_told_not_to() -> None:
    named = options("smtp://mail.example.org:2525")
    assert (named["port"], named["use_tls"], named["use_ssl"]) == (2525, True, False)
    plain = options("smtp://localhost?tls=off")
    assert (plain["use_tls"], plain["use_ssl"]) == (False, False)


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.org",
        "https://mail.example.org",
        "smtp://",
        "smtp://mail.example.org:port",
        "smtp://ada:s3cret@mail.example.org?tls=maybe",
        "smtp://ada:s3cret@mail.example.org?starttls",
    ],
)
def test_what_is_no_mail_server_stops_the_start_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="ITDASH_EMAIL_URL") as found:
        mailer(url, timeout_seconds=15)
    assert "s3cret" not in str(found.value)
