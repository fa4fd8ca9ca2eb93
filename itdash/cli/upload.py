"""Send test reports to the server, from any CI.

Commit, branch, pull request, build address, slice and try are read from the variables of GitHub Actions,
GitLab CI, Jenkins, CircleCI, Buildkite, Azure Pipelines, Bitbucket Pipelines, Travis CI, TeamCity, Drone and
Woodpecker; options override them. Uploads of one pipeline to one suite are one run: jobs that test the same
under other conditions (a matrix) need a suite or a --run-key of their own.

Exit codes: 0 unless the server refuses what it was sent (2) or --fail-on says otherwise (1). A server that
cannot be reached is told on standard error and never fails the build: the tests' own exit code stands.
  --fail-on verdict   1 when the run's verdict is fail (quarantined failures do not count), or it is errored
  --fail-on failure   1 when anything failed or errored, or a report could not be read
  --fail-on never     0 in any case
"""

from __future__ import annotations

import argparse
import glob
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from environments.errors import DeadlineExceededError
from environments.probes import backing_off, steadily, wait_until
from itdash.cli._ci import CiJob, ci_job
from itdash.cli._server import Server, ServerError, UnreachableError, add_server, server_of
from itdash.env import process_environment

EXIT_FAILED = 1
EXIT_REFUSED = 2
#: Sent as they are: few files, or packed ones.
PLAIN_FILE_LIMIT = 3
PLAIN_SIZE_LIMIT_BYTES = 1024 * 1024
PACKED_ENDINGS = (".gz", ".zip", ".tgz", ".tar")
#: In an archive a report is known by its name, so what looks like XML is given one; pictures keep theirs.
NAMED_ENDINGS = (".xml", ".trx", ".json", ".html", ".htm", ".svg")
ASK_SECONDS = 1.0
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "files", nargs="+", metavar="FILES", help="reports or archives of them; patterns with ** work, quoted"
    )
    parser.add_argument("--project", required=True, metavar="P", help="the project's address, its slug")
    parser.add_argument("--suite", required=True, metavar="S", help="the suite's name")
    add_server(parser)
    parser.add_argument(
        "--wait", action="store_true", help="wait until the results are stored, and tell them"
    )
    parser.add_argument("--fail-on", choices=["verdict", "failure", "never"], help="see above; waits")
    parser.add_argument(
        "--timeout", type=float, default=300, metavar="SECONDS", help="give up waiting (default: 300)"
    )
    parser.add_argument(
        "--retry-for", type=float, default=60, metavar="SECONDS",
        help="go on trying while the server cannot be reached (default: 60)",
    )  # fmt: skip
    for name, what in (
        ("branch", "the branch"),
        ("commit", "the commit"),
        ("pull-request", "the pull request's number"),
        ("ci-url", "where people find the job"),
        ("run-key", "uploads that share it are one run"),
        ("shard", "which parallel slice, from 1; 2/8 is the second of eight"),
        ("attempt", "which try of the job, from 1"),
        ("started-at", "when the tests began, with a time zone"),
    ):
        parser.add_argument(f"--{name}", metavar=name.upper(), help=f"{what} (default: as the CI says)")
    parser.add_argument("--shards", type=int, metavar="N", help="how many slices: the run ends with the last")
    for name, what in (("tag", "something worth knowing"), ("env", "something of the environment")):
        parser.add_argument(
            f"--{name}", action="append", default=[], type=_pair, metavar="NAME=VALUE",
            help=f"{what}, kept with the run; may be repeated",
        )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Send the reports; returns the exit code."""
    code = _upload(options)
    return 0 if options.fail_on == "never" else code


def _upload(options: argparse.Namespace) -> int:
    try:
        files = found_files(options.files)
        server = server_of(options)
        sent = _send(server, options, files)
        what = "1 file" if len(files) == 1 else f"{len(files)} files"
        print(f"{what} sent to run {sent['run']['number']}: {sent['run']['url']}", flush=True)
        if not options.wait and options.fail_on in {None, "never"}:
            return 0
        upload = _stored(server, sent["upload"]["id"], seconds=options.timeout)
    except UnreachableError as error:
        print(f"itdash: the reports were not sent. {error}", file=sys.stderr)
        return 0
    except DeadlineExceededError:
        print(f"itdash: not stored within {options.timeout:g} s; the server goes on.", file=sys.stderr)
        return 0
    except ServerError as error:
        print(f"itdash: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"itdash: the reports cannot be read: {error}", file=sys.stderr)
        return EXIT_REFUSED
    _tell(upload)
    return exit_code(upload, options.fail_on)


def found_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that names and patterns mean, each once, in order. ServerError when there is none."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        matches = [path] if path.is_file() else map(Path, sorted(glob.glob(pattern, recursive=True)))  # noqa: PTH207 - patterns may be absolute
        own = [match for match in matches if match.is_file()]
        if not own:
            mend = f"; it is a folder: say '{path.as_posix()}/**/*.xml'" if path.is_dir() else ""
            print(f"itdash: no file matches {pattern}{mend}", file=sys.stderr)
        found.update(dict.fromkeys(own))
    if not found:
        message = "There is no report to send. Did the tests write one?"
        raise ServerError(message)
    return list(found)


def form_fields(options: argparse.Namespace, job: CiJob) -> dict[str, str]:
    """Return the form: what the CI says, with the options in its place where they are given."""
    fields = {
        "suite": options.suite,
        "branch": options.branch or job.branch,
        "commit": options.commit or job.commit,
        "pull_request": options.pull_request or job.pull_request,
        "ci_url": options.ci_url or job.url,
        "run_key": options.run_key or job.run_key,
        "shard": options.shard or str(job.shard),
        "shards": str(options.shards or ""),
        "attempt": options.attempt or str(job.attempt),
        "started_at": options.started_at or "",
        "tag.ci": job.name,
    }
    fields |= {f"tag.{name}": value for name, value in options.tag}
    fields |= {f"env.{name}": value for name, value in options.env}
    return {name: value for name, value in fields.items() if value}


def exit_code(upload: dict[str, Any], fail_on: str | None) -> int:
    """Judge a stored upload's run as `--fail-on` asks."""
    totals = upload["run"]["totals"]
    if fail_on == "verdict":
        # Of an errored run nobody knows: no gate is passed on a doubt.
        is_bad = upload["run"]["verdict"] == "fail" or upload["run"]["status"] == "errored"
        return EXIT_FAILED if is_bad else 0
    if fail_on == "failure":
        is_bad = totals["failed"] or totals["errored"] or upload["status"] != "stored"
        return EXIT_FAILED if is_bad else 0
    return 0


def _send(server: Server, options: argparse.Namespace, files: Sequence[Path]) -> dict[str, Any]:
    """Send until the server has it. The same key every time: what arrived twice is taken once."""
    variables = process_environment()
    fields = form_fields(options, ci_job(variables, event=_text_of(variables.get("GITHUB_EVENT_PATH", ""))))
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    path = f"/projects/{options.project}/uploads"
    trouble: list[UnreachableError] = []

    def answer() -> dict[str, Any] | None:
        try:
            with _opened(files) as parts:
                return server.post_files(path, parts, fields, headers=headers)
        except UnreachableError as error:
            trouble.append(error)
            return None

    try:
        return wait_until(
            answer,
            deadline_seconds=options.retry_for,
            pauses=backing_off(first=1.0, growth=2.0, longest=15.0),
        )
    except DeadlineExceededError:
        raise trouble[-1] from None


def _stored(server: Server, upload_id: int, *, seconds: float) -> dict[str, Any]:
    def stored() -> dict[str, Any] | None:
        try:
            upload = server.get(f"/uploads/{upload_id}?wait=20")
        except UnreachableError:
            return None
        return upload if upload["status"] != "received" else None

    return wait_until(stored, deadline_seconds=seconds, pauses=steadily(ASK_SECONDS))


def _tell(upload: dict[str, Any]) -> None:
    run, totals = upload["run"], upload["run"]["totals"]
    failed = totals["failed"] + totals["errored"]
    print(
        f"Run {run['number']} {run['status']}: {totals['tests']} tests, {totals['passed']} passed, {failed} "
        f"failed, {totals['flaky']} flaky, {totals['skipped']} skipped"
    )
    for reason in run.get("verdict_reasons", []):
        print(f"  {reason}")
    for problem in upload["problems"]:
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        print(f"  {place}: {problem['reason']}")


@contextmanager
def _opened(files: Sequence[Path]) -> Iterator[list[tuple[str, IO[bytes]]]]:
    """The files ready to be sent: many or large ones packed into one."""
    plain = [path for path in files if path.name.endswith(PACKED_ENDINGS)]
    loose = [path for path in files if path not in plain]
    size = sum(path.stat().st_size for path in loose)
    if len(loose) <= PLAIN_FILE_LIMIT and size <= PLAIN_SIZE_LIMIT_BYTES:
        plain, loose = list(files), []
    with ExitStack() as stack:
        parts: list[tuple[str, IO[bytes]]] = [
            (str(path), stack.enter_context(path.open("rb"))) for path in plain
        ]
        if loose:
            parts.append(("reports.zip", _packed(loose, stack.enter_context(tempfile.TemporaryFile()))))
        yield parts


def _packed(files: Sequence[Path], into: IO[bytes]) -> IO[bytes]:
    """Pack files, the same bytes for the same files: the server knows an upload by its content."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            name = path.as_posix().lstrip("/")
            with path.open("rb") as source:
                is_named = name.lower().endswith(NAMED_ENDINGS) or not _looks_like_xml(source)
                info = zipfile.ZipInfo(name if is_named else f"{name}.xml", _FIXED_TIME)
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w") as target:
                    while chunk := source.read(1024 * 1024):
                        target.write(chunk)
    into.seek(0)
    return into


def _looks_like_xml(source: IO[bytes]) -> bool:
    """Whether it begins as XML does, in any encoding; leaves it at its beginning."""
    beginning = source.read(512).replace(b"\0", b"")
    source.seek(0)
    return beginning.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<")


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, ValueError):
        return ""


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        message = f"“{text}” is not of the form NAME=VALUE"
        raise argparse.ArgumentTypeError(message)
    return name, value
