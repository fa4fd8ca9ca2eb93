"""A Compose file's words made true on one machine."""

from __future__ import annotations

import pytest

from environments.local_engine.ports import wanted_ports
from environments.local_engine.rewriting import Rewriting
from environments.spec import EnvironmentSpec, HealthCheck, ServiceSpec

ADDRESSES = {
    "user-service:8000": 20417,
    "db:5432": 23001,
    "cache:6379": 23002,
    "queue:5672": 23003,
    "queue:15672": 23004,
    "shop:80": 23005,
}
PATHS = {
    "/results": "/private/volumes/results",
    "/results/shots": "/private/mounts/0",
    "/shop": "/checkout/shop",
    "/tmp": "/private/root/tmp",
}
HERE = Rewriting(ADDRESSES, own_ports={"8000": 20500, "9090": 20501}, paths=PATHS)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://user-service:8000/health", "http://127.0.0.1:20417/health"),
        ("user-service:8000", "127.0.0.1:20417"),
        ("queue:5672,cache:6379", "127.0.0.1:23003,127.0.0.1:23002"),
        ("postgresql://shop:secret@db:5432/shop", "postgresql://shop:secret@127.0.0.1:23001/shop"),
        ("postgresql+psycopg://shop@db/shop", "postgresql+psycopg://shop@127.0.0.1:23001/shop"),
        ("postgres://u:p@db?sslmode=disable", "postgres://u:p@127.0.0.1:23001?sslmode=disable"),
        ("redis://cache/0", "redis://127.0.0.1:23002/0"),
        ("amqp://queue", "amqp://127.0.0.1:23003"),
        ("http://shop/", "http://127.0.0.1:23005/"),
        # An unusual port is the service's own; the scheme's usual one is not guessed when it has another.
        ("http://user-service/", "http://127.0.0.1:20417/"),
    ],
)
def test_an_address_of_a_peer_becomes_one_of_this_machine(written: str, meant: str) -> None:
    assert HERE.text(written) == meant


@pytest.mark.parametrize(
    "text",
    [
        "user-service",
        "user-service:8001",
        "my-user-service:8000",
        "user-service:80000",
        "user-service.example.com:8000",
        "http://db.example.com/",
        "http://db-replica/",
        "postgresql://shop:80@elsewhere/shop",
        "postgresql://db@elsewhere/shop",
        "https://example.com/cache",
        "127.0.0.1:8001",
        "localhost:80001",
        "db",
    ],
)
def test_what_only_looks_like_a_peer_is_left_alone(text: str) -> None:
    assert HERE.text(text) == text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"])
def test_a_services_own_address_is_its_own_port(host: str) -> None:
    assert HERE.text(f"curl -f http://{host}:8000/health") == "curl -f http://127.0.0.1:20500/health"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/results/junit.xml", "/private/volumes/results/junit.xml"),
        ("--junitxml=/results/junit.xml", "--junitxml=/private/volumes/results/junit.xml"),
        ("/results/shots/1.png", "/private/mounts/0/1.png"),
        ("cd /shop && ls /results", "cd /checkout/shop && ls /private/volumes/results"),
        ("PATH=/bin:/shop/bin", "PATH=/bin:/checkout/shop/bin"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("/shopping", "/shopping"),
        ("/results-old/x", "/results-old/x"),
        ("http://example.com/results", "http://example.com/results"),
        ("../results/x", "../results/x"),
        ("/home/shop/results", "/home/shop/results"),
    ],
)
def test_a_path_inside_the_service_becomes_one_of_this_machine(written: str, meant: str) -> None:
    assert HERE.text(written) == meant


@pytest.mark.parametrize(
    "text",
    [
        "http://user-service:8000/results --out /results/a.xml",
        "postgresql://shop:shop@db/shop /tmp/x",
        "http://localhost:8000 /shop/app.py",
    ],
)
def test_rewriting_twice_changes_nothing(text: str) -> None:
    once = HERE.text(text)

    assert HERE.text(once) == once


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["uvicorn", "app:app", "--port", "8000"], ["uvicorn", "app:app", "--port", "20500"]),
        (["gunicorn", "--bind", "0.0.0.0:8000"], ["gunicorn", "--bind", "127.0.0.1:20500"]),
        (["serve", "--port=9090"], ["serve", "--port=20501"]),
        (["sh", "-c", "serve -p 8000 && echo 8000"], ["sh", "-c", "serve -p 20500 && echo 8000"]),
        (["python3", "-m", "http.server", "8000"], ["python3", "-m", "http.server", "20500"]),
        (["sleep", "800"], ["sleep", "800"]),
    ],
)
def test_a_services_own_port_in_its_command_is_the_one_that_was_chosen(
    written: list[str], meant: list[str]
) -> None:
    assert HERE.words(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"DB_HOST": "db", "DB_PORT": "5432"}, {"DB_HOST": "127.0.0.1", "DB_PORT": "23001"}),
        ({"PGHOST": "db"}, {"PGHOST": "127.0.0.1", "PGPORT": "23001"}),
        # The peer's port is also one of this service's own: the name beside it decides.
        (
            {"USER_HOST": "user-service", "USER_PORT": "8000"},
            {"USER_HOST": "127.0.0.1", "USER_PORT": "20417"},
        ),
        ({"QUEUE_HOST": "queue", "QUEUE_PORT": "15672"}, {"QUEUE_HOST": "127.0.0.1", "QUEUE_PORT": "23004"}),
        ({"PORT": "8000", "HOST": "0.0.0.0"}, {"PORT": "20500", "HOST": "127.0.0.1"}),
        ({"METRICS_PORT": "9090"}, {"METRICS_PORT": "20501"}),
        ({"NAME": "db", "LIMIT": "8000"}, {"NAME": "db", "LIMIT": "8000"}),
        ({"DB_HOST": "elsewhere", "DB_PORT": "5432"}, {"DB_HOST": "elsewhere", "DB_PORT": "5432"}),
    ],
)
def test_hosts_and_ports_in_variables_go_together(written: dict[str, str], meant: dict[str, str]) -> None:
    assert HERE.variables(written) == meant


def test_ports_are_found_wherever_the_file_mentions_them() -> None:
    services = {
        "declared": ServiceSpec(name="declared", ports=(80, 443)),
        "reached": ServiceSpec(name="reached", networks={"default": ("api",)}),
        "own": ServiceSpec(name="own", environment={"PORT": "3000"}),
        "probed": ServiceSpec(name="probed", healthcheck=HealthCheck(("CMD", "curl", "localhost:9000/up"))),
        "preset": ServiceSpec(name="preset"),
        "tests": ServiceSpec(
            name="tests",
            environment={"A": "http://reached:7000", "B": "http://api:7001/x", "C": "user:1234@host"},
            command=("wait", "own:3000", "declared:80"),
        ),
    }

    assert wanted_ports(EnvironmentSpec(services=services), {"preset": 5432}) == {
        "declared": [80, 443],
        "reached": [7000, 7001],
        "own": [3000],
        "probed": [9000],
        "preset": [5432],
        "tests": [],
    }
