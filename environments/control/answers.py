"""What is asked, what is answered, and how a refusal is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from environments.engine import ServiceState
from environments.errors import EnvironmentFailedError, FailureKind

#: A request's body, in bytes; every call of this API fits many times over.
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One call."""

    method: str
    #: Decoded path segments, without empty ones.
    path: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes

    def json(self) -> Mapping[str, Any]:
        """The body, an object."""
        try:
            value = json.loads(self.body)
            # Half a character is JSON, but no name, no word of a command and no text of a database.
            json.dumps(value, ensure_ascii=False).encode()
        except RecursionError as error:
            detail = "The body is nested deeper than anything that this API takes. Send a plain JSON object."
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from error
        except ValueError as error:
            detail = f"The body is not JSON ({error}). Send a JSON object."
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from error
        if not isinstance(value, dict):
            raise ProblemError(HTTPStatus.BAD_REQUEST, "The body is JSON, but not an object. Send {…}.")
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON, or lines of text."""

    status: HTTPStatus = HTTPStatus.OK
    value: Any = None
    text: Iterable[str] | None = None


class ProblemError(Exception):
    """An answer that is an RFC 9457 problem document."""

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.document = {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
            **members,
        }


def allow(request: Request, method: str) -> None:
    """Refuse any other method."""
    if request.method != method:
        detail = f"Call this address with {method}, not with {request.method}."
        raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": method})


def failed(error: EnvironmentFailedError) -> ProblemError:
    """A service or the engine failed."""
    status = {
        FailureKind.ENGINE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
        FailureKind.UNSUPPORTED: HTTPStatus.UNPROCESSABLE_ENTITY,
    }.get(error.kind, HTTPStatus.CONFLICT)
    tail = [line for evidence in error.evidence for line in evidence.log_tail]
    return ProblemError(status, str(error), kind=error.kind.value, service=error.service, log_tail=tail)


def service_facts(state: ServiceState) -> dict[str, object]:
    """A service, ready for JSON."""
    return {
        "name": state.service,
        "status": state.status.value,
        "health": state.health.value,
        "published": dict(state.published),
        "exit_code": state.exit_code,
        "started_at": stamp(state.started_at) if state.started_at else None,
        "finished_at": stamp(state.finished_at) if state.finished_at else None,
    }


def stamp(moment: datetime) -> str:
    """A moment in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """A moment from ISO 8601 (UTC unless it says otherwise) or from seconds since the epoch."""
    try:
        return datetime.fromtimestamp(float(text), tz=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        # A plus sign in a query is a space, unless the client quoted it; nobody means a space here.
        moment = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)  # noqa: PLR2004 hh:mm:ss has two
    except ValueError as error:
        detail = f"'since' is not a moment: {text!r}. Send ISO 8601 in UTC or seconds since the epoch."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
