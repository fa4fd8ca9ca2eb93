"""PostgreSQL: a cluster made whole or not at all, a server started on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil
import psycopg
from psycopg import pq, sql

from environments.wheels.accounts import account_of, reachable, server_account
from environments.wheels.launch import Account, Launch, WheelsError, wait
from environments.wheels.programs import programs_for
from environments.wheels.sockets import POSTGRES_PORT

POSTGRES_MAJOR = "18"


def initialise_cluster(
    folder: Path, *, superuser: str = "itdash", password: str = "", durable: bool = True
) -> Account | None:
    """Make `folder` a PostgreSQL cluster unless it is one; returns the account that its server runs as.

    Without a password only the Unix socket is answered and whoever may enter its folder is trusted; with
    one, the socket and TCP both ask for it. What a killed start left behind is moved aside or removed.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if _is_cluster(folder):
        _refuse_other_version(folder)
        return _own_cluster(folder)
    _set_aside(folder)
    for leftover in folder.parent.glob(f".{folder.name}.unfinished-*"):
        shutil.rmtree(leftover)
    account = server_account()
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.unfinished-", dir=folder.parent))
    try:
        _initdb(unfinished, account, superuser=superuser, password=password, durable=durable)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return account


def _own_cluster(folder: Path) -> Account | None:
    """Give a cluster that root copied here to the account that may run it."""
    account = account_of(folder)
    if account and folder.stat().st_uid != account.user_id:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.user_id, account.group_id, follow_symlinks=False)
    return account


def _is_cluster(folder: Path) -> bool:
    """Whether `initdb` finished here: it creates the database `postgres`, number 5, last."""
    databases = (name for name in (folder / "base").glob("*") if (name / "PG_VERSION").exists())
    return (folder / "global" / "pg_control").exists() and any(
        name.name.isdigit() and int(name.name) >= 5  # noqa: PLR2004 - 1 and 4 are the templates
        for name in databases
    )


def _refuse_other_version(folder: Path) -> None:
    found = (folder / "PG_VERSION").read_text().strip()
    if found != POSTGRES_MAJOR:
        message = (
            f"{folder} was written by PostgreSQL {found}; this is PostgreSQL {POSTGRES_MAJOR}. "
            "Move it with pg_dump and pg_restore, or start with another --data-dir."
        )
        raise WheelsError(message)


def _set_aside(folder: Path) -> None:
    """Get a folder that is no cluster out of the way, without losing what may be in it."""
    if not folder.exists():
        return
    if not any(folder.iterdir()):
        folder.rmdir()
        return
    folder.rename(folder.with_name(f"{folder.name}.set-aside-{time.time_ns()}"))


def _initdb(folder: Path, account: Account | None, *, superuser: str, password: str, durable: bool) -> None:
    launch = Launch(
        [
            str(programs_for(account) / "initdb"),
            f"--pgdata={_as_seen_by(account, folder)}",
            f"--username={superuser}",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            f"--auth-local={'scram-sha-256' if password else 'trust'}",
            f"--auth-host={'scram-sha-256' if password else 'reject'}",
            *([] if durable else ["--no-sync"]),
            *(["--pwfile=/dev/stdin"] if password else []),
        ],
        folder,
        account,
    )
    if account:
        os.chown(folder, account.user_id, account.group_id)
    with _readable_by(account, f"{password}\n") as line:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            launch.command,
            **launch.place(),
            stdin=line,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        )
    if done.returncode:
        reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        message = f"PostgreSQL's initdb failed in {folder}: {reason}"
        raise WheelsError(message)


def _readable_by(account: Account | None, line: str) -> IO[bytes]:
    """Return a pipe that holds a short text and that the account may open by its name, `/dev/stdin`."""
    reading, writing = os.pipe()
    if account:
        os.fchown(reading, account.user_id, account.group_id)
    with os.fdopen(writing, "w") as pipe:
        pipe.write(line)
    return os.fdopen(reading, "rb")


def _as_seen_by(account: Account | None, folder: Path) -> str:
    """Return the path a server started in the folder is told; it may be unable to walk there."""
    return str(folder) if reachable(folder, account) else "/proc/self/cwd"


def postgres_launch(
    folder: Path,
    *,
    sockets: Path,
    port: int = POSTGRES_PORT,
    listen: str = "",
    settings: Mapping[str, str] | None = None,
) -> Launch:
    """How to start the server of an initialised cluster.

    A lock file whose owner is gone is removed; WheelsError names the process when it still runs. Stop the
    server with SIGINT (connections are ended), not SIGTERM (they are waited for).
    """
    folder = folder.absolute()
    account = account_of(folder)
    _release_lock(folder, sockets)
    values = {
        "listen_addresses": listen,
        "port": str(port),
        "unix_socket_directories": str(sockets),
        **(settings or {}),
    }
    command = [str(programs_for(account) / "postgres"), "-D", _as_seen_by(account, folder)]
    for name, value in values.items():
        command += ["-c", f"{name}={value}"]
    return Launch(command, folder, account)


def _release_lock(folder: Path, sockets: Path) -> None:
    """Remove lock files of a server that is gone; its number may belong to another process by now."""
    lock = folder / "postmaster.pid"
    try:
        number = int(lock.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        number = 0
    if number and _runs_in(number, folder, "postgres"):
        message = f"PostgreSQL already runs on {folder} as process {number}. Stop it, then start again."
        raise WheelsError(message)
    lock.unlink(missing_ok=True)
    for leftover in sockets.glob(".s.PGSQL.*"):
        leftover.unlink()


def _runs_in(number: int, folder: Path, name: str) -> bool:
    try:
        process = psutil.Process(number)
        return process.name().startswith(name) and Path(process.cwd()) == folder.resolve()
    except psutil.Error:
        return False


def postgres_url(sockets: Path, *, database: str = "itdash", superuser: str = "itdash") -> str:
    """Address of a database reached over its Unix socket."""
    return f"postgresql://{superuser}@/{database}?host={sockets}&port={POSTGRES_PORT}"


def ensure_database(sockets: Path, *, database: str = "itdash", superuser: str = "itdash") -> None:
    """Create the database unless it exists."""
    with psycopg.connect(
        postgres_url(sockets, database="postgres", superuser=superuser), autocommit=True
    ) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def wait_for_postgres(process: subprocess.Popen[bytes], sockets: Path, *, seconds: float = 60) -> None:
    """Return when the server answers; WheelsError when it ended or the time has passed."""
    wait(process, "PostgreSQL", lambda: _postgres_answers(sockets), seconds)


def _postgres_answers(sockets: Path) -> bool:
    """Whether the server takes connections; asked without signing in."""
    address = postgres_url(sockets, database="postgres")
    return pq.PGconn.ping(address.encode()) == pq.Ping.OK
