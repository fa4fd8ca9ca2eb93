import json
import re
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any

import jsonschema
import pytest
import yaml

from environments import policy
from environments.errors import SpecError
from environments.presets import (
    Preset,
    connection_for,
    filled,
    preset_for,
    presets,
    repository_of,
    variables_for,
)
from environments.probes import asks_where_setup_answers
from environments.spec import (
    Build,
    Dependency,
    EnvironmentSpec,
    Mount,
    MountKind,
    ServiceSpec,
    load_environment,
)
from tests.conftest import ROOT

MEBIBYTE = 1024**2
FOLDER = resources.files("environments.presets")
NAMES = [
    "clickhouse",
    "elasticsearch",
    "kafka",
    "localstack",
    "mailpit",
    "mariadb",
    "memcached",
    "minio",
    "mongo",
    "mssql",
    "mysql",
    "nats",
    "opensearch",
    "postgres",
    "rabbitmq",
    "redis",
    "redpanda",
    "timescaledb",
    "valkey",
    "vault",
]
#: Presets whose first start brings up a server that only initialises, and what it does not serve.
FIRST_SERVERS = {
    "postgres": "-h 127.0.0.1",  # a socket alone
    "timescaledb": "-h 127.0.0.1",
    "mysql": "--protocol=tcp",  # --skip-networking
    "mariadb": "--protocol=tcp",
    "mongo": '--host "$(hostname)"',  # --bind_ip 127.0.0.1
    "clickhouse": '--host "$(hostname)"',  # --listen_host=127.0.0.1
}

every_preset = pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.name)


def raw(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def fields_in(template: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(template) if field}


def of(*services: ServiceSpec) -> EnvironmentSpec:
    return EnvironmentSpec({service.name: service for service in services})


def asking(preset: str, *, name: str = "it", **facts: Any) -> ServiceSpec:
    return ServiceSpec(name=name, extension={"preset": preset}, **facts)


def needing(*services: str, **facts: Any) -> ServiceSpec:
    return ServiceSpec(
        name="api", image="api", depends_on=tuple(Dependency(name) for name in services), **facts
    )


# --- the data files --------------------------------------------------------------------------------------


def test_there_are_twenty() -> None:
    assert list(presets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_data_file_follows_the_schema(name: str) -> None:
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(raw(name), schema, cls=jsonschema.Draft202012Validator)


@every_preset
def test_a_presets_templates_name_only_what_it_knows(preset: Preset) -> None:
    known = {*preset.variables, "host"}

    assert {name for value in preset.variables.values() for name in fields_in(value)} <= known
    assert {name for value in preset.connection.values() for name in fields_in(value)} <= known | {"port"}
    assert {name for word in preset.command or () for name in fields_in(word)} <= {"host"}


@every_preset
def test_a_dependant_is_told_everything(preset: Preset) -> None:
    spec = filled(of(asking(preset.name), needing("it")))

    told = spec.services["api"].environment
    assert set(preset.connection) | {"IT_URL"} == set(told)
    assert not [value for value in told.values() if "{" in value]
    assert told["IT_URL"] == next(iter(told[name] for name in preset.connection))
    assert re.search(r"\bit\b", told["IT_URL"])


@every_preset
def test_a_preset_asks_for_nothing_that_a_shared_engine_refuses(preset: Preset) -> None:
    policy.check(filled(of(asking(preset.name), needing("it"))))


@every_preset
def test_a_health_check_is_a_program_of_the_shell_that_can_be_read(preset: Preset) -> None:
    kind, *words = preset.healthcheck.test

    assert not asks_where_setup_answers(preset.healthcheck)
    assert kind == "CMD" or (len(words) == 1 and "\n" not in words[0])


@pytest.mark.parametrize(("name", "word"), FIRST_SERVERS.items())
def test_a_server_that_only_initialises_is_asked_where_it_does_not_answer(name: str, word: str) -> None:
    assert word in presets()[name].healthcheck.test[1]


@every_preset
def test_the_documentation_lists_the_preset(preset: Preset) -> None:
    rows = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8").splitlines()
    [row] = [row for row in rows if row.startswith(f"| `{preset.name}` |")]

    assert f"`{preset.image}`" in row
    assert [name for name in preset.connection if f"`{name}`" not in row] == []
    assert [image for image in preset.images if f"`{image}`" not in "\n".join(rows)] == []


# --- which preset ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("postgres", "postgres"),
        ("postgres:17-alpine", "postgres"),
        ("docker.io/library/postgres:17", "postgres"),
        ("localhost:5000/acme/postgres@sha256:00", "acme/postgres"),
        ("ghcr.io/acme/db/postgres:1", "acme/db/postgres"),
        ("acme/postgres:17", "acme/postgres"),
    ],
)
def test_an_image_is_known_by_its_repository(image: str, repository: str) -> None:
    assert repository_of(image) == repository


@pytest.mark.parametrize(
    ("image", "preset"),
    [
        ("postgres:17", "postgres"),
        ("mirror.example/postgres:17", "postgres"),
        ("bitnami/postgresql:16", "postgres"),
        ("timescale/timescaledb:latest-pg16", "timescaledb"),
        ("redis:7", "redis"),
        ("valkey/valkey:8", "valkey"),
        ("mysql:8", "mysql"),
        ("acme/orders:1", None),
        ("postgres-exporter:1", None),
        # Its check holds only for the preset's own settings, without encryption: it has to be asked for.
        ("elasticsearch:8.17.0", None),
        ("nats:2", None),
    ],
)
def test_a_well_known_image_finds_its_preset(image: str, preset: str | None) -> None:
    found = preset_for(ServiceSpec(name="db", image=image))

    assert (found.name if found else None) == preset


def test_a_service_may_name_its_preset_or_refuse_one() -> None:
    assert preset_for(asking("redis", image="acme/queue")) is presets()["redis"]
    assert preset_for(asking("none", image="postgres:17")) is None


def test_an_unknown_preset_is_refused_with_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  db:\n    x-itdash: {preset: postgers}\n")
    spec = load_environment([file], directory=tmp_path, variables={})

    with pytest.raises(SpecError) as caught:
        filled(spec)

    [problem] = caught.value.problems
    assert (problem.line, problem.key) == (3, "services.db.x-itdash.preset")
    assert problem.mend == "Did you mean 'postgres'?"


@pytest.mark.parametrize("extension", ["{preset: none}", "{preset: [postgres]}", "{}"])
def test_a_service_without_a_preset_needs_an_image(tmp_path: Path, extension: str) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(f"services:\n  db:\n    x-itdash: {extension}\n")

    with pytest.raises(SpecError, match="neither an image nor a build context"):
        load_environment([file], directory=tmp_path, variables={})


# --- what it fills in ------------------------------------------------------------------------------------


def test_a_service_that_asks_gets_everything() -> None:
    db = filled(of(asking("postgres", name="db"))).services["db"]

    assert db.image == "postgres:17.6"
    assert db.command == ("postgres", "-c", "fsync=off", "-c", "full_page_writes=off")
    assert db.environment["POSTGRES_PASSWORD"] == "postgres"
    assert db.mounts == (
        Mount(MountKind.TMPFS, "/var/lib/postgresql/data", size_bytes=1024 * MEBIBYTE),  # half of 2g
    )
    assert (db.memory_bytes, db.shm_size_bytes) == (2048 * MEBIBYTE, 256 * MEBIBYTE)


def test_a_service_known_by_its_image_stays_as_its_file_describes_it() -> None:
    spec = of(ServiceSpec(name="db", image="postgres:17"), needing("db"))

    assert filled(spec) == spec


def test_the_file_wins_over_the_preset() -> None:
    mine = asking(
        "postgres",
        name="db",
        image="postgres:15",
        command=("postgres", "-c", "fsync=on"),
        environment={"POSTGRES_DB": "orders"},
        mounts=(Mount(MountKind.VOLUME, "/var/lib/postgresql", "kept"),),
        memory_bytes=64 * MEBIBYTE,
        pids_limit=99,
    )

    db = filled(of(mine)).services["db"]

    assert (db.image, db.command, db.mounts) == (mine.image, mine.command, mine.mounts)
    assert (db.memory_bytes, db.pids_limit) == (64 * MEBIBYTE, 99)
    assert db.environment["POSTGRES_DB"] == "orders"


def test_an_image_that_is_built_keeps_its_own_command() -> None:
    mine = asking("postgres", name="db", build=Build(context=Path("/checkout/db")))

    db = filled(of(mine)).services["db"]

    assert (db.image, db.command) == (None, None)


def test_a_mount_inside_the_data_folder_does_not_keep_it_out_of_memory() -> None:
    scripts = Mount(MountKind.VOLUME, "/var/lib/mysql-files", "files")

    db = filled(of(asking("mysql", name="db", mounts=(scripts,)))).services["db"]

    assert [mount.target for mount in db.mounts] == ["/var/lib/mysql-files", "/var/lib/mysql"]


def test_filling_in_twice_changes_nothing() -> None:
    once = filled(of(*(asking(name, name=name) for name in NAMES), needing(*NAMES)))

    assert filled(once) == once


def test_a_password_kept_in_a_file_is_neither_doubled_nor_told() -> None:
    db = asking("postgres", name="db", environment={"POSTGRES_PASSWORD_FILE": "/run/secrets/db"})

    spec = filled(of(db, needing("db")))

    assert "POSTGRES_PASSWORD" not in spec.services["db"].environment
    assert "DATABASE_URL" not in spec.services["api"].environment
    assert spec.services["api"].environment["PGHOST"] == "db"


def test_a_broker_tells_its_clients_the_name_they_know_it_by() -> None:
    spec = filled(of(asking("kafka", name="events"), asking("redpanda", name="more")))

    assert spec.services["events"].environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://events:9092"
    assert spec.services["more"].command is not None
    assert "--advertise-kafka-addr=more:9092" in spec.services["more"].command


# --- what dependants are told ------------------------------------------------------------------------------


def test_dependants_are_told_how_to_connect_with_what_the_service_runs_with() -> None:
    postgres = presets()["postgres"]
    runs_with = variables_for(postgres, {"POSTGRES_USER": "shop", "POSTGRES_PASSWORD": "s/p"})

    told = connection_for(postgres, runs_with, host="db", port=5432)

    assert told["DATABASE_URL"] == "postgresql://shop:s%2Fp@db:5432/shop"
    assert told["PGPASSWORD"] == "s/p"


def test_only_those_that_depend_on_it_are_told_and_their_own_words_stay() -> None:
    spec = filled(
        of(
            asking("postgres", name="db"),
            needing("db", environment={"DATABASE_URL": "sqlite://"}),
            ServiceSpec(name="other", image="other"),
        )
    )

    assert spec.services["api"].environment["DATABASE_URL"] == "sqlite://"
    assert spec.services["api"].environment["DB_URL"] == "postgresql://postgres:postgres@db:5432/postgres"
    assert spec.services["other"].environment == {}


def test_two_of_a_kind_are_told_apart_by_their_names() -> None:
    spec = filled(
        of(asking("postgres", name="orders-db"), asking("mysql", name="users"), needing("orders-db", "users"))
    )

    told = spec.services["api"].environment
    assert told["ORDERS_DB_URL"] == "postgresql://postgres:postgres@orders-db:5432/postgres"
    assert told["USERS_URL"] == "mysql://test:test@users:3306/test"
    # Which one it would mean is not known, so nobody is told.
    assert "DATABASE_URL" not in told
    assert told["PGHOST"] == "orders-db"
