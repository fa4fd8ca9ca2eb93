"""The loader beside the reference binary: the same question to both, on inputs that nobody wrote."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.errors import SpecError
from environments.spec import compose_config, load_model
from tests.conftest import missing

PROJECT = "p"
FILES = ("compose.yaml", "over.yaml", ".env", "web.env")
REFUSED = None

type Answer = dict[str, Any] | None
type Ask = Callable[..., tuple[Answer, Answer]]


@pytest.fixture(scope="module")
def compose() -> str:
    """The reference binary."""
    program = os.environ.get("ITDASH_COMPOSE_BINARY", "")
    if not program:
        missing("ITDASH_COMPOSE_BINARY does not name a Compose binary")
    return program


@pytest.fixture(scope="module")
def ask(compose: str) -> Iterator[Ask]:
    """Ask both about a project: what each makes of it, None for a refusal."""
    with TemporaryDirectory() as name:
        folder = Path(name)

        def both(**texts: str) -> tuple[Answer, Answer]:
            written = {file: texts.get(file.replace(".", "_").strip("_"), "") for file in FILES}
            for file, text in written.items():
                (folder / file).write_bytes(text.encode())
            files = ["compose.yaml", "over.yaml"] if written["over.yaml"] else ["compose.yaml"]
            return ours(folder, files), theirs(compose, folder, files)

        yield both


def ours(folder: Path, files: list[str]) -> Answer:
    try:
        model = load_model(
            [Path(file) for file in files],
            directory=folder,
            variables={"COMPOSE_PROJECT_NAME": PROJECT},
            profiles=["*"],
        )
    except SpecError:
        return REFUSED
    return compose_config(model, name=PROJECT)


def theirs(program: str, folder: Path, files: list[str]) -> Answer:
    asked = subprocess.run(
        [
            program,
            "--project-name",
            PROJECT,
            "--profile",
            "*",
            *(word for file in files for word in ("--file", file)),
            "config",
            "--no-path-resolution",
            "--format",
            "json",
        ],
        cwd=folder,
        env={"HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return json.loads(asked.stdout) if asked.returncode == 0 else REFUSED


def project(**keys: object) -> str:
    return json.dumps(
        {"services": {"web": {"image": "x", **keys}, "db": {"image": "y"}}, "volumes": {"data": {}}}
    )


TEMPLATE_PARTS = """
$ { } ${ A B EMPTY NONE :- - :? ? :+ + x $$ ${A} ${NONE:- $A . : 1 _
"""
TEMPLATES = st.lists(st.sampled_from([*TEMPLATE_PARTS.split(), " ", "\n", "é"]), max_size=8).map("".join)

DOTENV_PARTS = """
A= B= C: D = ' " \\ # $ ${A} $A ${NONE:-d} export 1 - . [0] \\n \\$ \\" ; ` $$ é
"""
DOTENVS = st.lists(
    st.sampled_from([*DOTENV_PARTS.split(), " ", " #", "\n", "\n", "\r\n", "export "]), max_size=14
).map("".join)

COMMAND_PARTS = "a b ' \" \\ ; & | > < ( ) ` $( 2> # \\\" '' x=y"
COMMANDS = st.lists(st.sampled_from([*COMMAND_PARTS.split(), " ", " ", "\n"]), max_size=10).map("".join)

WORDS = st.sampled_from(["a", "b", "c", "A=1", "A=2", "B", "1"])
TEXTS = st.one_of(
    st.none(), WORDS, st.booleans(), st.integers(-2, 70000), st.sampled_from([1.5, "1m", "64m", "", []])
)
TABLES = st.one_of(
    st.lists(WORDS, max_size=3), st.dictionaries(st.sampled_from(["A", "B", "c d"]), TEXTS, max_size=3), TEXTS
)
PORTS = st.sampled_from(
    [
        "80",
        80,
        "8080:80",
        "127.0.0.1:1:2/udp",
        "1-2:3-4",
        "1-3:4",
        "x",
        {"target": 80},
        {"published": "1"},
        "80",
    ]
)
MOUNTS = st.sampled_from(
    [
        "data:/d",
        "data:/d:ro",
        "./x:/x",
        "/y",
        "none:/n",
        "/a:/b:z",
        "::",
        "d:/e",
        {"type": "tmpfs", "target": "/t"},
    ]
)
DEPENDENCIES = st.sampled_from(
    [
        ["db"],
        ["web"],
        ["none"],
        {"db": {"condition": "service_healthy"}},
        {"none": {"condition": "service_started"}},
    ]
)
SERVICES = st.fixed_dictionaries(
    {},
    optional={
        "cap_add": st.lists(WORDS, max_size=3),
        "command": TEXTS,
        "container_name": TEXTS,
        "cpus": TEXTS,
        "depends_on": DEPENDENCIES,
        "deploy": st.sampled_from(
            [None, {"replicas": 2}, {"resources": {"limits": {"memory": "1g"}}}, {"mode": "x"}]
        ),
        "environment": TABLES,
        "expose": st.lists(st.sampled_from(["80", 80, "81-82"]), max_size=2),
        "extra_hosts": st.sampled_from([["a:1.1.1.1", "b=::1"], {"a": "1.1.1.1"}, ["a"]]),
        "healthcheck": st.sampled_from(
            [
                {"test": "x"},
                {"test": ["x"]},
                {"disable": True},
                {"retries": "3"},
                {"interval": "90s"},
                {"interval": "5"},
            ]
        ),
        "init": TEXTS,
        "labels": TABLES,
        "mem_limit": TEXTS,
        "networks": st.sampled_from([["default"], {"default": {"aliases": ["x"]}}, ["none"], []]),
        "ports": st.lists(PORTS, max_size=3),
        "profiles": st.lists(WORDS, max_size=2),
        "scale": TEXTS,
        "stop_grace_period": TEXTS,
        "tmpfs": st.one_of(WORDS, st.lists(WORDS, max_size=3)),
        "ulimits": st.sampled_from(
            [{"nofile": 3}, {"nofile": {"soft": 1, "hard": 2}}, {"nofile": {"soft": 1}}]
        ),
        "user": TEXTS,
        "volumes": st.lists(MOUNTS, max_size=3),
        "unknown": TEXTS,
    },
)
FEW = settings(max_examples=40, deadline=None)


@given(TEMPLATES)
@FEW
def test_variables_are_filled_in_alike(ask: Ask, template: str) -> None:
    ours, theirs = ask(compose_yaml=project(environment={"V": template}), env="A=1\nB=two\nEMPTY=\n")

    assert ours == theirs


@given(DOTENVS)
@FEW
def test_dotenv_files_are_read_alike(ask: Ask, text: str) -> None:
    # Without a last line end, Compose takes a bare name for the value of a variable without a name.
    ours, theirs = ask(compose_yaml=project(env_file="web.env"), web_env=f"{text}\n")

    assert ours == theirs


@given(COMMANDS)
@FEW
def test_command_lines_are_cut_alike(ask: Ask, line: str) -> None:
    ours, theirs = ask(compose_yaml=project(command=line.replace("$", "$$")))

    assert ours == theirs


@given(SERVICES)
@FEW
def test_services_are_accepted_and_spelled_out_alike(ask: Ask, service: dict[str, object]) -> None:
    ours, theirs = ask(compose_yaml=project(**service))

    assert ours == theirs


@given(SERVICES, SERVICES)
@FEW
def test_files_are_merged_alike(ask: Ask, base: dict[str, object], over: dict[str, object]) -> None:
    ours, theirs = ask(
        compose_yaml=project(**base), over_yaml=json.dumps({"services": {"web": {"init": True, **over}}})
    )

    assert ours == theirs
