"""Private PostgreSQL and Valkey for the tests, on Unix sockets, nothing kept and nothing synced."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM, Signals

from environments import wheels
from itdash.supervisor import die_with_parent

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


def start_postgres(folder: Path, *, settings: Mapping[str, str] = FAST) -> Started:
    """Start a server on `folder`; returns its address and what stops it and removes its socket."""
    account = wheels.initialise_cluster(folder, durable=False)
    named_after = folder.parent / "sockets-postgres"
    sockets = wheels.socket_folder(named_after, account)
    launch = wheels.postgres_launch(folder, sockets=sockets, settings=settings)
    process = _start(launch)
    stop = _stopper(process, SIGQUIT, partial(wheels.remove_socket_folder, named_after, account))
    try:
        wheels.wait_for_postgres(process, sockets)
        wheels.ensure_database(sockets)
    except BaseException:
        stop()
        raise
    return wheels.postgres_url(sockets), stop


def start_valkey(folder: Path) -> Started:
    """Start a server on `folder`; returns its address and what stops it and removes its socket."""
    named_after = folder.parent / "sockets-valkey"
    sockets = wheels.socket_folder(named_after)
    launch = wheels.valkey_launch(folder, sockets=sockets, settings={"save": "", "loglevel": "nothing"})
    process = _start(launch)
    stop = _stopper(process, SIGTERM, partial(wheels.remove_socket_folder, named_after))
    try:
        wheels.wait_for_valkey(process, sockets)
    except BaseException:
        stop()
        raise
    return wheels.valkey_url(sockets), stop


def _start(launch: wheels.Launch) -> subprocess.Popen[bytes]:
    """Start a server that goes when the tests are killed."""
    return subprocess.Popen(
        launch.command,
        **launch.place(),
        stdin=subprocess.DEVNULL,
        preexec_fn=partial(die_with_parent, SIGINT, os.getpid()),  # noqa: PLW1509 - no thread runs yet
    )


def _stopper(
    process: subprocess.Popen[bytes], number: Signals, tidy: Callable[[], None]
) -> Callable[[], None]:
    def stop() -> None:
        if process.poll() is None:
            process.send_signal(number)
            process.wait(timeout=30)
        tidy()

    return stop
