"""Engines that are not here, as far as they can be had: a server on a socket that answers as they did."""

from __future__ import annotations

import json
import re
import socketserver
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, override

from tests.answering import answering

RECORDED: Mapping[str, Any] = json.loads((Path(__file__).parent / "recorded_engines.json").read_text())
NAMES = [name for name in RECORDED if name != "_"]


@dataclass
class OtherEngine:
    """One of the recorded engines. It refuses the versions of the API that the real one refuses."""

    said: Mapping[str, Any]
    info: Mapping[str, Any]
    #: Networks that are there, as `GET /networks` lists them.
    networks: list[dict[str, Any]] = field(default_factory=list)
    #: Every call: method, path with its version, and body.
    calls: list[tuple[str, str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.calls.append((method, path, body))
        if path == "/version":
            return 200, self.said
        found = re.fullmatch(r"/v(\d+)\.(\d+)(/.*)", path)
        if found is None:
            return 404, {"message": f"page not found: {path}"}
        refusal = self._refusal(int(found[1]), int(found[2]))
        if refusal:
            return 400, {"message": refusal}
        for wanted, address, answer in self._answers():
            if wanted == method and re.fullmatch(address, found[3].partition("?")[0]):
                return answer
        return 404, {"message": f"page not found: {path}"}

    def _refusal(self, *version: int) -> str:
        """Why it does not speak a version of the API; empty when it does."""
        spoken = ".".join(map(str, version))
        if version < _version(self.said["MinAPIVersion"]):
            least = self.said["MinAPIVersion"]
            return f"client version {spoken} is too old. Minimum supported API version is {least}"
        if version > _version(self.said["ApiVersion"]):
            most = self.said["ApiVersion"]
            return f"client version {spoken} is too new. Maximum supported API version is {most}"
        return ""

    def _answers(self) -> Iterator[tuple[str, str, tuple[int, Any]]]:
        yield "GET", "/info", (200, self.info)
        yield "GET", "/_ping", (200, "OK")
        yield "GET", "/networks", (200, self.networks)
        yield "GET", "/images/.*/json", (200, {"Id": "sha256:1234"})
        yield "POST", "/containers/create", (201, {"Id": "c1", "Warnings": []})
        yield "POST", "/networks/.*/connect", (200, None)
        # What is started is a trial, and has no program.
        yield "POST", "/containers/.*/start", (400, {"message": "executable file not found in $PATH"})
        yield "DELETE", "/containers/.*", (204, None)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@contextmanager
def serving(name: str, socket: Path) -> Iterator[OtherEngine]:
    """Serve one of them at a socket."""
    engine = OtherEngine(RECORDED[name]["version"], RECORDED[name]["info"])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = engine.answer(self.command, self.path, json.loads(sent) if sent else None)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names of the standard library

        @override
        def address_string(self) -> str:
            return "a socket"

        @override
        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with answering(Server(str(socket), Handler)):
        yield engine
