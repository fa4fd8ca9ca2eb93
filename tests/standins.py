"""Servers that speak as Git hosts, chat rooms and mail servers do: real sockets, answers as documented."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.answering import answering

TOKEN = "t0ken-of-the-host"
REPOSITORY = "acme/shop"


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class StandIn:
    """A server on a port of its own. `replies` answer first, in order; then `answer`."""

    def __init__(self, answer: Callable[[Heard], Reply]) -> None:
        self.heard: list[Heard] = []
        self.replies: list[Reply] = []
        self.answer = answer
        self._lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                heard = Heard(
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                reply = stand_in._reply(heard)
                body = b"" if reply.body is None else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _serve  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _reply(self, heard: Heard) -> Reply:
        with self._lock:
            self.heard.append(heard)
            if self.replies:
                return self.replies.pop(0)
        return self.answer(heard)

    @contextmanager
    def running(self) -> Iterator[StandIn]:
        with answering(self._server):
            yield self


class GitHost(StandIn):
    """A Git host that keeps the statuses of commits, and refuses what its API refuses."""

    PATH = re.compile("")
    STATES: frozenset[str] = frozenset()
    CONTEXT = "context"
    LONGEST_DESCRIPTION = 140

    def __init__(self) -> None:
        super().__init__(self._as_documented)
        #: Of a commit, by context: every state, the newest last.
        self.statuses: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def states(self) -> list[str]:
        """All states that were taken, in order of context and time."""
        return [one["state"] for kept in self.statuses.values() for one in kept]

    def is_authorised(self, headers: dict[str, str]) -> bool:
        raise NotImplementedError

    def _as_documented(self, heard: Heard) -> Reply:
        if not self.is_authorised(heard.headers):
            return Reply(401, {"message": "Bad credentials"})
        found = self.PATH.fullmatch(heard.path)
        if found is None or unquote(found["repository"]) != REPOSITORY:
            return Reply(404, {"message": "Not Found"})
        if heard.method == "GET":
            return Reply(200, {"full_name": REPOSITORY, "permissions": {"push": True}})
        if heard.headers.get("content-type") != "application/json":
            return Reply(415, {"message": "Unsupported Media Type"})
        return self.take(found["sha"] or "", heard.json)

    def take(self, sha: str, status: dict[str, Any]) -> Reply:
        if re.fullmatch("[0-9a-f]{40}", sha) is None:
            return Reply(422, {"message": f"No commit found for SHA: {sha}"})
        if status["state"] not in self.STATES or len(status["description"]) > self.LONGEST_DESCRIPTION:
            return Reply(422, {"message": "Validation Failed"})
        if not status["target_url"].startswith(("http://", "https://")):
            return Reply(422, {"message": "Validation Failed"})
        self.statuses.setdefault((sha, status[self.CONTEXT]), []).append(status)
        return Reply(201, {"id": 1, **status})


class GitHub(GitHost):
    """https://docs.github.com/en/rest/commits/statuses, as an Enterprise server."""

    PATH = re.compile(r"/api/v3/repos/(?P<repository>[^/]+/[^/]+)(/statuses/(?P<sha>[^/]+))?")
    STATES = frozenset({"error", "failure", "pending", "success"})

    def is_authorised(self, headers: dict[str, str]) -> bool:
        return (
            headers.get("authorization") == f"Bearer {TOKEN}"
            and headers.get("accept") == "application/vnd.github+json"
            and "user-agent" in headers
        )


class Gitea(GitHost):
    """`/repos/{owner}/{repo}/statuses/{sha}` of Gitea's and Forgejo's Swagger."""

    PATH = re.compile(r"/api/v1/repos/(?P<repository>[^/]+/[^/]+)(/statuses/(?P<sha>[^/]+))?")
    STATES = frozenset({"pending", "success", "error", "failure", "warning"})
    LONGEST_DESCRIPTION = 255

    def is_authorised(self, headers: dict[str, str]) -> bool:
        return headers.get("authorization") == f"token {TOKEN}"


class GitLab(GitHost):
    """https://docs.gitlab.com/api/commits/#set-commit-pipeline-status, with its refusal of repeats."""

    PATH = re.compile(r"/api/v4/projects/(?P<repository>[^/]+)(/statuses/(?P<sha>[^/]+))?")
    STATES = frozenset({"pending", "running", "success", "failed", "canceled"})
    CONTEXT = "name"
    LONGEST_DESCRIPTION = 255

    def is_authorised(self, headers: dict[str, str]) -> bool:
        return headers.get("private-token") == TOKEN

    def take(self, sha: str, status: dict[str, Any]) -> Reply:
        known = self.statuses.get((sha, status[self.CONTEXT]), [])
        now = known[-1]["state"] if known else "created"
        step = {"pending": "enqueue", "running": "run"}.get(status["state"])
        if step and now in {"pending", "running"} and (now == status["state"] or step == "enqueue"):
            said = f"Cannot transition status via :{step} from :{now} (Reason(s): Status cannot transition)"
            return Reply(400, {"message": said})
        return super().take(sha, status)


HOSTS: dict[str, type[GitHost]] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}


def room(heard: Heard) -> Reply:
    """Slack's incoming webhooks: `text` has to be there."""
    return Reply(200, "ok") if heard.json.get("text") else Reply(400, "no_text")
