"""Git, run safely: no prompts, no hooks, no foreign helpers, credentials only in its environment.

Everything a repository's address may carry is untrusted: it comes from a form. Transports that run
programs (``ext::``) are refused, options cannot be smuggled in, and no message shows a password.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from environments.errors import StoppedError

_POLL_SECONDS = 0.05
_TRANSPORTS = "file:git:http:https:ssh"
_SCP_FORM = re.compile(r"^(?:[\w.+-]+@)?[\w.-]+:(?!//)[^\s]+$")
_SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=15"
#: Anything between ``://`` and ``@`` in a message.
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
#: Answers only for the host it is configured for, so a redirect elsewhere gets nothing.
_CREDENTIAL_HELPER = (
    '!f() { test "$1" = get && '
    'printf "username=%s\\npassword=%s\\n" "$ITDASH_GIT_USERNAME" "$ITDASH_GIT_PASSWORD"; }; f'
)


class GitError(Exception):
    """Git could not do it; the message is git's own, without credentials."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository's address, split into what may be shown and what may not."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, address: str, *, username: str = "", password: str = "") -> Remote:
        """Read an absolute path, ``https://``, ``ssh://`` or ``user@host:path`` address.

        A user and password in the address are taken out of it. Raises `GitError` for anything else.
        """
        address = address.strip()
        if address.startswith("/") or _SCP_FORM.match(address):
            return cls(url=address)
        parts = urlsplit(address)
        if parts.scheme not in _TRANSPORTS.split(":") or not (parts.netloc or parts.scheme == "file"):
            message = (
                f"'{masked(address)}' is not a repository's address. Use an absolute path, "
                "https://host/path, ssh://user@host/path or user@host:path."
            )
            raise GitError(message)
        if not parts.scheme.startswith("http"):
            return cls(url=address)
        host = parts.netloc.rpartition("@")[2]
        return cls(
            url=urlunsplit(parts._replace(netloc=host)),
            username=unquote(parts.username or "") or username,
            password=unquote(parts.password or "") or password,
        )

    @property
    def local_path(self) -> Path | None:
        """Where it lies on this machine; None when it is elsewhere."""
        if self.url.startswith("/"):
            return Path(self.url)
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def key(self) -> str:
        """A folder name that is the same for the same repository and the same right to read it.

        Who knows an address and a commit must not get out of a mirror what only another's password opens.
        """
        readable = re.sub(r"[^\w.-]+", "-", self.url.rsplit(":", 1)[-1]).strip("-.")[-40:]
        opened_by = f"\n{self.username}\n{self.password}" if self.username or self.password else ""
        return f"{readable}-{hashlib.sha256(f'{self.url}{opened_by}'.encode()).hexdigest()[:12]}"

    def __str__(self) -> str:
        return _USERINFO.sub("", self.url)


def masked(text: str, *secrets: str) -> str:
    """Return the text without the secrets and without anything that looks like credentials in a URL."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _USERINFO.sub("***@", text)


@dataclass(frozen=True, slots=True)
class Git:
    """Runs git for one repository until a deadline, or until `stop` is set."""

    remote: Remote
    #: What git gets of this process's environment: proxies, certificates, the ssh agent; no secrets.
    variables: Mapping[str, str]
    configuration: Path
    stop: threading.Event
    #: Of `time.monotonic`.
    deadline: float

    def run(
        self,
        *arguments: str,
        folder: Path,
        variables: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> str:
        """Run git in a bare repository; return its standard output.

        Raises `GitError` with git's message, also when the time is up, and `StoppedError`.
        `keep_open` are file descriptors, such as a lock's, that live as long as git does.
        """
        program = shutil.which("git", path=self._environment()["PATH"])
        if program is None:
            message = "git is not installed where this worker runs; install it, `itdash doctor` checks it."
            raise GitError(message)
        with subprocess.Popen(  # noqa: S603 - a fixed program and a list of arguments, no shell
            [program, *_OPTIONS, "--git-dir", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment() | dict(variables or {}),
            cwd=folder,
            pass_fds=keep_open,
            start_new_session=True,
        ) as process:
            output, complaint = self._wait(process, arguments[0])
        if process.returncode != 0:
            raise GitError(self._first_lines(complaint) or f"git {arguments[0]} failed")
        return output.decode("utf-8", "replace")

    def succeeds(self, *arguments: str, folder: Path) -> bool:
        """Say whether git exits with 0."""
        try:
            self.run(*arguments, folder=folder)
        except GitError:
            return False
        return True

    def _wait(self, process: subprocess.Popen[bytes], command: str) -> tuple[bytes, bytes]:
        while True:
            try:
                return process.communicate(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if self.stop.is_set():
                    _kill(process)
                    message = f"git {command} was stopped"
                    raise StoppedError(message) from None
                if time.monotonic() > self.deadline:
                    _kill(process)
                    message = f"git {command} did not end in the time allowed"
                    raise GitError(message) from None

    def _environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            **self.variables,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": _TRANSPORTS,
            "GIT_CONFIG_GLOBAL": str(self.configuration),
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": _SSH,
        }
        if not self.remote.password:
            return environment
        parts = urlsplit(self.remote.url)
        return environment | {
            "ITDASH_GIT_USERNAME": self.remote.username or "git",
            "ITDASH_GIT_PASSWORD": self.remote.password,
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "credential.helper",
            "GIT_CONFIG_VALUE_0": "",
            "GIT_CONFIG_KEY_1": f"credential.{parts.scheme}://{parts.netloc}.helper",
            "GIT_CONFIG_VALUE_1": _CREDENTIAL_HELPER,
        }

    def _first_lines(self, complaint: bytes) -> str:
        lines = [line.strip() for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
        return masked("; ".join(lines[:3]), self.remote.password)


_OPTIONS = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.longpaths=true",
    "-c", "protocol.file.allow=always",
    "-c", "http.lowSpeedLimit=1000",
    "-c", "http.lowSpeedTime=60",
    "-c", "gc.autoDetach=false",
    "-c", "advice.detachedHead=false",
)  # fmt: skip


def write_configuration(path: Path) -> Path:
    """Write git's configuration for all mirrors; the operator's own is included after it.

    A file and not ``-c``: git forgets command-line configuration when it starts the other side of a
    local fetch, which then refuses folders that belong to someone else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    own = Path.home() / ".gitconfig"
    draft.write_text(f'[safe]\n\tdirectory = *\n[include]\n\tpath = "{own}"\n', encoding="utf-8")
    draft.replace(path)
    return path


@contextlib.contextmanager
def locked(path: Path, *, stop: threading.Event, deadline: float) -> Iterator[int]:
    """Hold a lock across processes; yield its descriptor, to be kept open by what must not be overtaken.

    Raises `GitError` at the deadline and `StoppedError` when `stop` is set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(descriptor):
            if stop.wait(_POLL_SECONDS):
                message = "stopped while another run was fetching the repository"
                raise StoppedError(message)
            if time.monotonic() > deadline:
                message = "another run has been fetching this repository for the whole time allowed"
                raise GitError(message)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill git and the helpers it started (ssh, git-remote-https), then read what is left of its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
