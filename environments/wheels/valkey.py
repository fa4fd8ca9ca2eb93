"""Valkey: a server started on a folder."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from environments.wheels.launch import Launch, wait
from environments.wheels.programs import valkey_server
from environments.wheels.sockets import VALKEY_SOCKET_NAME


def valkey_launch(
    folder: Path,
    *,
    sockets: Path,
    port: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Launch:
    """How to start a Valkey server whose data is in `folder`; port 0 listens on the socket alone."""
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {
        "dir": str(folder),
        "port": str(port),
        "bind": "127.0.0.1",
        "unixsocket": str(sockets / VALKEY_SOCKET_NAME),
        "unixsocketperm": "700",
        "daemonize": "no",
        **(settings or {}),
    }
    command = [str(valkey_server())]
    for name, value in values.items():
        command += [f"--{name}", value]
    return Launch(command, folder)


def valkey_url(sockets: Path) -> str:
    """Address of a Valkey server reached over its Unix socket, as redis-py reads it."""
    return f"unix://{sockets / VALKEY_SOCKET_NAME}"


def wait_for_valkey(process: subprocess.Popen[bytes], sockets: Path, *, seconds: float = 60) -> None:
    """Return when the server answers; WheelsError when it ended or the time has passed."""
    wait(process, "Valkey", lambda: _valkey_answers(sockets / VALKEY_SOCKET_NAME), seconds)


def _valkey_answers(path: Path) -> bool:
    """Whether the server behind the socket has its data loaded and answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
