"""The production form, built and brought up by the reference Compose on images of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from environments.probes import wait_until
from tests.conftest import ROOT, missing
from tests.ports import free_ports

pytestmark = pytest.mark.engine

#: What `.dockerignore` lets through, besides the wheels.
CONTEXT = [
    ".dockerignore",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "environments",
    "itdash",
    "manage.py",
    "pyproject.toml",
    "requirements.lock",
    "runs",
    "static",
    "templates",
]
READY_SECONDS = 150
REPORT = (
    '<testsuite name="orders" tests="2" failures="1">'
    '<testcase classname="orders" name="creates" time="0.2"/>'
    '<testcase classname="orders" name="refuses" time="0.1"><failure message="boom"/></testcase>'
    "</testsuite>"
)


@pytest.fixture(scope="module")
def compose_binary() -> str:
    program = os.environ.get("ITDASH_COMPOSE_BINARY", "")
    if not program:
        missing("ITDASH_COMPOSE_BINARY does not name a Compose binary")
    return program


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, built without a registry: on a local base, from wheels in the context."""
    context = tmp_path_factory.mktemp("context")
    for name in CONTEXT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, context / name)
    shutil.copytree(wheels(), context / "wheels")
    tag = "itdash-lab/itdash:test"
    arguments = {"BASE_IMAGE": "itdash-lab/python:3.13", "PIP_ARGS": "--no-index", "SYSTEM_PACKAGES": ""}
    words = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    built = docker("build", "--quiet", "--tag", tag, *words, str(context), timeout=600)
    assert built.returncode == 0, built.stderr
    yield tag
    docker("image", "rm", tag)


def wheels() -> Path:
    """The locked wheels, downloaded once for each lock."""
    lock = ROOT / "requirements.lock"
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = ROOT / ".cache" / "ci" / f"wheels-{key}"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
        words = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        words += ["--only-binary=:all:", "--requirement", str(lock), "--dest", str(unfinished)]
        subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=300)
        unfinished.rename(folder)
    return folder


def docker(*words: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *words],
        env={**os.environ, "DOCKER_BUILDKIT": "0", **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Installation:
    """The production form under a name of its own."""

    program: str
    name: str
    port: int
    variables: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, "--project-name", self.name, "--file", str(ROOT / "docker-compose.yml"), *words],
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.variables},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def inspect(self, service: str) -> dict[str, object]:
        number = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        (facts,) = json.loads(docker("inspect", number).stdout)
        return dict(facts)


@pytest.fixture(scope="module")
def installation(compose_binary: str, image: str) -> Iterator[Installation]:
    [port] = free_ports(1)
    variables = {
        "ITDASH_IMAGE": image,
        "POSTGRES_IMAGE": "itdash-lab/postgres:17",
        "VALKEY_IMAGE": "itdash-lab/valkey:8",
        "ITDASH_SECRET_KEY": secrets.token_urlsafe(50),
        "ITDASH_DATABASE_PASSWORD": secrets.token_urlsafe(20),
        "ITDASH_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "ITDASH_PORT": str(port),
        "ITDASH_INSTANCE": f"production-{secrets.token_hex(4)}",
        "DOCKER_GROUP": str(Path("/var/run/docker.sock").stat().st_gid),
    }
    made = Installation(compose_binary, f"itdash-test-{secrets.token_hex(4)}", port, variables)
    try:
        up = made.compose("up", "--detach", "--no-build")
        assert up.returncode == 0, up.stderr + made.compose("logs", "--tail=40").stdout
        ready = wait_until(answer_of(f"{made.url}/readyz"), deadline_seconds=READY_SECONDS)
        assert ready.status_code == HTTPStatus.OK, ready.text + made.compose("logs", "--tail=40").stdout
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout=10")


def answer_of(url: str) -> Callable[[], httpx.Response | None]:
    """A question that is answered as soon as the address says 200."""

    def ask() -> httpx.Response | None:
        try:
            answer = httpx.get(url, timeout=5)
        except httpx.HTTPError:
            return None
        return answer if answer.status_code == HTTPStatus.OK else None

    return ask


def test_an_upload_is_stored_by_the_production_form(installation: Installation) -> None:
    made = installation.compose("exec", "-T", "web", "itdash", "project", "create", "shop")
    assert made.stdout == "shop\n", made.stderr
    token = installation.compose(
        "exec", "-T", "web", "itdash", "token", "create", "--project=shop", "--scopes=upload,read"
    ).stdout.strip()

    answer = httpx.post(
        f"{installation.url}/api/v1/projects/shop/uploads?wait=60",
        headers={"Authorization": f"Bearer {token}"},
        data={"suite": "checkout", "commit": "a" * 40, "branch": "main"},
        files={"files": ("report.xml", REPORT, "application/xml")},
        timeout=90,
    )

    assert answer.status_code == HTTPStatus.OK, answer.text + installation.compose("logs", "--tail=40").stdout
    assert answer.json()["upload"]["status"] == "stored"
    run = httpx.get(
        f"{installation.url}/api/v1/runs/{answer.json()['run']['id']}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    ).json()
    totals = {"tests": 2, "passed": 1, "failed": 1, "errored": 0, "skipped": 0, "flaky": 0}
    assert (run["status"], run["totals"]) == ("failed", totals)


def test_the_sign_in_page_has_its_style(installation: Installation) -> None:
    page = httpx.get(f"{installation.url}/", timeout=30, follow_redirects=True)

    assert page.status_code == HTTPStatus.OK
    style = (
        page.text.split('rel="stylesheet"')[0].rsplit("<link", 1)[-1] + page.text.split('rel="stylesheet"')[1]
    )
    address = style.split('href="')[1].split('"')[0]
    assert httpx.get(f"{installation.url}{address}", timeout=30).status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    ("service", "has_socket"),
    [("web", False), ("beat", False), ("worker-runs", True), ("worker-ingest", True)],
)
def test_the_engines_socket_is_for_workers_alone_and_nobody_is_root(
    installation: Installation, service: str, has_socket: bool
) -> None:
    facts = installation.inspect(service)
    mounts = json.dumps(facts["HostConfig"])

    assert ("docker.sock" in mounts) is has_socket
    assert installation.compose("exec", "-T", service, "id", "-u").stdout == "10001\n"


def test_a_worker_reaches_the_engine(installation: Installation) -> None:
    told = installation.compose("exec", "-T", "worker-runs", "itdash", "doctor").stdout

    assert "✓ engine" in told
    assert "✓ database  PostgreSQL 17 answers" in told
    assert "✓ broker    Valkey 8" in told


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("ITDASH_SECRET_KEY", "set it to a long random string, and keep it"),
        ("ITDASH_DATABASE_PASSWORD", "set a password for the database"),
        ("ITDASH_PUBLIC_URL", "set the address people use"),
    ],
)
def test_compose_refuses_to_start_without_what_must_be_set(
    compose_binary: str, variable: str, complaint: str
) -> None:
    known = {"ITDASH_SECRET_KEY": "x", "ITDASH_DATABASE_PASSWORD": "y", "ITDASH_PUBLIC_URL": "http://z"}
    del known[variable]

    refused = Installation(compose_binary, "itdash-refused", 0, known).compose("config", "--quiet")

    assert refused.returncode != 0
    assert complaint in refused.stderr


def test_the_image_refuses_to_start_without_a_secret_key(image: str) -> None:
    refused = docker("run", "--rm", "--network=none", image)

    assert refused.returncode != 0
    assert "ITDASH_SECRET_KEY is not set" in refused.stderr
