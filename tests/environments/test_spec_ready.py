"""``x-itdash.ready`` as the loader reads it: every kind, every refusal with its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.errors import Problem
from environments.spec import Condition
from environments.spec.ready import (
    AllOf,
    AnyOf,
    ExecProbe,
    FileProbe,
    HttpProbe,
    LogProbe,
    TcpProbe,
    leaves,
    readiness_from,
    slow_pattern,
)
from environments.spec.source import Map, Seq
from tests.environments.checkout import Checkout


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{tcp: 5432}", TcpProbe(5432)),
        ("{tcp: '5432'}", TcpProbe(5432)),
        ("{tcp: {port: 5432}, timeout: 500ms}", TcpProbe(5432, timeout_seconds=0.5)),
        ("{http: 8080}", HttpProbe(8080)),
        (
            "{http: {port: 8080, path: /health?deep=1, status: 204, body: 'ok|up'}, timeout: 2s}",
            HttpProbe(8080, "/health?deep=1", (204,), "ok|up", 2.0),
        ),
        ("{http: {port: 80, status: [200, 401]}}", HttpProbe(80, statuses=(200, 401))),
        ("{log: ready to accept}", LogProbe("ready to accept")),
        ("{log: {pattern: ready, times: 2}}", LogProbe("ready", 2)),
        ("{exec: pg_isready -h db}", ExecProbe(("/bin/sh", "-c", "pg_isready -h db"))),
        ("{exec: [test, -e, /tmp/up]}", ExecProbe(("test", "-e", "/tmp/up"))),
        ("{file: /tmp/up}", FileProbe("/tmp/up")),
        (
            "{any: [{tcp: 1}, {all: [{tcp: 2}, {log: x}]}]}",
            AnyOf((TcpProbe(1), AllOf((TcpProbe(2), LogProbe("x"))))),
        ),
    ],
)
def test_each_kind_of_probe_is_read(checkout: Checkout, written: str, meant: object) -> None:
    assert checkout.service(f"x-itdash: {{ready: {written}}}").ready == meant


def test_a_service_that_says_nothing_has_no_probe_and_the_environments_time(checkout: Checkout) -> None:
    service = checkout.service("x-itdash: {preset: none}")

    assert (service.ready, service.start_timeout_seconds) == (None, None)


def test_the_time_to_become_ready_is_said_for_a_service_and_for_all(checkout: Checkout) -> None:
    spec = checkout.load(
        "x-itdash: {start_timeout: 3m}\nservices: {web: {image: web, x-itdash: {start_timeout: 90s}}}"
    )

    assert spec.start_timeout_seconds == 180.0
    assert spec.services["web"].start_timeout_seconds == 90.0


def test_a_variable_may_name_the_port(checkout: Checkout) -> None:
    service = checkout.service("x-itdash: {ready: {tcp: {port: '${PORT}'}}}", PORT="8080")

    assert service.ready == TcpProbe(8080)


REFUSED = [
    ("ready: [tcp]", "must be a mapping", "Write for example"),
    ("ready: {}", "says none of http, tcp, log, exec, file, any, all", ""),
    ("ready: {htpp: 80}", "is not known here", "Did you mean 'http'?"),
    ("ready: {tcp: 1, log: x}", "says both 'tcp' and 'log'", "Put them in a list under 'all' or 'any'."),
    ("ready: {any: []}", "must be a list of probes", ""),
    ("ready: {all: {tcp: 1}}", "must be a list of probes", ""),
    ("ready: {http: {port: 80, pth: /}}", "is not known here", "Did you mean 'path'?"),
    ("ready: {http: {path: /}}", "has no 'port'", "Write {port: …}."),
    ("ready: {http: {port: 80, path: health}}", "'health' is not a path", "Begin with /"),
    ("ready: {http: {port: 80, path: '/a b'}}", "'/a b' is not a path", "Begin with /"),
    ("ready: {http: {port: 80, status: 20}}", "20 is not a status", "Write a number from 100"),
    ("ready: {http: {port: 80, body: '('}}", "is not a pattern", "Write a Python regular expression"),
    ("ready: {tcp: 70000}", "70000 is not a port", "Name the port"),
    ("ready: {tcp: true}", "has no 'port'", "Write {port: …}."),
    ("ready: {log: {pattern: x, times: 0}}", "0 is not a number from 1", ""),
    ("ready: {log: '(a+)+b'}", "could take for ever: it repeats a group", "Write a plainer pattern."),
    ("ready: {exec: []}", "is no command", "Write a list of words"),
    ("ready: {file: tmp/up}", "'tmp/up' is not an absolute path", ""),
    ("ready: {tcp: 1, timeout: 2h}", "must be more than 0 and at most 60 s", ""),
    ("start_timeout: soon", "is not a duration", "Write for example"),
    ("start_timeout: 2h", "must be more than 0 and at most 3600 s", ""),
    ("unhealthy: maybe", "'maybe' is neither", "Write 'wait'"),
]


@pytest.mark.parametrize(("written", "message", "mend"), REFUSED)
def test_what_is_wrong_is_said_with_its_line_and_the_mend(
    checkout: Checkout, written: str, message: str, mend: str
) -> None:
    [problem] = checkout.problems(f"services:\n  web:\n    image: web\n    x-itdash:\n      {written}\n")

    assert problem.startswith("compose.yaml:5: services.web.x-itdash.")
    assert message in problem
    assert mend in problem


def test_every_wrong_probe_of_a_list_is_named_by_its_own_line(checkout: Checkout) -> None:
    text = """
services:
  web:
    image: web
    x-itdash:
      ready:
        any:
          - tcp: 0
          - file: /fine
          - log: {patern: x}
"""

    first, second = checkout.problems(text)

    assert first.startswith("compose.yaml:8: services.web.x-itdash.ready.any[0].tcp.port: 0 is not a port.")
    assert second.startswith("compose.yaml:10: ")
    assert second.endswith("any[2].log.patern: is not known here. Did you mean 'pattern'?")


def test_a_tree_of_more_probes_than_anybody_needs_is_refused(checkout: Checkout) -> None:
    # The list itself is one of the 32.
    probes = ", ".join(["{tcp: 1}"] * 32)

    [problem] = checkout.problems(
        f"services: {{web: {{image: w, x-itdash: {{ready: {{any: [{probes}]}}}}}}}}"
    )

    assert "any[31]: asks more than 32 questions" in problem


def test_leaves_are_the_questions_of_a_tree_in_their_order() -> None:
    tree = AnyOf((TcpProbe(1), AllOf((TcpProbe(2), LogProbe("x")))))

    assert list(leaves(tree)) == [TcpProbe(1), TcpProbe(2), LogProbe("x")]
    assert list(leaves(None)) == []


KINDS = ["http", "tcp", "log", "exec", "file", "any", "all"]
KEYS = ["timeout", "port", "path", "status", "body", "pattern", "times", "/x", "1s", "80"]
WORDS = st.sampled_from(KINDS + KEYS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(Seq)
        | st.dictionaries(WORDS, inner, max_size=3).map(lambda d: Map(d.items()))
    ),
    max_leaves=12,
)


@given(value=VALUES)
def test_whatever_is_written_is_read_or_refused_and_never_both(value: object) -> None:
    problems: list[Problem] = []

    ready = readiness_from(Map([("ready", value)]), "x", problems).ready

    assert (ready is None) == bool(problems)
    assert all(problem.message.startswith("x.ready") for problem in problems)


@pytest.mark.parametrize(
    ("pattern", "is_slow"),
    [
        ("ready to accept connections", False),
        (r"listening on .*:\d+", False),
        (r"\(ready\)+", False),
        ("[*+]{2}", False),
        ("(up|ready)", False),
        (r"(?:\w+\s?)*$", True),
        ("(a|aa)+b", True),
        ("a*a*a*b", True),
        ("a{1,}b{3,}c{0,9999}", True),
        (r"(a)\1", True),
    ],
)
def test_a_pattern_that_could_take_for_ever_is_known_by_its_signs(pattern: str, is_slow: bool) -> None:
    re.compile(pattern)

    assert bool(slow_pattern(pattern)) is is_slow


def test_others_may_wait_for_the_health_of_a_service_that_only_says_how_it_is_ready(
    checkout: Checkout,
) -> None:
    spec = checkout.load(
        """
services:
  web:
    image: web
    depends_on: {api: {condition: service_healthy}}
  api:
    image: api
    healthcheck: {disable: true}
    x-itdash: {ready: {tcp: 80}}
"""
    )

    assert spec.services["web"].depends_on[0].condition is Condition.HEALTHY
    assert spec.services["api"].ready == TcpProbe(80)
