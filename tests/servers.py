"""Real PostgreSQL and Valkey for the tests, started before Django reads its settings.

Loaded as an early pytest plugin (``-p tests.servers``). Servers named by DATABASE_URL and BROKER_URL
are used instead when set. Processes that pass the tests side by side each have servers of their own: they
share a machine, not a broker, so no test hears another's doorbell.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from tests.start_servers import start_postgres, start_valkey

#: What is set here unless the caller did.
NAMES = ("ITDASH_INSTANCE", "DATABASE_URL", "BROKER_URL", "ITDASH_DATA_DIR")
#: Which of them were set here: handed down to side-by-side workers, who set their own.
OURS = "ITDASH_TESTS_SET"


def _start() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in os.environ.pop(OURS, "").split():
            del os.environ[name]
    given = {name for name in NAMES if name in os.environ}
    _start_missing()
    os.environ[OURS] = " ".join(name for name in NAMES if name not in given)


def _start_missing() -> None:
    # Another installation's reaper on the same engine must not take these tests' environments for its own.
    os.environ.setdefault("ITDASH_INSTANCE", f"tests-{secrets.token_hex(4)}")
    # Reports of the tests are from fixed days, which no day on which the tests are run makes too old.
    os.environ.setdefault("ITDASH_KEEP_RESULTS_DAYS", "0")
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
