"""A registry that knows one image, or that gives out nothing for now; an engine pulls from it without TLS."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.answering import answering

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


class Registry(ThreadingHTTPServer):
    """Serves one image under every name and tag; notes what it is asked for."""

    daemon_threads = True

    def __init__(self, *, is_limited: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_limited = is_limited
        self.asked: list[str] = []
        self.blobs: dict[str, bytes] = {}
        layer, difference = _layer()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [difference]},
        }
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._keep(json.dumps(config).encode(), "container.image.v1+json"),
            "layers": [self._keep(layer, "image.rootfs.diff.tar.gzip")],
        }

    @property
    def place(self) -> str:
        """Its name, and a namespace, as images are called after it."""
        return f"127.0.0.1:{self.server_port}/hub"

    def _keep(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return {"mediaType": f"application/vnd.docker.{kind}", "size": len(content), "digest": digest}


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        """Answer what an engine asks when it pulls."""
        self.server.asked.append(self.path)
        kind, content = "application/json", b"{}"
        status = 200
        if self.server.is_limited and self.path != "/v2/":
            status, content = (
                429,
                json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "later"}]}).encode(),
            )
        elif "/manifests/" in self.path:
            kind, content = MANIFEST, json.dumps(self.server.manifest).encode()
        elif "/blobs/" in self.path:
            kind, content = "application/octet-stream", self.server.blobs[self.path.rpartition("/")[2]]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - the standard library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _layer() -> tuple[bytes, str]:
    """A layer with one file, packed, and the digest of what is in it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    content = plain.getvalue()
    return gzip.compress(content, mtime=0), f"sha256:{hashlib.sha256(content).hexdigest()}"


def registry(*, is_limited: bool = False) -> AbstractContextManager[Registry]:
    """Serve while entered."""
    return answering(Registry(is_limited=is_limited))
