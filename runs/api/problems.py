"""Errors as RFC 9457 problem documents: `detail` says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from django.conf import settings
from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from runs.actions.errors import ActionError, InvalidValueError, NotPossibleError, StorageAwayError, TakenError

CONTENT_TYPE = "application/problem+json"


#: What the framework says of a body that it cannot read is too little to act on.
MALFORMED = "The body cannot be read: send one JSON object, in UTF-8. The API is described at /api/v1/docs."


_DESCRIBED = "The API is described at /api/v1/docs."
#: What to do where a value is missing or wrong, when there is more to say.
_MENDS = {
    "file.files": "Send the reports as files in the form's field “files”: curl -F files=@junit.xml …",
}


class ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: dict[str, str] | None = None, **extra: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra


def problem(
    status: HTTPStatus, detail: str, *, headers: dict[str, str] | None = None, **extra: object
) -> HttpResponse:
    """Build the document: `type`, `title`, `status`, `detail` and what else is known."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail, **extra}
    return JsonResponse(body, status=status.value, content_type=CONTENT_TYPE, headers=headers)


def install(api: NinjaAPI) -> None:
    """Answer every error of `api` with a problem document."""

    @api.exception_handler(ProblemError)
    def on_problem(_request: HttpRequest, error: ProblemError) -> HttpResponse:
        return problem(error.status, error.detail, headers=error.headers, **error.extra)

    @api.exception_handler(ActionError)
    def on_refusal(_request: HttpRequest, error: ActionError) -> HttpResponse:
        if isinstance(error, InvalidValueError):
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), field=error.field)
        if isinstance(error, StorageAwayError):
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "30"})
        known = isinstance(error, TakenError | NotPossibleError)
        return problem(HTTPStatus.CONFLICT if known else HTTPStatus.BAD_REQUEST, str(error))

    @api.exception_handler(ValidationError)
    def on_bad_value(_request: HttpRequest, error: ValidationError) -> HttpResponse:
        complaints = [{"where": _where(one["loc"]), "what": one["msg"]} for one in error.errors]
        first = complaints[0]
        mend = _MENDS.get(first["where"], _DESCRIBED)
        detail = f"{first['where']}: {first['what']}. {mend}"
        malformed = any(one["type"].startswith("json_") for one in error.errors)
        status = HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.UNPROCESSABLE_ENTITY
        return problem(status, detail, problems=complaints)

    @api.exception_handler(SuspiciousOperation)
    def on_too_much(_request: HttpRequest, error: SuspiciousOperation) -> HttpResponse:
        status, detail = _too_much(error)
        return problem(status, detail)

    @api.exception_handler(HttpError)
    def on_http_error(_request: HttpRequest, error: HttpError) -> HttpResponse:
        status = HTTPStatus(error.status_code)
        return problem(status, MALFORMED if status is HTTPStatus.BAD_REQUEST else str(error))

    @api.exception_handler(AuthenticationError)
    def on_stranger(_request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
        return unauthorised()

    @api.exception_handler(Http404)
    def on_missing(_request: HttpRequest, _error: Http404) -> HttpResponse:
        return problem(HTTPStatus.NOT_FOUND, "Nothing is here, or this token may not see it.")


def _too_much(error: SuspiciousOperation) -> tuple[HTTPStatus, str]:
    """What the framework refuses of a form, with what to do instead."""
    if isinstance(error, TooManyFilesSent):
        limit = settings.DATA_UPLOAD_MAX_NUMBER_FILES
        mend = f"A form has up to {limit:,} files. Send them as one archive, .zip or .tar.gz."
        return HTTPStatus.BAD_REQUEST, mend
    if isinstance(error, TooManyFieldsSent):
        limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
        return HTTPStatus.BAD_REQUEST, f"A form has up to {limit:,} fields besides its files."
    if isinstance(error, RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"All but files has up to {limit} MiB in a request."
    return HTTPStatus.BAD_REQUEST, f"The request is malformed. {_DESCRIBED}"


def _where(place: Sequence[str | int]) -> str:
    """Where a value was looked for: `query.limit`, `body.suite`; without our own name for the body."""
    kind, *path = map(str, place)
    return ".".join([kind, *path[kind == "body" :]])


def unauthorised(detail: str = "") -> HttpResponse:
    """401 with the challenge that RFC 6750 asks for."""
    return problem(
        HTTPStatus.UNAUTHORIZED,
        detail
        or "Send a token: `Authorization: Bearer itd_…`. Make one under the project's settings, or with "
        "`itdash token create`.",
        headers={"WWW-Authenticate": 'Bearer realm="itdash"'},
    )
