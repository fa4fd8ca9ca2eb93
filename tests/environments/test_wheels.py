"""Servers out of wheels: started where a start was killed, where the path is long, where root runs them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGKILL

import psycopg
import pytest
import redis

from environments import wheels
from environments.wheels import programs as programs_room

SETTINGS = {"fsync": "off", "shared_buffers": "16MB", "log_min_messages": "panic"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends an account")


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on the folder, with the address of its database."""
    account = wheels.initialise_cluster(folder, durable=False)
    sockets = wheels.socket_folder(folder.parent / "sockets", account)
    launch = wheels.postgres_launch(folder, sockets=sockets, settings=SETTINGS)
    process = subprocess.Popen(launch.command, **launch.place(), stderr=subprocess.DEVNULL)
    try:
        wheels.wait_for_postgres(process, sockets)
        wheels.ensure_database(sockets)
        yield process, wheels.postgres_url(sockets)
    finally:
        process.send_signal(SIGINT)
        process.wait(timeout=20)
        wheels.remove_socket_folder(folder.parent / "sockets", account)


@contextmanager
def valkey(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    sockets = wheels.socket_folder(folder.parent / "sockets")
    launch = wheels.valkey_launch(
        folder,
        sockets=sockets,
        settings={"appendonly": "yes", "appendfsync": "always", "loglevel": "nothing"},
    )
    process = subprocess.Popen(launch.command, **launch.place())
    try:
        wheels.wait_for_valkey(process, sockets)
        yield process, wheels.valkey_url(sockets)
    finally:
        process.terminate()
        process.wait(timeout=20)


def write_note(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE note (text text)")
        connection.execute("INSERT INTO note VALUES ('kept')")


def read_note(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT text FROM note").fetchone()
    assert row is not None
    return str(row[0])


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with postgres(tmp_path / "data") as (_, url):
        write_note(url)

    with postgres(tmp_path / "data") as (_, url):
        assert read_note(url) == "kept"


def test_postgresql_18_listens_on_its_socket_alone(tmp_path: Path) -> None:
    with postgres(tmp_path / "data") as (_, url), psycopg.connect(url) as connection:
        rows = connection.execute("SHOW listen_addresses").fetchone()
        version = connection.info.server_version // 10000

    assert (rows, version) == (("",), 18)


def test_a_lock_file_that_names_a_living_stranger_is_no_obstacle(tmp_path: Path) -> None:
    with postgres(tmp_path / "data") as (_, url):
        write_note(url)
    # A crash leaves the file, and the number belongs to somebody else by now: to this process.
    lock = tmp_path / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n/proc/self/cwd\n1\n5432\n/nowhere\n\n1 1\nready\n")

    with postgres(tmp_path / "data") as (_, url):
        assert read_note(url) == "kept"


def test_a_killed_server_starts_again_with_what_was_committed(tmp_path: Path) -> None:
    with postgres(tmp_path / "data") as (process, url):
        write_note(url)
        process.send_signal(SIGKILL)
        process.wait(timeout=20)

    with postgres(tmp_path / "data") as (_, url):
        assert read_note(url) == "kept"


def test_a_second_server_on_a_living_one_is_refused_by_name(tmp_path: Path) -> None:
    with postgres(tmp_path / "data") as (process, _):
        with pytest.raises(wheels.WheelsError) as refusal:
            wheels.postgres_launch(tmp_path / "data", sockets=tmp_path)

        assert f"already runs on {tmp_path}/data as process {process.pid}. Stop it" in str(refusal.value)


def test_what_a_killed_initialisation_left_is_removed(tmp_path: Path) -> None:
    half = tmp_path / ".data.unfinished-abc"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    with postgres(tmp_path / "data") as (_, url):
        write_note(url)

    assert not half.exists()


def test_a_folder_that_is_half_a_cluster_is_moved_aside_and_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "global").mkdir(parents=True)
    (folder / "global" / "pg_control").write_bytes(b"half")

    with postgres(folder) as (_, url):
        write_note(url)

    (aside,) = tmp_path.glob("data.set-aside-*")
    assert (aside / "global" / "pg_control").read_bytes() == b"half"


def test_a_cluster_of_another_version_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("global/pg_control", "base/5/PG_VERSION", "PG_VERSION"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("17\n")

    with pytest.raises(
        wheels.WheelsError, match=r"written by PostgreSQL 17; this is PostgreSQL 18\. Move it"
    ):
        wheels.initialise_cluster(folder)

    assert (folder / "PG_VERSION").read_text() == "17\n"


def test_a_path_too_long_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)

    sockets = wheels.socket_folder(folder)

    try:
        assert len(os.fsencode(sockets / wheels.POSTGRES_SOCKET_NAME)) <= 103
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert wheels.socket_folder(folder) == sockets
    finally:
        wheels.remove_socket_folder(folder)
    assert not sockets.exists()


def test_a_socket_folder_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    sockets = wheels.socket_folder(folder)
    sockets.rmdir()
    sockets.symlink_to(tmp_path)

    try:
        with pytest.raises(wheels.WheelsError, match="belongs to somebody else"):
            wheels.socket_folder(folder)
    finally:
        sockets.unlink()


@AS_ROOT
def test_as_root_a_server_runs_below_a_folder_that_its_account_cannot_enter(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    with postgres(private / "data") as (process, url):
        write_note(url)
        owner = Path(f"/proc/{process.pid}").stat().st_uid

    assert owner != 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@AS_ROOT
def test_as_root_programs_in_a_private_place_are_copied_to_a_readable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private" / "site"
    programs = wheels.postgres_programs()
    package = programs.parent.parent
    shutil.copytree(package, private / package.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), private / f"{package.name}.libs")
    private.parent.chmod(0o700)
    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setattr(programs_room, "package_folder", lambda *_: private / package.name)
    monkeypatch.setattr(programs_room, "program_store", lambda: store)
    monkeypatch.setattr(
        programs_room, "reachable", lambda path, account: account is None or private not in path.parents
    )

    programs = programs_room.programs_for(wheels.server_account())

    assert store in programs.parents
    told = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("postgres (PostgreSQL) 18.")


def test_valkey_keeps_its_data_and_takes_over_a_socket_left_behind(tmp_path: Path) -> None:
    with valkey(tmp_path / "data") as (process, url):
        with redis.Redis.from_url(url) as client:
            client.set("note", "kept")
        process.kill()
        process.wait(timeout=20)
    assert (tmp_path / "sockets" / "sockets" / wheels.VALKEY_SOCKET_NAME).exists()

    with valkey(tmp_path / "data") as (_, url), redis.Redis.from_url(url) as client:
        assert client.get("note") == b"kept"


def test_a_cluster_with_a_password_asks_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    account = wheels.initialise_cluster(folder, superuser="shop", password="s3cret", durable=False)
    sockets = wheels.socket_folder(tmp_path / "sockets", account)
    launch = wheels.postgres_launch(folder, sockets=sockets, settings=SETTINGS)
    process = subprocess.Popen(launch.command, **launch.place(), stderr=subprocess.DEVNULL)
    try:
        wheels.wait_for_postgres(process, sockets)
        address = wheels.postgres_url(sockets, database="postgres", superuser="shop")

        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(address)
        psycopg.connect(address, password="s3cret").close()
    finally:
        process.send_signal(SIGINT)
        process.wait(timeout=20)
        wheels.remove_socket_folder(tmp_path / "sockets", account)
