"""The database's shape, as numbered pairs of SQL files: ``python3 -m shop.migrate [VERSION]``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

FOLDER = Path(__file__).parent / "migrations"
#: Two migrations at once take turns: any number that nobody else locks.
LOCK = 20_251_121


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    up: str
    down: str


def migrations() -> list[Migration]:
    """Every migration, oldest first."""
    return [
        Migration(
            version=int(path.name.split("_")[0]),
            name=path.name.removesuffix(".up.sql"),
            up=path.read_text(encoding="utf-8"),
            down=path.with_name(path.name.replace(".up.sql", ".down.sql")).read_text(encoding="utf-8"),
        )
        for path in sorted(FOLDER.glob("*.up.sql"))
    ]


def current_version(connection: psycopg.Connection[Any]) -> int:
    """The newest migration that is applied; 0 for an empty database."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration"
        " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    row = connection.execute("SELECT coalesce(max(version), 0) AS version FROM schema_migration").fetchone()
    return int(row[0]) if row else 0


def migrate(database_url: str, target: int | None = None) -> list[str]:
    """Go up or down to a version, the newest by default, in one transaction; returns what was done."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        version = current_version(connection)
        steps = migrations()
        target = steps[-1].version if target is None else target
        up = [step for step in steps if version < step.version <= target]
        down = [step for step in reversed(steps) if target < step.version <= version]
        for step in up:
            connection.execute(step.up.encode())
            connection.execute("INSERT INTO schema_migration (version) VALUES (%s)", (step.version,))
        for step in down:
            connection.execute(step.down.encode())
            connection.execute("DELETE FROM schema_migration WHERE version = %s", (step.version,))
        return [f"up {step.name}" for step in up] + [f"down {step.name}" for step in down]


def main(arguments: list[str]) -> None:
    done = migrate(os.environ["DATABASE_URL"], int(arguments[0]) if arguments else None)
    print("\n".join(done) or "nothing to do", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
