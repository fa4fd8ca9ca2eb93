"""`itdash upload` against a real server that stores what it gets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from itdash.cli import main
from runs.actions.tokens import create_token
from runs.actions.uploads import ingest_upload
from runs.models import Project, Report, Run, Upload
from runs.vocabulary import Scope
from tests.answering import answering
from tests.factories import make_project

pytestmark = pytest.mark.django_db(transaction=True)

GOOD = '<testsuite name="s"><testcase classname="c" name="{}" time="1"/></testsuite>'
BAD = '<testsuite name="s"><testcase classname="c" name="{}"><failure message="no"/></testcase></testsuite>'
CI_NAMES = (
    *("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE", "TF_BUILD", "TRAVIS", "DRONE", "JENKINS_URL"),
    *("BITBUCKET_BUILD_NUMBER", "TEAMCITY_VERSION", "CI"),
)

type Upload_ = Callable[..., int]


class Quiet(BaseHTTPRequestHandler):
    """A handler that says nothing of what it answers."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def served(handler: type[Quiet]) -> Iterator[str]:
    """The address of a server that answers so."""
    with answering(HTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    for name in CI_NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project() -> Project:
    return make_project("shop")


@pytest.fixture
def _worker() -> Iterator[None]:
    """Stores what is received, as a worker does."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            for upload in Upload.objects.filter(status="received"):
                ingest_upload(upload.pk)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def upload(live_server: LiveServer, project: Project) -> Upload_:
    token = create_token(project=project, scopes=[Scope.UPLOAD]).secret

    def upload(*arguments: str | Path, url: str = live_server.url) -> int:
        own = ["--project", "shop", "--suite", "checkout", "--url", url, "--token", token]
        return main(["upload", *map(str, arguments), *own])

    return upload


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.format(path.stem), encoding="utf-8")
    return path


def test_reports_are_sent_with_what_the_ci_says(
    upload: Upload_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "GITLAB_CI": "true",
        "CI_COMMIT_SHA": "a" * 40,
        "CI_COMMIT_REF_NAME": "main",
        "CI_PIPELINE_ID": "7",
        "CI_NODE_INDEX": "2",
    }.items():
        monkeypatch.setenv(name, value)

    code = upload(written(tmp_path, "one.xml", GOOD), "--tag", "browser=firefox", "--env", "PYTHON=3.13")

    assert code == 0
    run = Run.objects.get()
    assert (run.commit, run.branch, run.run_key) == ("a" * 40, "main", "gitlab-7")
    assert run.tags == {"ci": "GitLab CI", "browser": "firefox"}
    assert run.environment_facts == {"PYTHON": "3.13"}
    assert Upload.objects.get().shard == 2


def test_options_override_the_ci(upload: Upload_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_COMMIT_REF_NAME", "main")

    upload(written(tmp_path, "one.xml", GOOD), "--branch", "dev", "--run-key", "mine", "--shard", "5")

    run = Run.objects.get()
    assert (run.branch, run.run_key, Upload.objects.get().shard) == ("dev", "mine", 5)


@pytest.mark.usefixtures("_worker")
def test_waiting_tells_the_results_and_every_problem(
    upload: Upload_, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = written(tmp_path, "broken.xml", "<testsuite>")

    code = upload(written(tmp_path, "one.xml", GOOD), written(tmp_path, "two.xml", BAD), broken, "--wait")

    told = capsys.readouterr().out
    assert code == 0
    assert "Run 1 failed: 2 tests, 1 passed, 1 failed, 0 flaky, 0 skipped" in told
    assert "broken.xml:1: Not well-formed XML" in told


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize(
    ("content", "fail_on", "code"),
    [
        (GOOD, "verdict", 0),
        (BAD, "verdict", 1),
        ("<testsuite><testcase name='a'/>", "verdict", 1),
        (BAD, "failure", 1),
        ("<testsuite>", "failure", 1),
        (BAD, "never", 0),
    ],
)
def test_the_exit_code_is_what_was_asked_for(
    upload: Upload_, tmp_path: Path, content: str, fail_on: str, code: int
) -> None:
    assert upload(written(tmp_path, "one.xml", content), "--fail-on", fail_on) == code


@pytest.mark.usefixtures("_worker")
def test_what_the_gates_said_is_told_and_decides(
    upload: Upload_, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def sent(key: str, report: str, *more: str) -> int:
        return upload(
            written(tmp_path, f"{key}.xml", report), "--run-key", key, "--fail-on", "verdict", *more
        )

    mixed = "<testsuites>" + GOOD.format("a") + GOOD.format("b") + BAD.format("c") + "</testsuites>"
    assert sent("first", mixed, "--branch", "main") == 1
    project.suites.update(definition={"gates": {"new_failures": 0}})

    assert sent("old", mixed, "--branch", "feature") == 0
    worse = mixed.replace(GOOD.format("a"), BAD.format("a"))
    assert sent("worse", worse, "--branch", "feature") == 1

    assert (
        "  Fails: 1 new failure against #1 on main, at most 0 allowed; 1 failure" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (301, {"Location": "https://itdash.example.org/api"}, "sends on to https://itdash.example.org/api"),
        (200, {}, "is no itdash"),
        (404, {}, "an HTML page"),
    ],
)
def test_what_is_no_itdash_is_told_and_is_an_error(
    upload: Upload_,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: int,
    headers: dict[str, str],
    said: str,
) -> None:
    class Other(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"<html><body>Please sign in")

    with served(Other) as address:
        code = upload(written(tmp_path, "one.xml", GOOD), url=address)

    assert code == 2
    assert said in capsys.readouterr().err


def test_an_address_without_a_scheme_is_refused_at_once(
    upload: Upload_, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upload(written(tmp_path, "one.xml", GOOD), url="itdash.example.org:8000") == 2
    assert "is no address" in capsys.readouterr().err


@pytest.mark.usefixtures("_worker")
def test_pictures_may_travel_with_the_reports_and_reports_by_any_name(
    upload: Upload_, tmp_path: Path
) -> None:
    for number in range(3):
        written(tmp_path, f"out/{number}.junit", GOOD)
    (tmp_path / "out/shot.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    assert upload(f"{tmp_path}/out/*", "--fail-on", "failure") == 0
    assert Run.objects.get().test_count == 3


@pytest.mark.usefixtures("_worker")
def test_many_files_travel_as_one_and_patterns_are_understood(upload: Upload_, tmp_path: Path) -> None:
    for number in range(150):
        written(tmp_path, f"m{number % 3}/TEST-{number}.xml", GOOD)

    code = upload(f"{tmp_path}/**/*.xml", "--wait")

    assert code == 0
    assert Report.objects.count() == 1
    assert Run.objects.get().test_count == 150


def test_the_same_files_of_one_run_twice_are_one_upload(upload: Upload_, tmp_path: Path) -> None:
    for number in range(10):
        written(tmp_path, f"TEST-{number}.xml", GOOD)

    for _ in range(2):
        assert upload(f"{tmp_path}/*.xml", "--run-key", "k") == 0

    assert Upload.objects.count() == 1


def test_an_unreachable_server_never_fails_the_build(
    upload: Upload_, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    report = written(tmp_path, "one.xml", BAD)

    code = upload(report, "--fail-on", "failure", "--retry-for", "0.1", url=f"http://127.0.0.1:{port}")

    assert code == 0
    assert "the reports were not sent" in capsys.readouterr().err


def test_a_refusal_says_what_to_do_and_is_an_error(
    upload: Upload_, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = upload(written(tmp_path, "one.xml", GOOD), "--commit", "main")

    assert code == 2
    assert "“main” is no commit" in capsys.readouterr().err


def test_no_report_at_all_is_an_error(upload: Upload_, tmp_path: Path) -> None:
    assert upload(f"{tmp_path}/*.xml") == 2
    assert upload(f"{tmp_path}/*.xml", "--fail-on", "never") == 0


def test_a_folder_is_no_report_and_says_how_to_name_those_in_it(
    upload: Upload_, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upload(tmp_path) == 2
    assert f"say '{tmp_path}/**/*.xml'" in capsys.readouterr().err


def test_a_server_that_stumbles_is_tried_again_with_the_same_key(upload: Upload_, tmp_path: Path) -> None:
    keys: list[str | None] = []

    class Stumbling(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Idempotency-Key"])
            self.send_response(503 if len(keys) == 1 else 202)
            self.end_headers()
            if len(keys) > 1:
                self.wfile.write(b'{"upload": {"id": 1}, "run": {"number": 1, "url": "u"}}')

    with served(Stumbling) as address:
        code = upload(written(tmp_path, "one.xml", GOOD), url=address)

    assert code == 0
    assert len(keys) == 2
    assert keys[0] == keys[1] is not None
