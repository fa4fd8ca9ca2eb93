"""A server of itdash, spoken to over its API by commands that run anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import httpx

from itdash.env import environment

TIMEOUT_SECONDS = 30.0
#: Until the server has put large files where they are safe.
FILES_TIMEOUT_SECONDS = 300.0
#: Connections are tried again at once; a refusal by the server is final.
CONNECTION_RETRIES = 2


class ServerError(Exception):
    """The server cannot be reached, or it refuses; the sentence says what to do."""


class UnreachableError(ServerError):
    """No answer: it may come back."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the API is, and the token that opens it."""

    url: str
    token: str

    def get(self, path: str) -> dict[str, Any]:
        """Read. ServerError when there is no answer or a refusal."""
        return self._ask("GET", path)

    def post(
        self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Act. ServerError when there is no answer or a refusal."""
        return self._ask("POST", path, body=body, headers=headers)

    def post_files(
        self,
        path: str,
        files: Sequence[tuple[str, IO[bytes]]],
        fields: Mapping[str, str],
        *,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Send files, each with its name, as a form. ServerError when there is no answer or a refusal."""
        parts = [("files", (name, file)) for name, file in files]
        return self._ask("POST", path, fields=fields, files=parts, headers=headers)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        fields: Mapping[str, str] | None = None,
        files: Sequence[tuple[str, tuple[str, IO[bytes]]]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        address = f"{self.url.rstrip('/')}/api/v1{path}"
        shown = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        transport = httpx.HTTPTransport(retries=CONNECTION_RETRIES)
        answered_within = FILES_TIMEOUT_SECONDS if files else TIMEOUT_SECONDS
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=answered_within)
        try:
            with httpx.Client(transport=transport, timeout=timeout) as client:
                answer = client.request(method, address, json=body, data=fields, files=files, headers=shown)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            message = f"{self.url} is no address ({error}). Set --url or ITDASH_URL to https://…"
            raise ServerError(message) from error
        except httpx.HTTPError as error:
            message = f"{self.url} does not answer ({error}). Check --url or ITDASH_URL, and that it runs."
            raise UnreachableError(message) from error
        may_heal = answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        if may_heal or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            message = f"{self.url} answered {answer.status_code}: {_detail(answer)}"
            raise UnreachableError(message)
        if answer.is_error:
            message = f"{_detail(answer)} ({answer.status_code} from {self.url})"
            raise ServerError(message)
        return _content(answer, self.url)


def _content(answer: httpx.Response, url: str) -> dict[str, Any]:
    if answer.is_redirect:
        message = (
            f"{url} sends on to {answer.headers['Location']}. Set --url or ITDASH_URL to where that leads."
        )
        raise ServerError(message)
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        message = (
            f"What answers at {url} is no itdash. Check --url or ITDASH_URL: the address without a path."
        )
        raise ServerError(message)
    return content


def _detail(answer: httpx.Response) -> str:
    """Return what a problem document says, or the beginning of whatever else came."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        if "<html" in answer.text[:1000].lower():
            return "an HTML page; is this the address of itdash, without a path?"
        return answer.text.strip()[:200] or "no explanation"


def add_server(parser: argparse.ArgumentParser) -> None:
    """Declare --url and --token."""
    known = environment()
    parser.add_argument(
        "--url", default=known.url, metavar="URL", help="the server (default: ITDASH_URL or %(default)s)"
    )
    # The default is not shown: it is a secret.
    parser.add_argument("--token", default=known.token, metavar="TOKEN", help="default: ITDASH_TOKEN")


def server_of(options: argparse.Namespace) -> Server:
    """Return the server that the options name. ServerError without a token."""
    if not options.token:
        message = "A token is needed: --token or ITDASH_TOKEN. Make one with `itdash token create`."
        raise ServerError(message)
    return Server(options.url, options.token)
