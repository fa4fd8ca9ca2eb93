# ruff: noqa: A002, INP001, T201 - runs in a container of its own
"""A service that fails as it is asked to: slowly, with an error, or by dying."""

import os
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8000"))
SLOW_SECONDS = 0.6


class Users(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            threading.Event().wait(SLOW_SECONDS)
        if self.path == "/crash":
            print("giving up", flush=True)
            os._exit(3)
        if self.path == "/broken":
            for _ in range(3):
                print("ERROR users: the table is gone", flush=True)
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        print(f"INFO {format % args}", flush=True)


if __name__ == "__main__":
    if "--health" in sys.argv:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2).close()
    else:
        ThreadingHTTPServer(("", PORT), Users).serve_forever()
