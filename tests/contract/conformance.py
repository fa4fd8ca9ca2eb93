"""The two small programs that the conformance tests run, for the lab's image."""

from __future__ import annotations

from typing import Final

#: Answers ``GET`` with ``{"response": …}``: ``/ping`` its own pong, or that of ``?address=host:port/path``;
#: ``/file?name=…`` a file of ``/volumes``; ``/udp`` the last datagram; ``/register?value=…`` keeps a value;
#: ``/registered`` says how many there are; ``/addresses?name=…`` how many addresses a name has.
SERVER: Final = """
import json, os, socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

datagrams, values = [], set()

def ping(address=""):
    if not address:
        return "PONG FROM TARGET"
    try:
        with urlopen("http://" + address, timeout=3) as answer:
            return json.load(answer)["response"]
    except OSError:
        return "Could not reach address: " + address

ROUTES = {
    "/ping": ping,
    "/file": lambda name: Path("/volumes", name).read_text(),
    "/udp": lambda: datagrams[-1] if datagrams else "",
    "/register": lambda value: values.add(value),
    "/registered": lambda: str(len(values)),
    "/addresses": lambda name: str(len(socket.gethostbyname_ex(name)[2])),
}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        body = json.dumps({"response": ROUTES[url.path](**dict(parse_qsl(url.query)))}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

def listen(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", port))
        while True:
            datagrams.append(json.loads(server.recvfrom(1024)[0])["request"])

threading.Thread(target=listen, args=(10001,), daemon=True).start()
server = ThreadingHTTPServer(("0.0.0.0", 8080), Handler)
print("up", flush=True)
server.serve_forever()
"""
#: Registers its host name with the server, once that answers, and stays.
CLIENT: Final = """
import signal, socket, sys, time
from urllib.request import urlopen

end = time.monotonic() + 15
while True:
    try:
        urlopen("http://server:8080/register?value=" + socket.gethostname(), timeout=3).close()
        break
    except OSError as error:
        if time.monotonic() > end:
            sys.exit(str(error))
        time.sleep(0.1)
signal.pause()
"""
