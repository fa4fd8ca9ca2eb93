"""`itdash split` against a real server that knows how long tests take."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from itdash.cli import main
from itdash.cli.split import expected
from runs.actions.tokens import create_token
from runs.models import CaseDuration, Project, Result
from runs.vocabulary import Outcome, RunStatus, Scope
from tests.factories import make_case, make_project, make_run, make_suite
from tests.rows import add_results

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()

type Split = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def project() -> Project:
    """A project whose suite has six tests; their newest passes took 8, 5, 4, 3, 2 and 1 seconds."""
    project = make_project("shop")
    suite = make_suite(project, "checkout")
    run = make_run(
        suite, status=RunStatus.PASSED, queued_at=NOW - timedelta(days=2), finished_at=NOW - timedelta(days=2)
    )
    for name, seconds in (("a", 8), ("b", 5), ("c", 4), ("d", 3), ("e", 2), ("f", 1)):
        case = make_case(
            suite, f"test_{name}", class_name="tests.test_pay", file="tests/test_pay.py", last_seen_at=NOW
        )
        CaseDuration.objects.create(
            case=case, recent_ms=[60_000, *[seconds * 1_000] * 5], recent_runs=[run.pk] * 6,
            p50_ms=seconds * 1_000, p95_ms=60_000, last_run_at=run.run_at, judged_at=NOW,
        )  # fmt: skip
    return project


@pytest.fixture
def split(
    live_server: LiveServer,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Split:
    token = create_token(project=project, scopes=[Scope.READ]).secret

    def split(
        shard: str, lines: list[str], *more: str, url: str = live_server.url
    ) -> tuple[int, list[str], str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n\n"))
        words = ["split", "--project", "shop", "--suite", "checkout", "--shard", shard, "--url", url]
        patience = ["--as-of", NOW.isoformat(), "--retry-for", "120"]
        code = main([*words, "--token", token, *patience, *more])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return split


def node(name: str) -> str:
    return f"tests/test_pay.py::test_{name}"


def test_slices_take_about_as_long_and_keep_the_order_of_the_list(split: Split) -> None:
    tests = [node(name) for name in "fedcba"]

    # 8 | 5; 5+4 > 8, so 3 goes to the first: 11 | 9, then 2 to the second and 1 to either.
    assert split("1/2", tests) == (0, [node("f"), node("d"), node("a")], "")
    assert split("2/2", tests) == (0, [node("e"), node("c"), node("b")], "")


def test_a_test_that_is_not_known_takes_the_mean_of_the_others(split: Split) -> None:
    tests = [node("a"), node("new"), node("c")]

    # 8 against 6 (the mean of 8 and 4); 4 goes to the lighter one.
    assert split("1/2", tests)[1] == [node("a")]
    assert split("2/2", tests)[1] == [node("new"), node("c")]


def test_lines_may_be_files_classes_and_dotted_names(split: Split) -> None:
    lines = ["tests/test_other.py", "./tests/test_pay.py", "tests.test_pay.test_a"]

    # 23 s is the whole file, 8 s the test, and the mean of both the other file: the file stands alone.
    assert split("1/2", lines)[1] == ["./tests/test_pay.py"]
    assert split("2/2", lines)[1] == ["tests/test_other.py", "tests.test_pay.test_a"]


def test_runs_that_ended_later_change_nothing(split: Split, project: Project) -> None:
    suite = project.suites.get()
    before = split("1/2", [node(name) for name in "abcdef"])
    late = make_run(suite, status=RunStatus.PASSED, finished_at=NOW + timedelta(minutes=1))
    for pace in CaseDuration.objects.all():
        pace.recent_ms, pace.recent_runs = [*pace.recent_ms, 90_000], [*pace.recent_runs, late.pk]
        pace.save()

    assert split("1/2", [node(name) for name in "abcdef"]) == before


def test_a_server_that_cannot_be_reached_stops_no_build(split: Split) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        tests = [node(name) for name in "abcdef"]

        slices = [split(f"{number}/3", tests, "--retry-for", "0", url=url) for number in (1, 2, 3)]

    assert [code for code, _, _ in slices] == [0, 0, 0]
    assert [len(names) for _, names, _ in slices] == [2, 2, 2]
    assert sorted(name for _, names, _ in slices for name in names) == tests
    assert "dealt evenly, not by time" in slices[0][2]


def test_a_refusal_is_an_error_and_prints_no_test(split: Split) -> None:
    code, names, said = split("1/2", [node("a")], "--token", "itd_wrong")

    assert (code, names) == (2, [])
    assert "unknown, expired or revoked" in said


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_slice_that_cannot_be_is_refused(split: Split, shard: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        split(shard, [])

    assert refusal.value.code == 2


def test_more_slices_than_tests_leaves_some_empty_and_a_line_counts_once(split: Split) -> None:
    found = [split(f"{number}/3", [node("a"), node("a"), node("b")])[1] for number in (1, 2, 3)]

    assert sorted(map(len, found)) == [0, 1, 1]


def test_reports_without_files_are_found_by_their_dotted_names() -> None:
    known = [
        {"test": f"{name}.{test}", "file": None, "class_name": name, "seconds": seconds}
        for name, test, seconds in (
            ("tests.test_a.TestB", "test_c[1.5]", 2.0),
            ("tests.test_a", "test_d", 3.0),
            ("tests.test_a", "test_e", None),
        )
    ]
    lines = [
        "tests/test_a.py::TestB::test_c[1.5]",
        "tests/test_a.py",
        "tests/test_a.py::test_e",
        "tests/test_z.py",
    ]

    assert expected(lines, known) == {lines[0]: 2.0, lines[1]: 5.0}


def test_the_api_deals_tests_or_whole_files(client: Client, project: Project) -> None:
    suite = project.suites.get()
    run = make_run(suite, status=RunStatus.PASSED, queued_at=NOW - timedelta(hours=1))
    add_results(run, {"test_refund": Outcome.PASSED})
    Result.objects.filter(run=run).update(duration_ms=9_000)
    suite.cases.filter(name="test_refund").update(path="", last_seen_at=NOW)
    make_case(suite, "test_gone", last_seen_at=NOW - timedelta(days=30))
    headers = {"Authorization": f"Bearer {create_token(project=project, scopes=[Scope.READ]).secret}"}

    def asked(query: str) -> dict[str, list[dict[str, object]]]:
        answer = client.get(f"/api/v1/projects/shop/split?suite=checkout&{query}", headers=headers)
        assert answer.status_code == 200
        told: dict[str, list[dict[str, object]]] = answer.json()
        return told

    by_test = asked("shards=2")
    assert [(plan["shard"], plan["seconds"]) for plan in by_test["shards"]] == [(1, 16.0), (2, 16.0)]
    assert {"test": "test_refund", "file": None, "class_name": None, "seconds": 9.0} in by_test["tests"]
    assert len(by_test["tests"]) == 7
    by_file = asked("shards=2&by=file")
    assert [plan["names"] for plan in by_file["shards"]] == [["tests/test_pay.py"], ["test_refund"]]
    address = "/api/v1/projects/shop/split"
    assert client.get(f"{address}?suite=other&shards=3", headers=headers).json()["tests"] == []
    assert client.get(f"{address}?suite=checkout&shards=0", headers=headers).status_code == 422
    naive = f"{address}?suite=checkout&as_of=2026-11-21T08:00:00"
    assert client.get(naive, headers=headers).status_code == 422
    assert client.get(f"{address}?suite=checkout").status_code == 404
