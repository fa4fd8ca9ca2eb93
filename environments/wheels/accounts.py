"""The account that a server runs as when we are root, and what it can reach."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from environments.wheels.launch import Account, WheelsError

#: Accounts that may lend their name to a server when we are root, the first that exists.
LENDING_ACCOUNTS = ("postgres", "nobody")


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


def account_of(folder: Path) -> Account | None:
    """Return the account a cluster belongs to: a new account on the machine changes nothing."""
    if os.geteuid() != 0:
        return None
    status = folder.stat()
    return Account(status.st_uid, status.st_gid) if status.st_uid else server_account()


def reachable(path: Path, account: Account | None) -> bool:
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
