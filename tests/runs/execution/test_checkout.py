"""Checking out, with real git and real repositories."""

from __future__ import annotations

import base64
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from environments.errors import StoppedError
from runs.execution.checkout import Checkout, CheckoutError, Source, checked_out, remove_checkouts
from runs.execution.git import GitError, Remote, masked
from tests.answering import answering
from tests.repositories import commit, git, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


def check_out(
    source: Source, data_dir: Path, *, run_id: int = 1, stop: threading.Event | None = None
) -> AbstractContextManager[Checkout]:
    return checked_out(
        source, run_id=run_id, fence=1, data_dir=data_dir / "data", stop=stop or threading.Event()
    )


def test_a_branch_is_checked_out_with_what_git_says_of_its_commit(repository: Path, tmp_path: Path) -> None:
    head = commit(repository, {"README": "second\n"}, "Go on\n\nBecause it is time.")

    with check_out(Source(str(repository), ref="main"), tmp_path) as checkout:
        assert (checkout.folder / "README").read_text() == "second\n"
        assert not (checkout.folder / ".git").exists()
        assert checkout.commit == head
        assert checkout.branch == "main"
        assert checkout.message == "Go on\n\nBecause it is time."
        assert checkout.author == "Ada Lovelace"
        assert checkout.committed_at.tzinfo is not None

    assert not checkout.folder.exists()


def test_without_a_ref_the_default_branch_is_taken(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "trunk")

    with check_out(Source(f"file://{repository}"), tmp_path) as checkout:
        assert checkout.branch == "trunk"


def test_a_commit_is_checked_out_though_its_branch_moved_on(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    commit(repository, {"README": "second\n"}, "Go on")

    with check_out(Source(str(repository), ref="main", commit=first), tmp_path) as checkout:
        assert (checkout.folder / "README").read_text() == "first\n"
        assert checkout.branch == "main"
    with check_out(Source(str(repository), ref=first[:9]), tmp_path) as checkout:
        assert checkout.commit == first
        assert checkout.branch == ""


def test_tags_annotated_tags_and_full_refs_are_found(repository: Path, tmp_path: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "v1")
    git(repository, "tag", "--annotate", "v2", "--message", "Two")
    git(repository, "update-ref", "refs/pull/7/head", head)

    for ref in ["v1", "v2", "refs/tags/v2", "refs/heads/main", "refs/pull/7/head"]:
        with check_out(Source(str(repository), ref=ref), tmp_path) as checkout:
            assert checkout.commit == head, ref


def test_a_branch_that_was_forced_elsewhere_is_followed(repository: Path, tmp_path: Path) -> None:
    commit(repository, {"README": "to be dropped\n"}, "Wrong turn")
    with check_out(Source(str(repository), ref="main"), tmp_path):
        pass
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    right = commit(repository, {"README": "right\n"}, "Right turn")

    with check_out(Source(str(repository), ref="main"), tmp_path) as checkout:
        assert checkout.commit == right


def test_a_removed_branch_makes_way_for_one_below_its_name(repository: Path, tmp_path: Path) -> None:
    git(repository, "branch", "topic")
    with check_out(Source(str(repository), ref="topic"), tmp_path):
        pass
    git(repository, "branch", "--delete", "topic")
    git(repository, "branch", "topic/one")

    with check_out(Source(str(repository), ref="topic/one"), tmp_path) as checkout:
        assert checkout.branch == "topic/one"


@pytest.mark.parametrize("missing", ["feature/none", "deadbeef" * 5, "refs/heads/none", "refs/pull/9/head"])
def test_what_does_not_exist_is_named_with_its_repository(
    repository: Path, tmp_path: Path, missing: str
) -> None:
    with (
        pytest.raises(CheckoutError) as caught,
        check_out(Source(str(repository), ref=missing), tmp_path),
    ):
        pass

    assert str(caught.value) == (
        f"{missing} of {repository} could not be checked out: no such commit, branch or tag. "
        "Check the name; was it pushed, and not removed since?"
    )
    assert list((tmp_path / "data" / "checkouts").glob("*")) == []


@pytest.mark.parametrize("ref", ["--upload-pack=touch x", "main~1", "HEAD@{1}", "a..b", "a b", "main:README"])
def test_a_ref_that_means_more_than_a_name_is_refused(repository: Path, tmp_path: Path, ref: str) -> None:
    with (
        pytest.raises(CheckoutError, match="is not a name git allows"),
        check_out(Source(str(repository), ref=ref), tmp_path),
    ):
        pass


@pytest.mark.parametrize("address", ["ext::sh -c 'touch /tmp/x'", "--upload-pack=x", "relative/path", ""])
def test_an_address_that_is_no_repository_is_refused(tmp_path: Path, address: str) -> None:
    with (
        pytest.raises(CheckoutError, match="is not a repository's address"),
        check_out(Source(address), tmp_path),
    ):
        pass


def test_a_folder_that_is_no_repository_says_where_to_look(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckoutError, match="Check the address in the project's settings"),
        check_out(Source(str(tmp_path / "nothing"), ref="main"), tmp_path),
    ):
        pass


def test_a_mirror_broken_by_a_killed_fetch_heals(repository: Path, tmp_path: Path) -> None:
    with check_out(Source(str(repository), ref="main"), tmp_path):
        pass
    [mirror] = (tmp_path / "data" / "mirrors").glob("*.git")
    (mirror / "packed-refs.lock").touch()
    (mirror / "refs" / "heads" / "main.lock").touch()
    head = commit(repository, {"README": "second\n"}, "Go on")

    with check_out(Source(str(repository), ref="main"), tmp_path) as checkout:
        assert checkout.commit == head

    (mirror / "HEAD").unlink()
    with check_out(Source(str(repository), ref="main"), tmp_path) as checkout:
        assert checkout.commit == head


def test_a_repository_owned_by_someone_else_can_be_read(repository: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to someone else")
    for path in [repository, *repository.rglob("*")]:
        os.chown(path, 4711, 4711)

    with check_out(Source(str(repository), ref="main"), tmp_path) as checkout:
        assert checkout.branch == "main"


def test_hooks_and_submodules_are_not_touched(repository: Path, tmp_path: Path) -> None:
    library = make_repository(tmp_path / "library")
    git(repository, "submodule", "--quiet", "add", str(library), "vendored")
    git(repository, "commit", "--quiet", "--message", "Vendor")

    with check_out(Source(str(repository), ref="main"), tmp_path) as checkout:
        assert list((checkout.folder / "vendored").glob("*")) == []
        assert checkout.notices == (
            "The repository has submodules; their folders are empty, itdash does not fetch submodules.",
        )


def test_runs_check_the_same_repository_out_at_the_same_time(repository: Path, tmp_path: Path) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(6)

    def one(run_id: int) -> None:
        try:
            together.wait()
            with check_out(Source(str(repository), ref="main"), tmp_path, run_id=run_id) as checkout:
                assert (checkout.folder / "README").read_text() == "first\n"
        except BaseException as error:  # noqa: BLE001 - carried to the test's thread
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_a_checkout_that_nobody_removed_is_swept(tmp_path: Path) -> None:
    home = tmp_path / "data" / "checkouts"
    for name in ["run-1-1", "run-2-1", "run-2-2", "run-3-1.index", "kept-by-a-person"]:
        (home / name).mkdir(parents=True)

    removed = remove_checkouts(tmp_path / "data", is_needed=lambda run_id, fence: (run_id, fence) == (2, 2))

    assert sorted(removed) == ["run-1-1", "run-2-1", "run-3-1.index"]
    assert sorted(entry.name for entry in home.iterdir()) == ["kept-by-a-person", "run-2-2"]


@contextmanager
def web_server(seen: list[str], *, silent: bool = False) -> Iterator[str]:
    """Yield the address of a server that wants a sign-in and, when `silent`, never answers."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            if silent:
                ended.wait(30)
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="code"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with answering(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            ended.set()


def test_credentials_are_used_and_never_shown(tmp_path: Path) -> None:
    seen: list[str] = []

    with (
        web_server(seen) as address,
        pytest.raises(CheckoutError) as caught,
        check_out(Source(f"http://ada:s3cret@{address}/shop.git", ref="main"), tmp_path),
    ):
        pass

    assert f"Basic {base64.b64encode(b'ada:s3cret').decode()}" in seen
    assert "s3cret" not in str(caught.value)
    assert "renew them" in str(caught.value)
    written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_a_missing_sign_in_is_said_instead_of_asked_for(tmp_path: Path) -> None:
    with (
        web_server([]) as address,
        pytest.raises(CheckoutError, match="add credentials to the project's settings"),
        check_out(Source(f"http://{address}/shop.git", ref="main"), tmp_path),
    ):
        pass


def test_a_checkout_is_stopped_while_the_host_is_silent(tmp_path: Path) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()

    with (
        web_server([], silent=True) as address,
        pytest.raises(StoppedError),
        check_out(Source(f"http://{address}/shop.git", ref="main"), tmp_path, stop=stop),
    ):
        pass

    timer.join()


def test_a_remote_is_split_into_what_is_shown_and_what_is_not() -> None:
    remote = Remote.parse("https://ada:p%40ss@code.example.org:8443/team/shop.git")

    assert remote.url == "https://code.example.org:8443/team/shop.git"
    assert (remote.username, remote.password) == ("ada", "p@ss")
    assert "p@ss" not in repr(remote)
    assert Remote.parse("git@code.example.org:team/shop.git").url == "git@code.example.org:team/shop.git"
    assert (
        masked("fatal: https://ada:x@host/ said no to hush", "hush")
        == "fatal: https://***@host/ said no to ***"
    )
    with pytest.raises(GitError):
        Remote.parse("https:///nowhere")


def test_a_mirror_serves_only_those_who_may_read_what_it_was_made_from() -> None:
    opened = Remote.parse("https://ada:hush@code.example.org/team/shop.git")

    assert opened.key == Remote.parse("https://ada:hush@code.example.org/team/shop.git").key
    assert opened.key != Remote.parse("https://code.example.org/team/shop.git").key
    assert opened.key != Remote.parse("https://ada:guess@code.example.org/team/shop.git").key
    assert "hush" not in opened.key


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_nobody_checks_out_of_another_projects_mirror(repository: Path, tmp_path: Path, form: str) -> None:
    with check_out(Source(str(repository), ref="main"), tmp_path):
        pass
    [mirror] = (tmp_path / "data" / "mirrors").glob("*.git")

    with pytest.raises(CheckoutError, match="own folder"), check_out(Source(form.format(mirror)), tmp_path):
        pass
