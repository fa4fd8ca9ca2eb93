"""The one way out over HTTP, to addresses that a project's people chose: to none that they should not reach.

The host is resolved here, once, and the connection goes to an address that was looked at: a name that answers
differently the next time leads nowhere else. Redirects are not followed. The whole exchange has one
deadline, whatever the other side does, and of the answer a little is read.

It stands on httpcore, the layer below httpx, because there connecting is a thing of its own.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Final

import httpcore
import httpx

from runs.notify.addresses import Address, Network, may_speak_to
from runs.notify.errors import AddressRefusedError, NoAnswerError

#: Bytes of an answer that are read: enough for a reason.
ANSWER_LIMIT: Final = 16 * 1024
URL_LIMIT: Final = 2000
_CONNECT_SECONDS: Final = 5.0
_TOO_MANY: Final = 8


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is asked. The body is sent as JSON."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: header names in lower case, the beginning of the body as text."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def is_good(self) -> bool:
        """Whether it was taken."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's range


type Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order in which the system would try them; raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def check_url(url: str) -> httpx.URL:
    """Read an address that requests may go to.

    Raises:
        AddressRefusedError: it is none, or not one of http or https, or holds a password.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise AddressRefusedError("This is no address of the web: https://host/path is one.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or not url.isprintable() or " " in url:
        raise AddressRefusedError("Give an address that begins with https:// or http://, and a host.")
    if parsed.userinfo:
        raise AddressRefusedError("Give the address without user and password.")
    return parsed


def send(
    request: HttpRequest,
    *,
    timeout_seconds: float,
    allowed: Sequence[Network] = (),
    resolve: Resolve = resolve,
) -> Answer:
    """Ask once, and return whatever is answered within the time.

    Raises:
        AddressRefusedError: the host is at no address that itdash speaks to; see `allowed`.
        NoAnswerError: no whole answer came in time.
    """
    url = check_url(request.url)
    deadline = time.monotonic() + timeout_seconds
    backend = _GuardedBackend(allowed, resolve, deadline)
    headers = {"Accept-Encoding": "identity", "User-Agent": "itdash"} | dict(request.headers)
    if request.body is not None:
        headers.setdefault("Content-Type", "application/json")
    place = url.netloc.decode("ascii")
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_trust(), network_backend=backend) as pool,
            pool.stream(
                request.method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path or b"/"
                ),
                headers=list(headers.items()),
                content=request.body,
            ) as response,
        ):
            return Answer(
                status=response.status,
                headers={
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                },
                text=_beginning(response.iter_stream()),
            )
    except httpcore.TimeoutException as error:
        raise NoAnswerError(f"{place} did not answer within {timeout_seconds:.0f} seconds.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise NoAnswerError(f"{place} could not be spoken to: {_why(error)}.") from error


@cache
def _trust() -> ssl.SSLContext:
    """Whom to trust: as httpx does, `SSL_CERT_FILE` and `SSL_CERT_DIR` included."""
    return httpx.create_ssl_context()


def _why(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")[:200]


def _beginning(chunks: Iterable[bytes]) -> str:
    read = b""
    for chunk in chunks:
        read += chunk
        if len(read) >= ANSWER_LIMIT:
            break
    return read[:ANSWER_LIMIT].decode("utf-8", "replace")


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to addresses that may be spoken to, and to nothing after the deadline."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve, deadline: float) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        for place, address in enumerate(addresses, start=1):
            try:
                stream = self._inner.connect_tcp(
                    str(address),
                    port,
                    timeout=min(_CONNECT_SECONDS, _left(self._deadline)),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if place == len(addresses):
                    raise
            else:
                return _TimedStream(stream, self._deadline)
        raise httpcore.ConnectError("it has no address")

    def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            found = [ip_address(text.partition("%")[0]) for text in self._resolve(host.strip("[]"), port)]
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("no address of this host was found") from error
        usable = [address for address in found if may_speak_to(address, self._allowed)]
        if found and not usable:
            raise AddressRefusedError(
                f"{host} is at an address of this machine or of a private network: itdash does not speak to "
                "those. The installation's administrator can allow the network: ITDASH_ALLOWED_NETWORKS."
            )
        return usable[:_TOO_MANY]


class _TimedStream(httpcore.NetworkStream):
    """A connection on which every step ends with the deadline: a byte now and then does not help."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline counts
        return self._inner.read(max_bytes, timeout=_left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline counts
        self._inner.write(buffer, timeout=_left(self._deadline))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts
    ) -> httpcore.NetworkStream:
        stream = self._inner.start_tls(ssl_context, server_hostname, timeout=_left(self._deadline))
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left
