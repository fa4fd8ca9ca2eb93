"""PostgreSQL and Valkey started from their wheels when no address is configured, and where they are found.

Everything lies below the data folder:

    postgres/  valkey/       the servers' data
    secret-key               signs sessions; made once, read by its owner alone
    run/                     the servers' sockets, unless the path is too long or private
    running.json             addresses of what runs, for the commands that talk to the database directly
    lock                     held while it runs
    logs/                    one file per program
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM
from typing import IO

from environments import wheels
from itdash.supervisor import Program, Supervisor


def buffers_mib() -> int:
    """MiB that PostgreSQL may hold of its tables by itself: an eighth of the machine's, from 128 to 512.

    Suites and their environments need the memory too, and the machine's page cache holds what this does not.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(128, min(machine // 8, 512))


POSTGRES_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": f"{buffers_mib()}MB",
    # After a checkpoint each page that changes is written whole: docs/decisions/0251.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Whoever stores much fills the usual 16 MB each time before they are written, and waits.
    "wal_buffers": f"{buffers_mib() // 8}MB",
    "random_page_cost": "1.1",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
#: The queue survives a restart; PostgreSQL is the truth all the same, so a second may be lost.
VALKEY_SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "loglevel": "notice",
}
SERVER_STAGE = 0


class AlreadyRunningError(Exception):
    """Another process holds the data folder."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs on a data folder: addresses for commands beside it."""

    database_url: str
    broker_url: str
    public_url: str


def hold(data_dir: Path, *, public_url: str) -> IO[str]:
    """Take the data folder for this process for as long as the file stays open.

    Raises:
        AlreadyRunningError: another process has it; the sentence names it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data_dir / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        process, _, address = lock.read().strip().partition(" ")
        lock.close()
        message = (
            f"itdash runs on {data_dir} already, as process {process}, at {address}. "
            f"Stop it (`kill {process}`), or choose another folder with --data-dir."
        )
        raise AlreadyRunningError(message) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()} {public_url}\n")
    lock.flush()
    return lock


def secret_key(data_dir: Path) -> str:
    """Return the installation's signing key; made at the first call, kept from then on."""
    place = data_dir / "secret-key"
    if not place.exists():
        _write_private(place, secrets.token_urlsafe(50))
    return place.read_text(encoding="utf-8").strip()


def instance_name(data_dir: Path) -> str:
    """Return the name under which this data folder's environments live on a shared engine."""
    place = data_dir / "instance"
    if not place.exists():
        _write_private(place, f"itdash-{secrets.token_hex(4)}")
    return place.read_text(encoding="utf-8").strip()


def note_running(data_dir: Path, running: Running) -> None:
    """Write down what runs, for `find_running`."""
    _write_private(data_dir / "running.json", json.dumps(asdict(running)))


def forget_running(data_dir: Path) -> None:
    """Nothing runs any longer."""
    (data_dir / "running.json").unlink(missing_ok=True)


def find_running(data_dir: Path) -> Running | None:
    """Return what runs on the data folder: None when nothing does, also after a crash."""
    with suppress(FileNotFoundError, ValueError, TypeError), (data_dir / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Running(**json.loads((data_dir / "running.json").read_text(encoding="utf-8")))
    return None


def _write_private(place: Path, text: str) -> None:
    """Write whole or not at all, readable by the owner alone."""
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(place)


def remove_sockets(data_dir: Path) -> None:
    """Remove the sockets of servers that have gone, also those that lie outside the data folder."""
    account = wheels.server_account()
    wheels.remove_socket_folder(postgres_run(data_dir), account)
    wheels.remove_socket_folder(valkey_run(data_dir))


def postgres_run(data_dir: Path) -> Path:
    """Return the folder that PostgreSQL's socket folder is named after."""
    return data_dir / "run" / "postgres"


def valkey_run(data_dir: Path) -> Path:
    """Return the folder that Valkey's socket folder is named after."""
    return data_dir / "run" / "valkey"


def start_postgres(supervisor: Supervisor, data_dir: Path, environment: Mapping[str, str]) -> str:
    """Start PostgreSQL and wait until it answers; returns the database's address.

    Raises:
        WheelsError: it cannot start; the sentence says why.
    """
    folder = data_dir / "postgres"
    account = wheels.initialise_cluster(folder)
    sockets = wheels.socket_folder(postgres_run(data_dir), account)
    launch = partial(wheels.postgres_launch, folder, sockets=sockets, settings=POSTGRES_SETTINGS)
    process = supervisor.start(
        Program("postgresql", launch, environment, stop=((SIGINT, 2.0), (SIGQUIT, 0.8)), stage=SERVER_STAGE)
    )
    wheels.wait_for_postgres(process, sockets)
    wheels.ensure_database(sockets)
    return wheels.postgres_url(sockets)


def start_valkey(supervisor: Supervisor, data_dir: Path, environment: Mapping[str, str]) -> str:
    """Start Valkey and wait until it answers; returns the broker's address.

    Raises:
        WheelsError: it cannot start; the sentence says why.
    """
    folder = data_dir / "valkey"
    sockets = wheels.socket_folder(valkey_run(data_dir))
    launch = partial(wheels.valkey_launch, folder, sockets=sockets, settings=VALKEY_SETTINGS)
    process = supervisor.start(
        Program("valkey", launch, environment, stop=((SIGTERM, 1.5),), stage=SERVER_STAGE)
    )
    wheels.wait_for_valkey(process, sockets)
    return wheels.valkey_url(sockets)
