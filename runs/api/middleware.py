"""What goes for every address of the API: HEAD asks what GET asks, and each error is a problem document."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from runs.api.problems import CONTENT_TYPE, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

API_PREFIX: Final = "/api/"
DETAILS: Final = {
    HTTPStatus.BAD_REQUEST: "The request is malformed: its form, its headers or its host cannot be read. "
    "The API is described at /api/v1/docs.",
    HTTPStatus.FORBIDDEN: "This is not allowed here. The API is described at /api/v1/docs.",
    HTTPStatus.NOT_FOUND: "There is no such call. The API is described at /api/v1/docs.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take {method}; it takes {allowed}.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something broke here, and was written to the server's log. Try again; "
    "if it stays, tell whoever runs this installation.",
}
ELSE: Final = "This cannot be answered. The API is described at /api/v1/docs."


class HeadMiddleware:
    """Hands HEAD to the API as GET, which knows no other reading; the server sends no body."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer as the rest does."""
        if request.method != "HEAD" or not request.path.startswith(API_PREFIX):
            return self.get_response(request)
        request.method = "GET"
        answer = self.get_response(request)
        request.method = "HEAD"
        return answer


class ProblemsMiddleware:
    """Puts a problem document in place of the page that Django draws for an error under `/api/`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer as the rest does, errors of the API as problems."""
        answer = self.get_response(request)
        is_told = answer.headers.get("Content-Type", "").startswith(CONTENT_TYPE)
        if answer.status_code < HTTPStatus.BAD_REQUEST or is_told or not request.path.startswith(API_PREFIX):
            return answer
        status = HTTPStatus(answer.status_code)
        allowed = answer.headers.get("Allow", "")
        detail = DETAILS.get(status, ELSE).format(method=request.method, allowed=allowed)
        return problem(status, detail, headers={"Allow": allowed} if allowed else None)
