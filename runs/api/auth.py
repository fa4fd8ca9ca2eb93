"""Who is calling and what they may do: a token's scope, a member's role, or a public project."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from environments.models import Environment
from runs.actions.sign_ins import begin_attempt, client_address, token_limits
from runs.actions.tokens import use_token
from runs.api.problems import ProblemError
from runs.models import Membership, Project, Rename, Run, Service, TestCase, Token, Upload, User
from runs.queries.environments import run_id_of
from runs.vocabulary import Scope, Visibility

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model, QuerySet

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="itdash"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """A token, a signed-in person, or nobody."""

    scope: Scope
    token: Token | None = None
    user: User | None = None

    def may(self, project: Project) -> bool:
        """Whether this caller may do what the endpoint does, in `project`."""
        if self.token is not None:
            return self.token.project_id == project.pk
        if self.scope != Scope.READ:
            return False
        if project.visibility == Visibility.PUBLIC:
            return True
        if self.user is None:
            return False
        own = Membership.objects.filter(project=project, user_id=self.user.pk)
        return self.user.is_superuser or own.exists()


class TokenAuth:
    """An endpoint's door: the scope it asks for.

    Reading is also open to signed-in members (their browser's session) and, in public projects, to all.
    Everything else needs a token, so that no other site can make a browser act (CSRF).
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Caller:
        """Name the caller.

        Raises:
            ProblemError: 401 for a missing or unknown token, 403 for one without the scope, 429 for too many
                unknown ones.
        """
        header = request.headers.get("Authorization", "")
        if header:
            return self._token_caller(request, header)
        user = request.user if isinstance(request.user, User) else None
        if self.scope == Scope.READ:
            return Caller(scope=self.scope, user=user)
        detail = f"This needs a token with the scope “{self.scope}”: `Authorization: Bearer itd_…`."
        raise ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers=CHALLENGE)

    def _token_caller(self, request: HttpRequest, header: str) -> Caller:
        kind, _, secret = header.partition(" ")
        token = use_token(secret.strip()) if kind.lower() == "bearer" else None
        if token is None:
            detail = (
                "The token is unknown, expired or revoked. Make a new one under the project's settings, "
                "or with `itdash token create`."
            )
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            _refuse_guesses(request)
            raise ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers=headers)
        if self.scope not in token.scopes:
            scopes = ", ".join(token.scopes)
            detail = f"The token “{token.name}” has the scopes {scopes}; this needs “{self.scope}”."
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        return Caller(scope=self.scope, token=token)


def _refuse_guesses(request: HttpRequest) -> None:
    """Count an unknown token. Tokens that are known are never held up: whole offices have one address.

    Raises:
        ProblemError: 429, with when to try again, after too many from this address.
    """
    again_at = begin_attempt(token_limits(client_address(request.META))).again_at
    if again_at is not None:
        seconds = max(1, ceil((again_at - timezone.now()).total_seconds()))
        detail = f"Too many unknown tokens came from this address. Try again in {seconds} seconds."
        headers = {"Retry-After": str(seconds)}
        raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)


def caller_of(request: HttpRequest) -> Caller:
    """The caller that the endpoint's door let in."""
    caller = getattr(request, "auth", None)
    if not isinstance(caller, Caller):  # pragma: no cover - every endpoint has a door; a test walks them
        raise ProblemError(HTTPStatus.UNAUTHORIZED, "This endpoint has no door.")
    return caller


def project_for(request: HttpRequest, slug: str) -> Project:
    """The project of that address; 404 when there is none or the caller may not see it."""
    return _allowed(request, Project.objects.filter(slug=slug), lambda project: project, "project", slug)


def run_for(request: HttpRequest, run_id: int) -> Run:
    """The run; 404 when there is none or the caller may not see it."""
    rows = Run.objects.select_related("project", "suite").filter(pk=run_id)
    return _allowed(request, rows, lambda run: run.project, "run", run_id)


def case_for(request: HttpRequest, case_id: int) -> TestCase:
    """The test case, by a former name's id too; 404 when there is none or the caller may not see it."""
    rows = TestCase.objects.select_related("suite__project", "same_as__suite__project").filter(pk=case_id)
    found = _allowed(request, rows, lambda case: case.suite.project, "test", case_id)
    return found.same_as or found


def rename_for(request: HttpRequest, rename_id: int) -> Rename:
    """The proposal that two tests are one; 404 when there is none or the caller may not see it."""
    rows = Rename.objects.select_related("suite__project").filter(pk=rename_id)
    return _allowed(request, rows, lambda rename: rename.suite.project, "rename", rename_id)


def service_for(request: HttpRequest, slug: str, name: str) -> Service:
    """The project's service; 404 when there is none or the caller may not see it."""
    rows = Service.objects.select_related("project").filter(project__slug=slug, name=name.replace("\x00", ""))
    return _allowed(request, rows, lambda service: service.project, "service", name)


def upload_for(request: HttpRequest, upload_id: int) -> Upload:
    """The upload; 404 when there is none or the caller may not see it."""
    rows = Upload.objects.select_related("project", "run").filter(pk=upload_id)
    return _allowed(request, rows, lambda upload: upload.project, "upload", upload_id)


def environment_for(request: HttpRequest, name: str) -> tuple[Environment, Run]:
    """The environment and its run; 404 when there is none or the caller may not see it."""
    found = Environment.objects.filter(instance=settings.INSTANCE, name=name.replace("\x00", "")).first()
    run_id = run_id_of(found.owner) if found is not None else None
    rows = Run.objects.select_related("project", "suite").filter(pk=run_id or 0)
    run = _allowed(request, rows, lambda run: run.project, "environment", name)
    assert found is not None  # noqa: S101 - a run was found by it
    return found, run


def _allowed[Row: Model](
    request: HttpRequest,
    rows: QuerySet[Row],
    project_of: Callable[[Row], Project],
    noun: str,
    name: object,
) -> Row:
    row = rows.first()
    if row is not None and caller_of(request).may(project_of(row)):
        return row
    detail = f"There is no {noun} “{name}”, or this caller may not see it."
    raise ProblemError(HTTPStatus.NOT_FOUND, detail)
