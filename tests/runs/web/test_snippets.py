"""Lines for a CI: they parse, and what they run uploads a report to a server that listens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from itdash.cli._ci import ci_job
from runs.templatetags.snippets import Snippet, snippets
from tests.answering import answering

SUITE = 'it\'s $HOME "quoted" `id` & co ${{{{ secrets.KEY }} $(id) $[id] <<id>> {{{id}}}'
URL = "https://itdash.example.org/api/v1/projects/shop/uploads"

#: What a CI sets, by the key of its snippet; GitHub's expressions become variables of the step.
VARIABLES = {
    "gha": {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SHA": "a" * 40,
        "COMMIT": "a" * 40,
        "PULL_REQUEST": "",
        "GITHUB_REF_NAME": "main",
        "GITHUB_RUN_ID": "77",
        "GITHUB_RUN_ATTEMPT": "2",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/shop",
    },
    "gitlab": {
        "GITLAB_CI": "true",
        "CI_COMMIT_SHA": "b" * 40,
        "CI_COMMIT_REF_NAME": "main",
        "CI_PIPELINE_ID": "78",
        "CI_JOB_URL": "https://gitlab.example.org/jobs/78",
        "CI_NODE_INDEX": "3",
    },
    "jenkins": {
        "JENKINS_URL": "https://jenkins.example.org",
        "BRANCH_NAME": "PR-12",
        "CHANGE_BRANCH": "feat/x",
        "CHANGE_ID": "12",
        "GIT_COMMIT": "c" * 40,
        "BUILD_TAG": "jenkins-shop-9",
        "BUILD_URL": "https://jenkins.example.org/9",
    },
    "circleci": {
        "CIRCLECI": "true",
        "CIRCLE_BRANCH": "main",
        "CIRCLE_SHA1": "d" * 40,
        "CIRCLE_WORKFLOW_ID": "w-1",
        "CIRCLE_BUILD_URL": "https://circleci.com/1",
        "CIRCLE_NODE_INDEX": "1",
        "CIRCLE_PULL_REQUEST": "https://github.com/acme/shop/pull/5",
    },
    "buildkite": {
        "BUILDKITE": "true",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_COMMIT": "e" * 40,
        "BUILDKITE_PULL_REQUEST": "false",
        "BUILDKITE_BUILD_ID": "b-1",
        "BUILDKITE_BUILD_URL": "https://buildkite.com/1",
    },
    "azure": {
        "TF_BUILD": "True",
        "BUILD_SOURCEBRANCH": "refs/heads/feat/x",
        "BUILD_SOURCEVERSION": "f" * 40,
        "BUILD_BUILDID": "5",
        "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
        "SYSTEM_TEAMPROJECT": "shop",
        "SYSTEM_TEAMPROJECTID": "shop",
        "SYSTEM_JOBATTEMPT": "2",
    },
    "bitbucket": {
        "BITBUCKET_BUILD_NUMBER": "6",
        "BITBUCKET_BRANCH": "main",
        "BITBUCKET_COMMIT": "1" * 40,
        "BITBUCKET_PR_ID": "8",
        "BITBUCKET_PIPELINE_UUID": "{u}",
        "BITBUCKET_REPO_FULL_NAME": "acme/shop",
    },
}


def made(url: str = URL, secret: str = "") -> dict[str, Snippet]:
    return {one.key: one for one in snippets(suite=SUITE, branch="feat/it's", secret=secret, upload_url=url)}


def script_of(snippet: Snippet) -> str:
    """What the CI hands to its shell."""
    if snippet.key == "curl":
        return snippet.text
    if snippet.key == "jenkins":
        # Groovy reads a backslash with what follows it as that.
        inner = snippet.text.split("'''")[1]
        return inner.replace("\\'", "'").replace("\\\\", "\\")
    steps: Any = yaml.safe_load(snippet.text)
    if isinstance(steps, dict):
        [script] = steps["after-script" if "after-script" in steps else "after_script"]
        return str(script)
    [step] = steps
    found = step.get("script") or step.get("commands") or step.get("run")
    found = found["command"] if isinstance(found, dict) else found
    return str(found[-1] if isinstance(found, list) else found).replace("$$", "$")


@pytest.mark.parametrize("key", [key for key, one in made().items() if one.is_yaml])
def test_the_lines_are_yaml(key: str) -> None:
    parsed = yaml.safe_load(made()[key].text)

    assert "curl --fail-with-body" in json.dumps(parsed)
    assert "Authorization: Bearer" in script_of(made()[key])


def test_every_ci_has_its_own_word_and_a_pane_that_the_style_sheet_shows() -> None:
    found = made()
    style = (Path(__file__).parents[3] / "static/itdash/css/pages.css").read_text()

    assert list(found) == ["curl", *VARIABLES]
    assert all(f'.picker:has([value="{key}"]:checked) .pane.{key}' in style for key in found)


def test_a_secret_stands_in_the_command_for_a_terminal_and_nowhere_else() -> None:
    found = made(secret="itd_secret")

    assert "Bearer itd_secret" in found.pop("curl").text
    assert not any("itd_secret" in one.text for one in found.values())


class Taker(BaseHTTPRequestHandler):
    """Keeps the form of each upload."""

    forms: list[dict[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = BytesParser().parsebytes(head + body)
        form = {"token": self.headers["Authorization"], "path": self.path}
        for part in message.walk():
            name = _name_of(part)
            if name:
                form[name] = bytes(part.get_payload(decode=True) or b"").decode()
        self.forms.append(form)
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _name_of(part: Message) -> str:
    return str(part.get_param("name", "", "content-disposition") or "")


@pytest.fixture
def taker() -> Iterator[tuple[str, list[dict[str, str]]]]:
    forms: list[dict[str, str]] = []
    handler = type("Mine", (Taker,), {"forms": forms})
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v1/projects/shop/uploads", forms


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("key", list(VARIABLES))
def test_what_a_ci_runs_sends_what_the_command_line_would(
    taker: tuple[str, list[dict[str, str]]], tmp_path: Path, key: str
) -> None:
    """The snippets and `itdash upload` read the same variables: both name the same run."""
    url, forms = taker
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/junit.xml").write_text("<testsuite/>")
    environment = {"PATH": os.environ["PATH"], "ITDASH_TOKEN": "itd_t"} | VARIABLES[key]

    done = subprocess.run(
        ["sh", "-ec", script_of(made(url)[key])],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    [form] = forms
    job = ci_job(VARIABLES[key])
    assert form["suite"] == SUITE
    assert form["token"] == "Bearer itd_t"
    assert form["files"] == "<testsuite/>"
    assert (form["branch"], form["commit"]) == (job.branch, job.commit)
    assert form.get("pull_request", "") == job.pull_request
    assert form["run_key"] == job.run_key
    assert form["ci_url"] == job.url
    assert form.get("shard", "1") == str(job.shard)
    assert form.get("attempt", "1") == str(job.attempt)


def test_no_ci_fills_in_what_a_stranger_called_a_suite() -> None:
    """They replace these before any shell sees them, within quotes too."""
    for one in snippets(suite="x ${{ a }} $(b) $[c] << d >>", branch="main", secret="", upload_url=URL):
        [line] = [line for line in one.text.splitlines() if "suite=" in line]
        assert not any(mark in line for mark in ("${", "{{", "$(", "$[", "<<"))
