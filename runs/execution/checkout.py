"""One commit's files on disk for the time of a run.

A bare mirror per repository is fetched into, under a lock that processes share; a run gets its files
written out of the mirror into a folder of its own. The folder holds no ``.git``: it would point at
the mirror, which is not there inside a container. What a killed worker leaves is removed by
`remove_checkouts`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from environments.spec import EMPTY
from runs.execution.git import Git, GitError, Remote, locked, masked, write_configuration

logger = logging.getLogger(__name__)

CHECKOUT_TIMEOUT_SECONDS = 600.0
_FULL_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,64}")
#: What git allows in a name of a branch or tag, minus everything that means something in a revision.
_REF_NAME = re.compile(r"[^\x00-\x20~^:?*\[\\\x7f-][^\x00-\x20~^:?*\[\\\x7f]*")
_FOLDER = re.compile(r"run-(\d+)-(\d+)")


class CheckoutError(Exception):
    """The commit could not be checked out; the message names repository and ref and says what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """What to check out: a commit, or what a branch, a tag or the default branch points to now."""

    repository: str
    ref: str = ""
    commit: str = ""
    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The files of one commit and what git says of it."""

    folder: Path
    commit: str
    #: Short name of the branch that was asked for; empty for a tag or a bare commit.
    branch: str
    message: str
    author: str
    committed_at: datetime
    #: What was left out, one sentence each; shown on the run.
    notices: tuple[str, ...] = ()


@contextlib.contextmanager
def checked_out(
    source: Source,
    *,
    run_id: int,
    fence: int,
    data_dir: Path,
    stop: threading.Event,
    variables: Mapping[str, str] = EMPTY,
    timeout_seconds: float = CHECKOUT_TIMEOUT_SECONDS,
) -> Iterator[Checkout]:
    """Check the commit out for the time of the block; the folder is removed on every way out of it.

    Raises `CheckoutError`, and `StoppedError` when `stop` is set meanwhile.
    """
    folder = data_dir / "checkouts" / f"run-{run_id}-{fence}"
    try:
        yield _check_out(source, folder, data_dir, stop, variables, timeout_seconds)
    finally:
        _remove(folder)


def remove_checkouts(data_dir: Path, *, is_needed: Callable[[int, int], bool]) -> list[str]:
    """Remove the checkouts that no run needs; `is_needed` is asked with run id and fence.

    Returns the names of the folders removed.
    """
    home = data_dir / "checkouts"
    if not home.is_dir():
        return []
    found = [(entry, match) for entry in home.iterdir() if (match := _FOLDER.match(entry.name))]
    unneeded = [entry for entry, match in found if not is_needed(int(match[1]), int(match[2]))]
    for entry in unneeded:
        _remove(entry)
    return [entry.name for entry in unneeded]


def _check_out(
    source: Source,
    folder: Path,
    data_dir: Path,
    stop: threading.Event,
    variables: Mapping[str, str],
    timeout_seconds: float,
) -> Checkout:
    try:
        remote = Remote.parse(source.repository, username=source.username, password=source.password)
        _refuse_own_folder(remote, data_dir)
        git = Git(
            remote=remote,
            variables=variables,
            configuration=write_configuration(data_dir / "mirrors" / "gitconfig"),
            stop=stop,
            deadline=time.monotonic() + timeout_seconds,
        )
        mirror = data_dir / "mirrors" / f"{remote.key}.git"
        commit, branch = _fetch_and_resolve(git, mirror, source)
        _write_files(git, mirror, commit, folder)
        return _describe(git, mirror, commit, branch, folder)
    except GitError as error:
        raise CheckoutError(_explain(source, str(error))) from error
    except OSError as error:
        message = f"The checkout could not be written: {error.strerror or error}."
        raise CheckoutError(message) from error


def _own(data_dir: Path) -> list[Path]:
    return [data_dir / name for name in ("mirrors", "checkouts", "environments")]


def _refuse_own_folder(remote: Remote, data_dir: Path) -> None:
    """What lies there is other projects': their code, without the password that opens it."""
    place = remote.local_path
    if place is not None and any(place.resolve().is_relative_to(own.resolve()) for own in _own(data_dir)):
        message = "itdash's own folder holds no project's repository"
        raise GitError(message)


def _fetch_and_resolve(git: Git, mirror: Path, source: Source) -> tuple[str, str]:
    """Return commit and branch. The lock's descriptor goes to git, so that a git that outlives a killed
    worker still holds it."""
    with locked(mirror.with_suffix(".lock"), stop=git.stop, deadline=git.deadline) as lock:
        _heal(git, mirror)
        known = _FULL_COMMIT.fullmatch(source.commit) and _commit(git, mirror, source.commit)
        if known:
            return known, _branch(git, mirror, source.ref)
        _fetch(git, mirror, lock, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        ref = source.ref or _default_branch(git, mirror)
        commit = _resolve(git, mirror, lock, source.commit or ref)
        return commit, _branch(git, mirror, ref)


def _heal(git: Git, mirror: Path) -> None:
    """Make the mirror usable whatever a killed fetch left: we hold the lock, so git's locks are stale."""
    if mirror.is_dir() and not git.succeeds("rev-parse", "--git-dir", folder=mirror):
        shutil.rmtree(mirror)
    if not mirror.is_dir():
        mirror.mkdir(parents=True)
        git.run("init", "--quiet", "--bare", str(mirror), folder=mirror)
    for stale in mirror.rglob("*.lock"):
        stale.unlink(missing_ok=True)


def _fetch(git: Git, mirror: Path, lock: int, *refspecs: str) -> None:
    git.run(
        "fetch",
        "--quiet",
        "--prune",
        "--no-tags",
        "--force",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--",
        git.remote.url,
        *refspecs,
        folder=mirror,
        keep_open=[lock],
    )


def _default_branch(git: Git, mirror: Path) -> str:
    answer = git.run("ls-remote", "--symref", "--", git.remote.url, "HEAD", folder=mirror)
    match = re.match(r"ref: refs/heads/(\S+)\s+HEAD", answer)
    if match is None:
        message = "the repository has no default branch; is it empty?"
        raise GitError(message)
    return match[1]


def _resolve(git: Git, mirror: Path, lock: int, wanted: str) -> str:
    """Return the full commit that a branch, a tag, a full ref or a commit means."""
    if not _REF_NAME.fullmatch(wanted) or ".." in wanted or "@{" in wanted:
        message = f"'{wanted}' is not a name git allows"
        raise GitError(message)
    for name in _readings(wanted):
        if commit := _commit(git, mirror, name):
            return commit
    # A commit no branch leads to, or a ref outside branches and tags such as refs/pull/7/head.
    if _FULL_COMMIT.fullmatch(wanted) or wanted.startswith("refs/"):
        with contextlib.suppress(GitError):
            _fetch(git, mirror, lock, f"+{wanted}:refs/itdash/{wanted}")
        if commit := _commit(git, mirror, f"refs/itdash/{wanted}"):
            return commit
    message = "no such commit, branch or tag"
    raise GitError(message)


def _readings(wanted: str) -> list[str]:
    if wanted.startswith("refs/"):
        return [wanted] if wanted.startswith(("refs/heads/", "refs/tags/")) else []
    return [
        *([wanted] if _FULL_COMMIT.fullmatch(wanted) else []),
        f"refs/heads/{wanted}",
        f"refs/tags/{wanted}",
        *([wanted] if _SHORT_COMMIT.fullmatch(wanted) else []),
    ]


def _commit(git: Git, mirror: Path, name: str) -> str:
    """Return the commit a name points to, empty when there is none."""
    try:
        return git.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", folder=mirror).strip()
    except GitError:
        return ""


def _branch(git: Git, mirror: Path, ref: str) -> str:
    name = ref.removeprefix("refs/heads/")
    exists = _REF_NAME.fullmatch(name) and _commit(git, mirror, f"refs/heads/{name}")
    return name if exists else ""


def _write_files(git: Git, mirror: Path, commit: str, folder: Path) -> None:
    """Write the commit's files with an index of our own, so that runs do not wait for each other."""
    _remove(folder)
    folder.mkdir(parents=True)
    index = folder.with_name(f"{folder.name}.index")
    private = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
    try:
        git.run("read-tree", commit, folder=mirror, variables=private)
        git.run("checkout-index", "--all", "--force", folder=mirror, variables=private)
    finally:
        index.unlink(missing_ok=True)


def _describe(git: Git, mirror: Path, commit: str, branch: str, folder: Path) -> Checkout:
    facts = git.run("show", "--no-patch", "--format=%an%x00%cI%x00%B", commit, "--", folder=mirror)
    author, committed_at, message = facts.split("\0", 2)
    return Checkout(
        folder=folder,
        commit=commit,
        branch=branch,
        message=message.strip(),
        author=author,
        committed_at=datetime.fromisoformat(committed_at),
        notices=tuple(_notices(folder)),
    )


def _notices(folder: Path) -> Iterator[str]:
    if (folder / ".gitmodules").is_file():
        yield "The repository has submodules; their folders are empty, itdash does not fetch submodules."
    attributes = folder / ".gitattributes"
    if (
        attributes.is_file()
        and not attributes.is_symlink()
        and "filter=lfs" in attributes.read_text("utf-8", "replace")
    ):
        yield "The repository keeps files in Git LFS; they are checked out as pointers, not as their content."


def _explain(source: Source, reason: str) -> str:
    place = masked(source.repository, source.password)
    wanted = source.commit or source.ref or "the default branch"
    if source.commit and source.ref:
        wanted = f"{source.commit} ({source.ref})"
    mend = _mend(reason)
    return (
        f"{wanted} of {place} could not be checked out: {reason.removeprefix('fatal: ').rstrip('.')}. {mend}"
    )


def _mend(reason: str) -> str:
    """Say what to do, by what git is known to say."""
    known = {
        "no such commit": "Check the name; was it pushed, and not removed since?",
        "not our ref": "Check the name; was it pushed, and not removed since?",
        "could not read Username": "It wants a sign-in: add credentials to the project's settings.",
        "Authentication failed": "The credentials in the project's settings were refused: renew them.",
        "Permission denied (publickey": "The worker's SSH key is not known there: add it as a deploy key.",
        "Could not resolve host": "The worker cannot find that host: check the address and the worker's DNS.",
        "does not appear to be a git repository": "Check the address in the project's settings.",
        "not found": "Check the address in the project's settings and that its credentials may read it.",
        "time allowed": "Is the host reachable from the worker, and the repository not unusually large?",
    }
    return next((mend for sign, mend in known.items() if sign in reason), "Check the project's settings.")


def _remove(folder: Path) -> None:
    """Remove a checkout. What a container wrote as another user may resist: it is logged and swept again."""
    if folder.is_file():
        folder.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, onexc=_log_resistance)


def _log_resistance(_function: object, path: str, error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        logger.warning("A checkout's file could not be removed: %s: %s", path, error)
