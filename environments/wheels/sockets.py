"""Private folders for Unix sockets, with paths short enough for one."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from environments.wheels.accounts import reachable
from environments.wheels.launch import Account, WheelsError

POSTGRES_PORT = 5432
#: `sun_path` holds 108 bytes with its closing zero (Linux; macOS holds four fewer).
SOCKET_PATH_LIMIT_BYTES = 103
POSTGRES_SOCKET_NAME = f".s.PGSQL.{POSTGRES_PORT}"
VALKEY_SOCKET_NAME = "valkey.sock"


def socket_folder(folder: Path, account: Account | None = None) -> Path:
    """Make the private folder for the sockets of the server on `folder`; the same at every call.

    Inside `folder` where its path is short and the account can walk there, else a short name in the
    temporary folder. Entered by its owner (and root) alone: this is what keeps other people out of
    servers that ask for no password.
    """
    return _private_folder(_place(folder, account), account)


def remove_socket_folder(folder: Path, account: Account | None = None) -> None:
    """Remove what `socket_folder` made for the same folder, when the server has gone."""
    place = _place(folder, account)
    for leftover in place.glob("*"):
        leftover.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        place.rmdir()


def _place(folder: Path, account: Account | None) -> Path:
    inside = folder.resolve() / "sockets"
    longest = inside / max(POSTGRES_SOCKET_NAME, VALKEY_SOCKET_NAME, key=len)
    if len(os.fsencode(longest)) <= SOCKET_PATH_LIMIT_BYTES and reachable(inside, account):
        return inside
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    return Path(_runtime_folder(account), f"itdash-{os.geteuid()}-{key}")


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
