"""Deliveries as Git hosts send them: a sample's body and the headers that prove it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

from runs.models import Hook
from tests.conftest import ROOT

SAMPLES = ROOT / "tests" / "samples" / "webhooks"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
COMMIT = "9c1f0e2b6d5a4c3f8e7d6c5b4a39281706f5e4d3"
BEFORE = "1b7e55aa0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f"


def sample(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return payload


def hexed(text: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def headers_for(
    provider: str,
    body: bytes,
    *,
    event: str = "push",
    key: str = "",
    secret: str = SECRET,
    at: int | None = None,
) -> dict[str, str]:
    """The headers of a rightly signed delivery, made by hand and not by the code under test."""
    key = key or str(uuid4())
    moment = str(int(time.time()) if at is None else at)
    match provider:
        case "github":
            return {
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": key,
                "X-Hub-Signature-256": "sha256=" + hexed(body, secret),
            }
        case "gitlab":
            return {"X-Gitlab-Event": "Hook", "X-Gitlab-Event-UUID": key, "X-Gitlab-Token": secret}
        case "gitea":
            return {
                "X-Gitea-Event": event,
                "X-Gitea-Delivery": key,
                "X-Gitea-Signature": hexed(body, secret),
            }
        case "bitbucket":
            return {
                "X-Event-Key": event,
                "X-Request-UUID": key,
                "X-Hub-Signature": "sha256=" + hexed(body, secret),
            }
    signed = f"{moment}.{key}.".encode() + body
    return {
        "X-Itdash-Timestamp": moment,
        "X-Itdash-Delivery": key,
        "X-Itdash-Signature": "sha256=" + hexed(signed, secret),
    }


def address_of(hook: Hook) -> str:
    return f"/api/v1/webhooks/{hook.provider}/{hook.key}"
