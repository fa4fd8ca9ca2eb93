"""Starts PostgreSQL as the image of that name would: ``python -m environments.local_engine.postgres FOLDER``.

Makes the cluster, its database and runs the scripts of ``/docker-entrypoint-initdb.d`` before the server
listens for anybody, then becomes the server: same process, so that signals and exit codes are PostgreSQL's.
A start that was killed half-way begins anew: data that is not marked as ready is nobody's.
"""

from __future__ import annotations

import ctypes
import gzip
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from environments import wheels
from environments.errors import EnvironmentsError
from environments.local_engine.folders import Program, ServiceFolder
from environments.local_engine.keeper import PR_SET_PDEATHSIG

#: Data of a test lives minutes: nothing waits for the disk. It still outlives a killed server, which is why
#: `synchronous_commit` stays on. Sizes fit a small machine.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
}
#: A socket's path holds 107 bytes (103 on macOS); the longest folder in which one is certain to fit.
SHORT_PATH_BYTES = 85
SCRIPTS = "/docker-entrypoint-initdb.d"


def main(folder: ServiceFolder, words: Sequence[str]) -> None:
    """Become the server of the service. Raises when its data cannot be made."""
    program = folder.program()
    if program is None:
        message = f"{folder.path} holds no program"
        raise SystemExit(message)
    if not folder.prepared.exists():
        _prepare(folder, program)
    port = int(next(iter(program.own_ports.values())))
    settings = {**FAST, **_settings(words), "unix_socket_directories": ""}
    launch = wheels.postgres_launch(
        folder.data, sockets=folder.data, port=port, listen="127.0.0.1", settings=settings
    )
    _become(launch)


def _prepare(folder: ServiceFolder, program: Program) -> None:
    shutil.rmtree(folder.data, ignore_errors=True)
    user = program.environment["POSTGRES_USER"]
    wheels.initialise_cluster(folder.data, superuser=user, durable=False)
    _name_database_and_password(folder.data, program.environment)
    _admit(folder.data, trust=program.environment.get("POSTGRES_HOST_AUTH_METHOD") == "trust")
    if scripts := _scripts(program):
        _run_scripts(folder.data, program, scripts)
    folder.prepared.touch()


def _name_database_and_password(data: Path, variables: Mapping[str, str]) -> None:
    """Without a server: a backend on its own takes a tenth of a second and listens to nobody."""
    launch = wheels.postgres_launch(data, sockets=data)
    server, _, place, *_ = launch.command
    user, database = (variables[name].replace('"', '""') for name in ("POSTGRES_USER", "POSTGRES_DB"))
    password = variables["POSTGRES_PASSWORD"].replace("'", "''")
    statements = [f"ALTER ROLE \"{user}\" PASSWORD '{password}'"]
    if database != "postgres":
        statements.append(f'CREATE DATABASE "{database}"')
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        [server, "--single", "-D", place, "-c", "fsync=off", "-c", "log_statement=none", "postgres"],
        **launch.place(),
        input="".join(f"{statement}\n" for statement in statements),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or "ERROR:" in done.stderr:
        message = f"PostgreSQL could not create the database {database}: {done.stderr.strip()}"
        raise EnvironmentsError(message)


def _admit(data: Path, *, trust: bool) -> None:
    """The image's rules: a password over TCP, none on the socket, which only the scripts below get to see."""
    method = "trust" if trust else "scram-sha-256"
    rules = (
        "local all all trust",
        f"host all all 127.0.0.1/32 {method}",
        f"host replication all 127.0.0.1/32 {method}",
    )
    # The file exists and belongs to the server's account; it is written over, not replaced.
    (data / "pg_hba.conf").write_text("".join(f"{rule}\n" for rule in rules))


def _scripts(program: Program) -> list[Path]:
    found: list[Path] = []
    for target, place in program.paths.items():
        if target == SCRIPTS:
            found += Path(place).iterdir()
        elif target.startswith(f"{SCRIPTS}/"):
            found.append(Path(place))
    return sorted((path for path in found if path.is_file()), key=lambda path: path.name)


def _run_scripts(data: Path, program: Program, scripts: Sequence[Path]) -> None:
    """Against a server that listens on a socket only, as the image does.

    The socket lies in the data itself, so that nothing is left elsewhere whenever this is killed.
    """
    settings = {**FAST, "unix_socket_directories": "."}
    launch = wheels.postgres_launch(data, sockets=data, settings=settings)
    with subprocess.Popen(launch.command, **launch.place()) as server:  # noqa: S603 - our own program
        try:
            # By way of the server's own folder where the path of the socket would be too long for one.
            is_short = len(os.fsencode(data)) <= SHORT_PATH_BYTES
            place = str(data) if is_short else f"/proc/{server.pid}/cwd"
            variables = {**program.environment, "PGHOST": place, "PGPORT": "5432"}
            _until_it_answers(server, variables)
            for script in scripts:
                _run_script(script, variables)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def _until_it_answers(server: subprocess.Popen[bytes], variables: Mapping[str, str]) -> None:
    ready = [str(wheels.postgres_programs() / "pg_isready"), "-q", "-t", "1"]
    while subprocess.run(ready, env=dict(variables), check=False).returncode:  # noqa: S603 - our own program
        try:
            server.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        message = "PostgreSQL ended while its scripts were to be run; the lines above say why."
        raise EnvironmentsError(message)


def _run_script(script: Path, variables: Mapping[str, str]) -> None:
    print(f"running {script.name}", flush=True)  # noqa: T201 - the service's log
    psql = [str(wheels.postgres_programs() / "psql"), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-q"]
    match script.suffixes:
        case [*_, ".sh"]:
            command, text = ["/bin/sh", str(script)], b""
        case [*_, ".sql", ".gz"]:
            command, text = psql, gzip.decompress(script.read_bytes())
        case [*_, ".sql"]:
            command, text = psql, script.read_bytes()
        case _:
            return
    done = subprocess.run(command, input=text, env=dict(variables), check=False)  # noqa: S603 - a trusted suite's
    if done.returncode:
        message = f"{script.name} failed with exit code {done.returncode}; the lines above say why."
        raise EnvironmentsError(message)


def _settings(words: Sequence[str]) -> dict[str, str]:
    """The ``-c name=value`` and ``--name=value`` of a command that is written for the image."""
    found = {}
    for before, word in zip(("", *words), words, strict=False):
        setting = word if before == "-c" else word.removeprefix("--") if word.startswith("--") else ""
        name, equals, value = setting.partition("=")
        if equals:
            found[name.replace("-", "_")] = value
    return found


def _become(launch: wheels.Launch) -> None:
    """Replace this process by the server, in its folder and as its account."""
    os.chdir(launch.folder)
    os.umask(0o077)
    if launch.account:
        os.setgroups([])
        os.setgid(launch.account.group_id)
        os.setuid(launch.account.user_id)
        # Changing the user forgot what the keeper had asked for: to die with it.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.execv(launch.command[0], launch.command)  # noqa: S606 - becoming it is the point


if __name__ == "__main__":
    try:
        main(ServiceFolder(Path(sys.argv[1])), sys.argv[2:])
    except EnvironmentsError as error:
        sys.exit(str(error))
