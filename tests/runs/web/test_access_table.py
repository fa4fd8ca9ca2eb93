"""Who may call what, as the server answers it: by address, role, visibility and scope, written into the docs.

`make docs-access` writes `docs/access.md` anew. A change of that page is a change of somebody's rights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest
from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import Client
from ninja.operation import Operation

from runs.actions.quarantine import quarantine_case
from runs.actions.tokens import create_token
from runs.api.auth import TokenAuth
from runs.api.root import api
from runs.models import Project, Report, Run, Service, TestCase, Upload
from runs.vocabulary import Role, RunStatus, Scope, UploadStatus
from runs.web.urls import urlpatterns
from tests.conftest import ROOT
from tests.factories import (
    make_case,
    make_member,
    make_project,
    make_rename,
    make_run,
    make_suite,
    make_user,
)
from tests.rows import add_environment
from tests.runs.web.test_access import CHANGES, PUBLIC, SIGNED_IN, address, filled

PAGE: Final = ROOT / "docs" / "access.md"
VISIBILITIES: Final = ("public", "private")
PEOPLE: Final = ("nobody", "somebody else", *Role, "installation")
FOREIGN: Final = "another project's"
HEAD: Final = """# Who may do what

Every address, and what the server answers to whom. `make docs-access` writes this page by asking the server
itself; a test fails when an answer is another one.

| word | means |
|---|---|
| yes | it answers, or refuses the values that were sent and not the person |
| sign in | it leads to the sign-in page |
| 401 | a token is needed |
| 403 | the project may be seen, and this not done |
| 404 | as if there were no such thing |
| a / b | in a public project / in a private one |

*Somebody else* is signed in and no member of the project. *Installation* is the installation's administrator.
The roles, and how people get them: [Teams](teams.md).
"""
GENERATED: Final = "## Pages of a project"

pytestmark = pytest.mark.django_db


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation of the API, with a call that it accepts."""

    path: str
    method: str
    scope: Scope

    @property
    def shown(self) -> str:
        return re.sub(r"{\w+:", "{", self.path)


def test_the_table_of_rights_is_what_the_server_answers(request: pytest.FixtureRequest) -> None:
    text = "\n".join(table())

    if request.config.getoption("--write-docs"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "a right changed: if it should, `make docs-access`"


def test_nobody_who_is_no_member_sees_anything_of_a_private_project() -> None:
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").split(GENERATED)[1].splitlines() if "| `" in line
    ]

    assert len(rows) >= 90
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    private = {cell.rpartition("/")[2].strip() for row in cells if "/p/" in row[0] for cell in row[1:3]}
    assert private == {"404"}


def table() -> Iterator[str]:
    """The page, line by line."""
    yield HEAD
    yield GENERATED
    yield ""
    yield from _head("address", PEOPLE)
    pages = {visibility: _page_answers(visibility) for visibility in VISIBILITIES}
    for name in sorted(pages["public"], key=_path):
        yield _row(
            _shown(name), [_cell(*(pages[one][name][person] for one in VISIBILITIES)) for person in PEOPLE]
        )
    yield "\n## Pages of people\n"
    yield from _head("address", ("nobody", "somebody"))
    person = _signed_in(make_user())
    for name in sorted(SIGNED_IN, key=_path):
        where = address(name, {"account_id": 1})
        yield _row(_shown(name), [_word(_undone(one, partial(one.get, where))) for one in (Client(), person)])
    yield "\n## Pages for everyone\n"
    yield ", ".join(_shown(name) for name in sorted(PUBLIC, key=_path))
    yield "\n## API with a browser's session\n"
    yield from _head("operation", PEOPLE)
    calls = {visibility: _api_answers(visibility) for visibility in VISIBILITIES}
    for endpoint in calls["public"]:
        cells = [_cell(*(calls[one][endpoint][who] for one in VISIBILITIES)) for who in PEOPLE]
        yield _row(f"`{endpoint.method} {endpoint.shown}`", cells)
    yield "\n## API with a token\n"
    yield "A token acts in its own project only: another project's opens not even what everyone may read.\n"
    yield from _head("operation", (*(f"`{scope}`" for scope in Scope), FOREIGN))
    for endpoint in calls["public"]:
        cells = [_cell(*(calls[one][endpoint][who] for one in VISIBILITIES)) for who in (*Scope, FOREIGN)]
        yield _row(f"`{endpoint.method} {endpoint.shown}`", cells)
    yield (
        "\n`POST /webhooks/{provider}/{hook}` has another door: whoever signs with the hook's secret. "
        "`/healthz`, `/readyz`, `/metrics` and `/api/v1/docs` answer everyone.\n"
    )


def _head(first: str, names: tuple[str, ...]) -> Iterator[str]:
    yield f"| {first} | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"


def _row(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _cell(public: str, private: str) -> str:
    return public if public == private else f"{public} / {private}"


def _shown(name: str) -> str:
    method = "POST " if name in CHANGES else ""
    return f"`{method}{_path(name)}`"


def _path(name: str) -> str:
    pattern = next(found.pattern for found in urlpatterns if found.name == name)
    return "/" + re.sub(r"<\w+:", "<", str(pattern))


def _page_answers(visibility: str) -> dict[str, dict[str, str]]:
    """What each page of a project answers to each of the people."""
    project, parts = filled(visibility)
    name = default_storage.save("reports/table.xml", ContentFile(b"<testsuite/>"))
    run = Run.objects.get(project=project)
    report = Report.objects.create(run=run, name="j.xml", size=12, sha256="0" * 64, storage_name=name)
    parts["file_id"] = report.pk
    clients = _clients(project)
    answers: dict[str, dict[str, str]] = {}
    for pattern in urlpatterns:
        one = str(pattern.name)
        if one not in PUBLIC | SIGNED_IN:
            where = address(one, parts)
            answers[one] = {
                who: _word(_undone(client, partial(client.post if one in CHANGES else client.get, where)))
                for who, client in clients.items()
            }
    return answers


def _clients(project: Project) -> dict[str, Client]:
    members = {str(role): _signed_in(make_member(project, role)) for role in Role}
    root = _signed_in(make_user(is_superuser=True))
    return {"nobody": Client(), "somebody else": _signed_in(make_user()), **members, "installation": root}


def _signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _undone(client: Client, ask: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """What is answered; whatever it did is undone, and the client is who it was."""
    cookies = deepcopy(client.cookies)
    with transaction.atomic():
        answer = ask()
        transaction.set_rollback(True)
    client.cookies = cookies
    if isinstance(answer, StreamingHttpResponse) and "attachment" in answer.get("Content-Disposition", ""):
        async_to_sync(_drain)(answer)
    return answer


async def _drain(answer: StreamingHttpResponse) -> None:
    """A file that is opened for an answer is closed at its end."""
    async for _ in answer:
        pass


def _word(answer: HttpResponseBase) -> str:
    if answer.status_code in {401, 403, 404}:
        return str(answer.status_code)
    assert answer.status_code < 500, answer
    assert answer.status_code != 422 or "json" not in answer["Content-Type"], (
        "give `_caller` a call that is right"
    )
    return "sign in" if answer.get("Location", "").startswith("/sign-in/") else "yes"


def _api_answers(visibility: str) -> dict[Endpoint, dict[str, str]]:
    """What each operation answers to each session and token."""
    project = make_project(visibility=visibility, repository_url="https://git.example.org/shop.git")
    suite = make_suite(project, "s")
    run = make_run(suite, status=RunStatus.PASSED)
    case = make_case(suite)
    upload = Upload.objects.create(project=project, run=run, status=UploadStatus.STORED)
    Service.objects.create(project=project, name="orders")
    ids = {
        "project": project.slug,
        "run_id": run.pk,
        "test_id": case.pk,
        "rename_id": make_rename(suite).pk,
        "upload_id": upload.pk,
        "name": "orders",
        "environment_name": add_environment(run, {}).name,
        "service": "orders",
    }
    other = make_project()
    everything = create_token(project=other, scopes=list(Scope)).secret
    secrets = {str(scope): create_token(project=project, scopes=[scope]).secret for scope in Scope}
    clients = _clients(project)
    answers: dict[Endpoint, dict[str, str]] = {}
    for endpoint in _endpoints():
        ask = _caller(endpoint, ids, case)
        found = {who: _word(_undone(client, partial(ask, client, {}))) for who, client in clients.items()}
        for who, secret in (secrets | {FOREIGN: everything}).items():
            client = Client()
            call = partial(ask, client, {"Authorization": f"Bearer {secret}"})
            found[who] = _word(_undone(client, call))
        answers[endpoint] = found
    return answers


def _endpoints() -> list[Endpoint]:
    found = []
    for _, router in api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                scope = _scope(operation)
                if scope is not None:
                    found += [Endpoint(path, method, scope) for method in operation.methods]
    return found


def _scope(operation: Operation) -> Scope | None:
    door = operation.auth_callbacks[0]
    return door.scope if isinstance(door, TokenAuth) else None


def _caller(
    endpoint: Endpoint, ids: Mapping[str, object], case: TestCase
) -> Callable[[Client, Mapping[str, str]], HttpResponseBase]:
    """A call that is right in everything but, perhaps, who makes it."""
    where = "/api/v1" + endpoint.path
    for name, value in ids.items():
        where = re.sub(rf"{{(\w+:)?{name}}}", str(value), where)
    # What some of them ask for; the others pass it over.
    where += "?suite=s" if endpoint.method == "GET" else ""
    assert "{" not in where, f"{endpoint.path} has a parameter that this table does not know"

    def call(client: Client, headers: Mapping[str, str]) -> HttpResponseBase:
        if endpoint.path.endswith("/uploads") and endpoint.method == "POST":
            content = b'<testsuite name="s"><testcase classname="c" name="t"/></testsuite>'
            values = {"suite": "s", "branch": "main", "commit": "0" * 40}
            files = {"files": SimpleUploadedFile("junit.xml", content)}
            return client.post(where, values | files, headers=headers)
        if endpoint.method == "DELETE" and "quarantine" in endpoint.path:
            quarantine_case(case=case, reason="SHOP-1", days=3)
        body = {"suite": "s", "reason": "SHOP-1", "days": 3, "owner": "", "decision": "refuse"}
        return client.generic(
            endpoint.method, where, json.dumps(body), content_type="application/json", headers=headers
        )

    return call
