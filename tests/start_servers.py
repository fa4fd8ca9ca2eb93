"""Private PostgreSQL and Valkey for the tests, on Unix sockets, nothing kept and nothing synced."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from environments import wheels

type Started = tuple[str, Callable[[], None]]

#: A crash of the machine may lose everything: the tests keep nothing.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "log_min_messages": "panic",
}


def start_postgres(folder: Path) -> Started:
    """Start a server on `folder`; returns its address and what stops it and removes its socket."""
    account = wheels.initialise_cluster(folder, durable=False)
    sockets = wheels.socket_folder(folder.parent / "sockets-postgres", account)
    launch = wheels.postgres_launch(folder, sockets=sockets, settings=FAST)
    process = subprocess.Popen(launch.command, **launch.place(), stdin=subprocess.DEVNULL)
    stop = _stopper(process, sockets)
    try:
        wheels.wait_for_postgres(process, sockets)
        wheels.ensure_database(sockets)
    except BaseException:
        stop()
        raise
    return wheels.postgres_url(sockets), stop


def start_valkey(folder: Path) -> Started:
    """Start a server on `folder`; returns its address and what stops it and removes its socket."""
    sockets = wheels.socket_folder(folder.parent / "sockets-valkey")
    launch = wheels.valkey_launch(folder, sockets=sockets, settings={"save": "", "loglevel": "nothing"})
    process = subprocess.Popen(launch.command, **launch.place(), stdin=subprocess.DEVNULL)
    stop = _stopper(process, sockets)
    try:
        wheels.wait_for_valkey(process, sockets)
    except BaseException:
        stop()
        raise
    return wheels.valkey_url(sockets), stop


def _stopper(process: subprocess.Popen[bytes], sockets: Path) -> Callable[[], None]:
    def stop() -> None:
        if process.poll() is None:
            # SIGQUIT: at once, without a last checkpoint of data that is thrown away.
            process.terminate() if "valkey" in str(process.args) else process.send_signal(3)
            process.wait(timeout=30)
        shutil.rmtree(sockets, ignore_errors=True)

    return stop
