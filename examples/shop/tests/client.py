"""A client for the shop's services: status and JSON, never an exception for a status."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Client:
    url: str
    token: str

    def get(self, path: str) -> Answer:
        return self._send("GET", path)

    def post(self, path: str, body: object) -> Answer:
        return self._send("POST", path, json.dumps(body).encode())

    def post_raw(self, path: str, body: bytes) -> Answer:
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        request = urllib.request.Request(
            self.url + path, method=method, data=body, headers={"Authorization": f"Bearer {self.token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))


def eventually[T](ask: Callable[[], T], *, within_seconds: float = 10.0) -> T:
    """Ask until the answer is truthy; returns the last answer when time is up, for the test to judge."""
    deadline = time.monotonic() + within_seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer
