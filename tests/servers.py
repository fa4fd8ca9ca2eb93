"""Real PostgreSQL and Valkey for the tests, started before Django reads its settings.

Loaded as an early pytest plugin (``-p tests.servers``). Servers named by DATABASE_URL and BROKER_URL
are used instead when set.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from tests.start_servers import start_postgres, start_valkey


def _start() -> None:
    # Another installation's reaper on the same engine must not take these tests' environments for its own.
    os.environ.setdefault("ITDASH_INSTANCE", f"tests-{secrets.token_hex(4)}")
    if "DATABASE_URL" in os.environ and "BROKER_URL" in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="itdash-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if "DATABASE_URL" not in os.environ:
        url, stop = start_postgres(folder / "postgres")
        os.environ["DATABASE_URL"] = url
        atexit.register(stop)
    if "BROKER_URL" not in os.environ:
        url, stop = start_valkey(folder / "valkey")
        os.environ["BROKER_URL"] = url
        atexit.register(stop)
    os.environ.setdefault("ITDASH_DATA_DIR", str(folder / "data"))
    os.environ.setdefault("ITDASH_LOG_LEVEL", "WARNING")


_start()
