"""Servers to sign in with: an OpenID Connect provider from a package, and a stand-in for GitHub and GitLab.

The stand-in speaks the addresses, the words and the refusals of their OAuth servers, PKCE included.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from oidc_provider_mock import run_server_in_thread

from tests.answering import answering

CLIENT_ID, CLIENT_SECRET = "itdash-tests", "a secret between servers"


@dataclass(slots=True)
class Person:
    """Who is signed in at the stand-in, in its own words."""

    user: dict[str, Any]
    emails: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Servers:
    """The addresses, and who answers there."""

    oidc: str
    stand_in: str
    #: Nobody: whoever is asked says no.
    person: Person | None = None
    challenges: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def variables(self) -> dict[str, str]:
        """What itdash has to be told to sign people in with them."""
        known = {"CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET}
        providers = {"OIDC": {"ISSUER": self.oidc, "NAME": "Shop SSO"}, "GITHUB": {}, "GITLAB": {}}
        for name in ("GITHUB", "GITLAB"):
            providers[name] = {"URL": self.stand_in}
        return {
            f"ITDASH_{provider}_{name}": value
            for provider, values in providers.items()
            for name, value in (values | known).items()
        } | {"ITDASH_SIGN_UP_DOMAINS": "shop.example"}

    def tell_oidc(self, subject: str, **claims: object) -> None:
        """Let the OpenID Connect provider know somebody."""
        httpx.put(f"{self.oidc}/users/{subject}", json=claims, timeout=10).raise_for_status()


@contextmanager
def sign_in_servers() -> Iterator[Servers]:
    """Both servers, until the end of the block."""
    stand_in = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    stand_in.daemon_threads = True
    address = f"http://127.0.0.1:{stand_in.server_port}"
    with run_server_in_thread() as oidc:
        stand_in.servers = Servers(f"http://localhost:{oidc.server_port}", address)  # type: ignore[attr-defined]  # for the handler
        with answering(stand_in):
            yield stand_in.servers  # type: ignore[attr-defined]  # just set


class _Handler(BaseHTTPRequestHandler):
    @property
    def servers(self) -> Servers:
        known: Servers = self.server.servers  # type: ignore[attr-defined]  # set by `sign_in_servers`
        return known

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/login/oauth/authorize" | "/oauth/authorize":
                self._authorize(query)
            case "/api/v3/user":
                self._tell(self.headers.get("Authorization", "").removeprefix("token "), "user")
            case "/api/v3/user/emails":
                self._tell(self.headers.get("Authorization", "").removeprefix("token "), "emails")
            case "/api/v4/user":
                self._tell(query.get("access_token", ""), "user")
            case _:
                self._answer(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if self.path not in {"/login/oauth/access_token", "/oauth/token"}:
            return self._answer(404, {"message": "Not Found"})
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        known = self.servers.challenges.pop(form.get("code", ""), None)
        client = (form.get("client_id"), form.get("client_secret"))
        if known != challenge or client != (CLIENT_ID, CLIENT_SECRET):
            return self._answer(400, {"error": "invalid_grant"})
        token = secrets.token_urlsafe()
        self.servers.tokens.add(token)
        return self._answer(200, {"access_token": token, "token_type": "bearer", "scope": "read:user"})

    def _authorize(self, query: Mapping[str, str]) -> None:
        if self.servers.person is None:
            answer = {"error": "access_denied", "state": query["state"]}
        else:
            code = secrets.token_urlsafe()
            self.servers.challenges[code] = query["code_challenge"]
            answer = {"code": code, "state": query["state"]}
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(answer)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _tell(self, token: str, what: str) -> None:
        if token not in self.servers.tokens or self.servers.person is None:
            return self._answer(401, {"message": "Bad credentials"})
        return self._answer(200, getattr(self.servers.person, what))

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
