"""What the local engine starts in place of well-known images."""

from __future__ import annotations

import psycopg
import pytest
import redis

from environments.local_engine import LocalEngine
from environments.local_engine.folders import EnvironmentFolder
from environments.spec import (
    HealthCheck,
    Mount,
    MountKind,
    ServiceSpec,
)
from tests.environments.local import REF, Local


@pytest.mark.parametrize("depth", [0, 3])
def test_postgres_is_set_up_as_its_image_would_be(local: Local, depth: int) -> None:
    # A socket's path may hold 107 bytes; an environment's may not be held to that.
    local.root = local.root.joinpath(*["a-folder-with-a-rather-long-name"] * depth)
    local.engine = LocalEngine(local.root)
    scripts = local.directory / "sql"
    scripts.mkdir()
    (scripts / "1-tables.sql").write_text("CREATE TABLE users (id int);\nINSERT INTO users\nVALUES (7);")
    (scripts / "2-more.sh").write_text('psql -c "INSERT INTO users VALUES (8)"')
    db = ServiceSpec(
        name="db",
        image="docker.io/library/postgres:17-alpine",
        command=("postgres", "-c", "max_connections=33"),
        environment={
            "POSTGRES_USER": "shop-owner",
            "POSTGRES_PASSWORD": "it's p@ss",
            "POSTGRES_DB": "my shop",
        },
        mounts=(Mount(MountKind.BIND, "/docker-entrypoint-initdb.d", str(scripts)),),
        healthcheck=HealthCheck(test=("CMD", "pg_isready", "-U", "somebody")),
    )
    local.up(db)
    local.ready("db")
    port = EnvironmentFolder.of(local.root, REF.name).ports()["db"]["5432"]
    login = {"host": "127.0.0.1", "port": port, "user": "shop-owner", "dbname": "my shop"}

    with psycopg.connect(**login, password="it's p@ss") as connection:  # type: ignore[arg-type]
        rows = connection.execute("SELECT id FROM users ORDER BY id").fetchall()
        limit = connection.execute("SHOW max_connections").fetchone()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**login, password="wrong")  # type: ignore[arg-type]
    inside = local.engine.execute(REF, "db", ["psql", "-tAc", "SELECT 1"], timeout_seconds=10)

    assert (rows, limit) == ([(7,), (8,)], ("33",))
    assert (inside.exit_code, inside.output) == (0, "1\n")


def test_postgres_keeps_its_data_over_a_kill(local: Local) -> None:
    local.up(ServiceSpec(name="db", image="postgres"))
    local.ready("db")
    sql = ["psql", "-tAc", "CREATE TABLE kept (id int); SELECT count(*) FROM kept"]
    assert local.engine.execute(REF, "db", sql, timeout_seconds=10).output.endswith("0\n")

    local.engine.kill_service(REF, "db")
    local.engine.start_service(REF, "db")
    local.ready("db")

    again = local.engine.execute(REF, "db", ["psql", "-tAc", "SELECT count(*) FROM kept"], timeout_seconds=10)
    assert again.output == "0\n"


def test_valkey_takes_its_files_options(local: Local) -> None:
    cache = ServiceSpec(name="cache", image="redis:7", command=("redis-server", "--requirepass", "hush"))
    local.up(cache)
    local.ready("cache")
    port = EnvironmentFolder.of(local.root, REF.name).ports()["cache"]["6379"]

    with redis.Redis(port=port, password="hush") as client:
        assert client.ping()
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
