"""Real git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent


def git(folder: Path, *arguments: str) -> str:
    """Run git there as Ada Lovelace, untouched by anybody's configuration; return what it printed."""
    identity = ["-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org"]
    done = subprocess.run(
        ["git", *identity, "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "HOME": str(folder)},
    )
    return done.stdout.strip()


def make_repository(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """Make a repository with one commit on main."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, files or {"README": "first\n"}, "Begin")
    return folder


def commit(repository: Path, files: Mapping[str, str], message: str = "Go on") -> str:
    """Write the files and commit everything; return the commit."""
    for name, content in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(content))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)
    return git(repository, "rev-parse", "HEAD")
