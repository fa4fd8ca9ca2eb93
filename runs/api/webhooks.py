"""Where Git hosts tell what happened. The door is the signature; the answer comes before the work."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from django.http import HttpRequest
from ninja import Field, Router, Status

from runs.actions.webhooks import receive_delivery, refuse_delivery
from runs.api.answers import Answer
from runs.api.problems import ProblemError
from runs.models import Hook
from runs.providers import PROVIDERS, PayloadError, SignatureError, read_json

router = Router(tags=["webhooks"])

LIMIT_BYTES: Final = 5 * 1024 * 1024
_KEY_LIMIT: Final = 200
_EVENT_LIMIT: Final = 60


class DeliveryOut(Answer):
    """The delivery that was taken."""

    delivery: int = Field(description="Its id; the same when the same delivery is sent again.")


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that proved to come from the hook's Git host."""

    hook: Hook
    body: bytes


class SignatureAuth:
    """The endpoint's door: a body signed with the hook's secret."""

    def __call__(self, request: HttpRequest) -> Signed:
        """Name the hook.

        Raises:
            ProblemError: 404 for an address nobody knows, 413 for too much, 401 for a wrong signature.
        """
        hook = _hook(request)
        body = _body(request)
        provider = PROVIDERS[hook.provider]
        try:
            provider.verify(request.headers, body, secret=hook.secret, now=datetime.now(tz=UTC))
        except SignatureError as error:
            event = provider.event_name(request.headers, {})[:_EVENT_LIMIT]
            refuse_delivery(hook=hook, event=event, reason=str(error))
            headers = {"WWW-Authenticate": "HMAC-SHA256"}
            raise ProblemError(HTTPStatus.UNAUTHORIZED, str(error), headers=headers) from error
        return Signed(hook=hook, body=body)


@router.post(
    "/webhooks/{provider}/{hook}", auth=SignatureAuth(), response={202: DeliveryOut}, summary="Take a webhook"
)
def post_webhook(request: HttpRequest, provider: str, hook: str) -> Status[DeliveryOut]:  # noqa: ARG001 - the door read them
    """Take what a Git host tells, and answer before anything is done about it.

    The body is the host's own, up to 5 MiB, signed with the hook's secret. The same delivery again is
    answered the same and starts nothing.
    """
    signed = _signed(request)
    host = PROVIDERS[signed.hook.provider]
    try:
        payload = _payload(request, signed.body)
    except PayloadError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error
    event = host.event_name(request.headers, payload)[:_EVENT_LIMIT]
    try:
        host.parse(event, payload)
    except PayloadError as error:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    key = _key(host.delivery_id(request.headers), signed.body)
    delivery = receive_delivery(hook=signed.hook, key=key, event=event, payload=payload)
    return Status(HTTPStatus.ACCEPTED, DeliveryOut(delivery=delivery.pk))


def _hook(request: HttpRequest) -> Hook:
    parts = request.resolver_match.kwargs if request.resolver_match else {}
    hook = Hook.objects.filter(provider=parts.get("provider"), key=parts.get("hook"), is_active=True).first()
    if hook is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "No hook has this address, or it was removed.")
    return hook


def _body(request: HttpRequest) -> bytes:
    is_too_long = int(request.META.get("CONTENT_LENGTH") or 0) > LIMIT_BYTES
    # Not `request.body`: without a length it would read whatever comes.
    body = b"" if is_too_long else request.read(LIMIT_BYTES + 1)
    if is_too_long or len(body) > LIMIT_BYTES:
        detail = f"A webhook has up to {LIMIT_BYTES // 1024 // 1024} MiB."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return body


def _signed(request: HttpRequest) -> Signed:
    signed = getattr(request, "auth", None)
    if not isinstance(signed, Signed):  # pragma: no cover - the door lets nobody else in
        raise ProblemError(HTTPStatus.UNAUTHORIZED, "This endpoint has no door.")
    return signed


def _payload(request: HttpRequest, body: bytes) -> dict[str, Any]:
    if request.content_type == "application/x-www-form-urlencoded":
        # GitHub's other content type: the JSON as a form's field.
        try:
            fields = parse_qs(body.decode(), max_num_fields=10)
        except ValueError as error:
            raise PayloadError("The body is not a form with the field payload.") from error
        body = fields.get("payload", [""])[0].encode("utf-8", "replace")
    return read_json(body)


def _key(given: str, body: bytes) -> str:
    """The sender's id; where there is none that can be kept, what the body is."""
    if given and len(given) <= _KEY_LIMIT and given.isprintable():
        return given
    return "sha256:" + hashlib.sha256(body).hexdigest()
