"""Django for the commands that talk to the database directly, beside a running `itdash up` or without one."""

from __future__ import annotations

import argparse
from pathlib import Path

from itdash.embedded import find_running
from itdash.env import environment, set_environment

DATABASE_HINT = "the database does not answer. Start it with `itdash up`, or set DATABASE_URL."


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Declare --data-dir."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=environment().data_dir,
        metavar="DIR",
        help="everything on disk (default: ITDASH_DATA_DIR or %(default)s)",
    )


def set_up_django(data_dir: Path) -> None:
    """Get Django ready on the configured database, or on that of the `itdash up` that runs on `data_dir`."""
    values = {"DJANGO_SETTINGS_MODULE": "itdash.settings", "ITDASH_DATA_DIR": str(data_dir.resolve())}
    running = find_running(data_dir)
    configured = environment().model_fields_set
    if running:
        if "database_url" not in configured:
            values["DATABASE_URL"] = running.database_url
        if "broker_url" not in configured:
            values["BROKER_URL"] = running.broker_url
        if "public_url" not in configured:
            values["ITDASH_PUBLIC_URL"] = running.public_url
    set_environment(values)
    import django  # noqa: PLC0415 - the settings are read here, so their variables come first

    django.setup()
