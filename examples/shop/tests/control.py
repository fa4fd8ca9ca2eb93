"""What a test may ask of the environment it runs in: itdash's control API."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Control:
    url: str
    token: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """The control API of this run; `None` outside itdash."""
        url, token = environment.get("ITDASH_CONTROL_URL"), environment.get("ITDASH_CONTROL_TOKEN")
        return cls(url, token) if url and token else None

    @contextmanager
    def stopped(self, service: str) -> Iterator[None]:
        """Stop a service for the length of a block; it is ready again afterwards, whatever happens."""
        self._post(f"/services/{service}/stop")
        try:
            yield
        finally:
            self._post(f"/services/{service}/start")

    def restart(self, service: str) -> None:
        """Stop and start a service; returns when it is ready again."""
        self._post(f"/services/{service}/restart")

    def mark(self, test: str, phase: str) -> None:
        """Note where a test starts or ends. No test fails for want of a mark."""
        with suppress(OSError):
            self._post("/marks", {"test": test, "phase": phase}, timeout_seconds=1.0)

    def _post(self, path: str, body: object = None, *, timeout_seconds: float = 60.0) -> None:
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body or {}).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            answer.read()
