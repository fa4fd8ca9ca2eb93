# ruff: noqa: BLE001, INP001 - runs in a container of its own
"""Tests that fail for known reasons, with marks around each, as a JUnit report."""

import json
import os
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

USERS = os.environ["USER_SERVICE_URL"]
DATABASE = urlsplit(os.environ["DATABASE_URL"])
CONTROL = os.environ["ITDASH_CONTROL_URL"]
TOKEN = os.environ["ITDASH_CONTROL_TOKEN"]


def get(path: str) -> int:
    try:
        with urllib.request.urlopen(f"{USERS}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def control(path: str, body: object = None) -> None:
    request = urllib.request.Request(
        CONTROL + path, json.dumps(body or {}).encode(), {"Authorization": f"Bearer {TOKEN}"}
    )
    urllib.request.urlopen(request, timeout=60).close()


def calm() -> None:
    """Takes its time, so that the failures around it lie apart."""
    assert get("/slow") == 200


def wrong_sum() -> None:
    assert 1 + 1 == 3, "1 + 1 is not 3"


def without_users() -> None:
    control("/services/user-service/stop")
    try:
        get("/users")
    except OSError as error:
        raise AssertionError(f"GET http://user-service:8000/users: connection refused ({error})") from error
    finally:
        control("/services/user-service/start")


def server_error() -> None:
    status = get("/broken")
    assert status == 200, f"expected a list, got status {status - 1}"


def unknown_protocol() -> None:
    for _ in range(3):
        with socket.create_connection((DATABASE.hostname or "", DATABASE.port or 0), timeout=5) as connection:
            connection.sendall(struct.pack("!iib", 9, 99 << 16, 0))
            answer = connection.recv(1)
    assert answer == b"R", "it answered something else"


def crash() -> None:
    try:
        get("/crash")
    except OSError:
        raise AssertionError("there was no answer") from None


TESTS = [calm, wrong_sum, calm, without_users, calm, server_error, calm, unknown_protocol, calm, crash]


def main(report: Path) -> int:
    cases = []
    for number, test in enumerate(TESTS):
        name = f"test_{test.__name__}[{number}]"
        began = time.monotonic()
        control("/marks", {"test": f"tests/test_users.py::{name}", "phase": "start"})
        try:
            test()
            failure = ""
        except Exception as error:
            failure = f"<failure type={quoteattr(type(error).__name__)} message={quoteattr(str(error))}/>"
        control("/marks", {"test": f"tests/test_users.py::{name}", "phase": "end"})
        took = time.monotonic() - began
        cases.append(
            f'<testcase classname="tests.test_users" name="{name}" time="{took:.3f}">{failure}</testcase>'
        )
    report.write_text(f"<testsuite name='pytest'>{''.join(cases)}</testsuite>")
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
