"""News as a mail in plain text, by the installation's own mail server."""

from __future__ import annotations

import hashlib
import smtplib
from collections.abc import Iterator, Sequence
from typing import Final

from django.core.mail import EmailMessage

from runs.notify.errors import MailRefusedError, NoAnswerError
from runs.notify.news import News

_SUBJECT_LIMIT: Final = 180
#: SMTP's own range for what may be taken later.
_LATER: Final = range(400, 500)


def send_mail(news: News, *, recipients: Sequence[str], sender: str, delivery: str) -> None:
    """Send one mail to all of the recipients. `delivery` names it: the same one sent again has the same id.

    Raises:
        NoAnswerError: the mail server could not be reached, or wants to be asked later.
        MailRefusedError: it does not take the mail.
    """
    try:
        _mail(news, recipients=recipients, sender=sender, delivery=delivery).send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        _give_up(
            codes, "; ".join(f"{who}: {_said(why)}" for who, (_, why) in error.recipients.items()), error
        )
    except smtplib.SMTPResponseException as error:
        _give_up({error.smtp_code}, _said(error.smtp_error), error)
    except (smtplib.SMTPException, OSError) as error:
        raise NoAnswerError(f"The mail server could not be spoken to: {str(error)[:200]}.") from error


def _give_up(codes: set[int], said: str, error: Exception) -> None:
    message = f"The mail server refused it: {said[:300]}"
    if codes and all(code in _LATER for code in codes):
        raise NoAnswerError(message) from error
    raise MailRefusedError(message) from error


def _mail(news: News, *, recipients: Sequence[str], sender: str, delivery: str) -> EmailMessage:
    domain = sender.rpartition("@")[2].strip("> ") or "itdash"
    subject = hashlib.sha256(f"{news.suite}\n{news.branch}".encode()).hexdigest()[:16]
    thread = f"<{news.project.slug}.{subject}@{domain}>"
    return EmailMessage(
        subject=" ".join(f"[{news.project.name}] {news.headline}".split())[:_SUBJECT_LIMIT],
        body=mail_text(news),
        from_email=sender,
        to=list(recipients),
        headers={
            "Message-ID": f"<{delivery}@{domain}>",
            # One thread for each suite and branch, where the mail program keeps threads.
            "References": thread,
            "Auto-Submitted": "auto-generated",
            "X-Itdash-Event": str(news.event),
        },
    )


def mail_text(news: News) -> str:
    """The news as a mail's text."""
    return "\n".join(_lines(news)) + "\n"


def _lines(news: News) -> Iterator[str]:
    yield f"{news.headline}."
    yield ""
    yield from (line for line in (news.explanation, news.about) if line)
    if news.new_failures:
        yield ""
        yield "Failing now and not in the run before:"
        for test in news.new_failures:
            yield f"  - {test.name}{f': {test.message}' if test.message else ''}"
        if news.untold_count > 0:
            yield f"  and {news.untold_count} more"
    yield ""
    yield news.url
    yield ""
    yield "-- "
    yield f"Sent when something changes, by the channel that an administrator of {news.project.name} made."


def _said(text: bytes | str) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text
