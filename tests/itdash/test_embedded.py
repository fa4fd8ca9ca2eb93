"""What a data folder holds besides the servers' data: the key, the lock, the note of what runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from itdash import embedded

RUNNING = embedded.Running(
    database_url="postgresql://itdash@/itdash?host=/run", broker_url="unix:///run/v", public_url="http://h"
)


def test_the_signing_key_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    key = embedded.secret_key(tmp_path)

    assert len(key) == 67  # 50 random bytes in base64 without padding
    assert embedded.secret_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "secret-key").stat().st_mode) == 0o600


def test_two_data_folders_have_two_names_on_a_shared_engine(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()

    names = [embedded.instance_name(folder) for folder in (first, second, first)]

    assert names[0] == names[2] != names[1]
    assert names[0].startswith("itdash-")


def test_a_data_folder_is_held_by_one_process_and_the_second_is_told_which(tmp_path: Path) -> None:
    with embedded.hold(tmp_path, public_url="http://localhost:8000"):
        with pytest.raises(embedded.AlreadyRunningError) as refusal:
            embedded.hold(tmp_path, public_url="http://localhost:8001")

        assert str(refusal.value) == (
            f"itdash runs on {tmp_path} already, as process {os.getpid()}, at http://localhost:8000. "
            f"Stop it (`kill {os.getpid()}`), or choose another folder with --data-dir."
        )

    embedded.hold(tmp_path, public_url="http://localhost:8001").close()


def test_commands_find_what_runs_and_not_what_ran(tmp_path: Path) -> None:
    assert embedded.find_running(tmp_path) is None

    with embedded.hold(tmp_path, public_url="http://h"):
        assert embedded.find_running(tmp_path) is None
        embedded.note_running(tmp_path, RUNNING)
        assert embedded.find_running(tmp_path) == RUNNING

    # After a crash the note is still there, and nobody holds the folder.
    assert (tmp_path / "running.json").exists()
    assert embedded.find_running(tmp_path) is None


def test_looking_for_what_runs_does_not_keep_anybody_from_starting(tmp_path: Path) -> None:
    embedded.hold(tmp_path, public_url="http://h").close()
    assert embedded.find_running(tmp_path) is None

    embedded.hold(tmp_path, public_url="http://h").close()
