import pytest

from environments.presets import (
    connection_for,
    preset_for,
    preset_named,
    presets,
    repository_of,
    variables_for,
)
from environments.spec import ServiceSpec


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
        ("redis:7", "valkey"),
        ("valkey/valkey:8", "valkey"),
        ("acme/orders:1", None),
        ("postgres-exporter:1", None),
    ],
)
def test_a_well_known_image_finds_its_preset(image: str, preset: str | None) -> None:
    found = preset_for(ServiceSpec(name="db", image=image))

    assert (found.name if found else None) == preset


def test_a_service_may_name_its_preset_or_refuse_one() -> None:
    assert preset_for(
        ServiceSpec(name="q", image="acme/queue", extension={"preset": "redis"})
    ) is preset_named("valkey")
    assert preset_for(ServiceSpec(name="db", image="postgres:17", extension={"preset": "none"})) is None


def test_dependants_are_told_how_to_connect_with_what_the_service_runs_with() -> None:
    postgres = presets()["postgres"]

    told = connection_for(
        postgres, {"POSTGRES_USER": "shop", "POSTGRES_PASSWORD": "s/p"}, host="db", port=5432
    )

    assert told["DATABASE_URL"] == "postgresql://shop:s%2Fp@db:5432/shop"
    assert told["PGPASSWORD"] == "s/p"


def test_the_file_wins_over_the_preset() -> None:
    assert variables_for(presets()["postgres"], {"POSTGRES_DB": "orders"}) == {
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "postgres",
        "POSTGRES_DB": "orders",
    }


def test_postgres_is_asked_over_tcp_so_that_its_initialising_server_does_not_answer() -> None:
    assert "-h 127.0.0.1" in presets()["postgres"].healthcheck.test[1]
