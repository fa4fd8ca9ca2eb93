"""The demonstration: the example project, an account to look at it with, a made-up past, and one real run, to
its end.

Runs in processes of its own beside the servers, which `itdash demo` starts.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from pathlib import Path

from django.conf import settings
from django.urls import reverse

import itdash
from environments.docker_engine import DockerEngine
from environments.errors import DeadlineExceededError, EnvironmentFailedError
from environments.labels import EnvironmentRef
from environments.probes import wait_until
from environments.spec import ServiceSpec
from itdash.env import demo_variables, process_environment
from runs.actions.people import create_first_account
from runs.actions.projects import create_project
from runs.actions.runs import queue_run
from runs.actions.samples import request_samples
from runs.dispatch import answering
from runs.models import Project, Run, User
from runs.queries.samples import sample_progress
from runs.sample import DAYS
from runs.tasks import load_samples
from runs.vocabulary import FINISHED, RunStatus, Trigger, Verdict

EXAMPLE = Path(itdash.__file__).resolve().parent.parent / "examples" / "shop"
PROJECT = "shop"
SUITE = "checkout"
ACCOUNT = "demo"
RUN_LIMIT = timedelta(minutes=10)
LOOK_SECONDS = 0.25
LOCALLY = "services run as processes of this machine"
#: What the example's Compose files name by default; a variable of the same name takes its place.
IMAGES = {
    "PYTHON_IMAGE": "python:3.13-slim",
    "POSTGRES_IMAGE": "postgres:17",
    "VALKEY_IMAGE": "valkey/valkey:8",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which engine the demonstration runs on, and why."""

    engine: str
    reason: str


# --- the engine -----------------------------------------------------------------------------------


def choose_engine() -> Choice:
    """Take containers where an engine answers and has the images or can pull them, else local processes."""
    if settings.ENGINE != "auto":
        return Choice(settings.ENGINE, "ITDASH_ENGINE says so")
    engine = DockerEngine()
    try:
        version = engine.capabilities().version
    except EnvironmentFailedError:
        return Choice("local", f"no container engine answers; {LOCALLY}")
    missing = missing_image(engine)
    if missing:
        return Choice("local", f"an engine answers, but cannot pull {missing}; {LOCALLY}")
    return Choice("docker", f"version {version} answers and has the images")


def missing_image(engine: DockerEngine) -> str:
    """Find or pull the example's images; return the first that cannot be had, empty when all are there."""
    nowhere = EnvironmentRef(name="itd-demo-0", instance=settings.INSTANCE, owner="demo", fence=0, expires=0)
    for variable, default in IMAGES.items():
        image = demo_variables().get(variable) or default
        try:
            engine.prepare_image(nowhere, ServiceSpec(name="demo", image=image))
        except EnvironmentFailedError:
            return image
    return ""


# --- the run --------------------------------------------------------------------------------------


def play(*, leave: bool, with_past: bool = True) -> int:
    """Make what is missing, queue a run and follow it: 0 passed, 1 failed, 2 not the tests' fault."""
    person, password = ensure_account()
    project = ensure_project(ensure_repository(settings.DATA_DIR / "demo" / "shop"), person)
    if with_past:
        ensure_past(project, person)
    run = queue_run(project=project, suite=SUITE, trigger=Trigger.DEMO, by=person)
    tell_where(run, password)
    try:
        run = follow(run)
    except DeadlineExceededError:
        print(f"The run has not finished within {RUN_LIMIT}; the workers' logs say why.", flush=True)
        return 2
    print(summary(run), flush=True)
    if not leave:
        print("The servers go on; Ctrl-C stops everything.", flush=True)
    return exit_code(run)


def ensure_account() -> tuple[User | None, str]:
    """Make the account once; later starts find its password beside it. No password when people exist."""
    place = settings.DATA_DIR / "demo" / "password"
    if not place.exists():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(12))
    password = place.read_text(encoding="utf-8")
    create_first_account(username=ACCOUNT, email="", password=password)
    person = User.objects.filter(username=ACCOUNT).first()
    known = person is not None and person.check_password(password)
    return person, password if known else ""


def ensure_repository(folder: Path) -> Path:
    """Make the example a Git repository of its own, with its present files committed."""
    if not EXAMPLE.is_dir():
        message = f"The example is not at {EXAMPLE}. Run the demonstration from a checkout of itdash."
        raise SystemExit(message)
    if not (folder / ".git").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    for old in folder.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(
        EXAMPLE,
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.pyc"),
    )
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message", "The shop, as it comes with itdash")
    return folder


def git(folder: Path, *words: str) -> str:
    """Run Git without this machine's settings: a demonstration signs nothing and runs no hook."""
    done = subprocess.run(  # noqa: S603 - a fixed program, no shell
        ["git", "-c", "user.name=itdash", "-c", "user.email=itdash@localhost", *words],  # noqa: S607 - found as the shell would
        cwd=folder,
        env=process_environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"`git {words[0]}` failed in {folder}: {done.stderr.strip()}"
        raise SystemExit(message)
    return done.stdout.strip()


def ensure_project(repository: Path, person: User | None) -> Project:
    """Make the project, or bring the one that is there up to date."""
    values = {"repository_url": str(repository), "variables": demo_variables(), "allow_local_engine": True}
    if not Project.objects.filter(slug=PROJECT).exists():
        create_project(
            slug=PROJECT,
            name="Shop (demo)",
            by=person,
            repository_url=str(repository),
            variables=demo_variables(),
            allow_local_engine=True,
        )
    Project.objects.filter(slug=PROJECT).update(**values)
    return Project.objects.get(slug=PROJECT)


def ensure_past(project: Project, person: User | None) -> None:
    """Send the sample data to a project that has no run yet, or the rest of it where that was interrupted."""
    is_new = not Run.objects.for_project(project).exists()
    if not is_new and not (project.is_sample and not sample_progress(project).is_complete):
        return
    print(f"Sending {DAYS} days of sample data …", flush=True)
    began_at = time.monotonic()
    with answering(lambda _work, _row_id: None):  # not by a worker: here, before the run
        request_samples(project=project, by=person)
    count = load_samples(project.pk)
    print(f"  {count} reports stored and judged in {time.monotonic() - began_at:.1f} s", flush=True)


def tell_where(run: Run, password: str) -> None:
    """Say where to look and how to sign in."""
    print(f"\nLook at it: {settings.PUBLIC_URL}{reverse('overview', args=[PROJECT])}")
    print(f"Sign in as: {ACCOUNT}   password: {password}" if password else "Sign in with your account.")
    print(f"Run {run.number} of {PROJECT}/{SUITE}, live at {run.get_absolute_url()}:", flush=True)


def follow(run: Run) -> Run:
    """Tell each change of the run's status until it has finished; time-outs of the suite end it anyway."""
    seen = ""

    def finished() -> Run | None:
        nonlocal seen
        current = Run.objects.get(pk=run.pk)
        if current.status != seen:
            seen = current.status
            print(f"  {seen}", flush=True)
        return current if seen in FINISHED else None

    return wait_until(finished, deadline_seconds=RUN_LIMIT.total_seconds(), pauses=repeat(LOOK_SECONDS))


def summary(run: Run) -> str:
    """The run in one sentence."""
    counts = (
        f"{run.test_count} tests: {run.passed_count} passed, {run.failed_count + run.errored_count} failed"
    )
    counts += f", {run.skipped_count} skipped, {run.flaky_count} flaky"
    seconds = (run.duration_ms or 0) / 1000
    told = f"Run {run.number} {run.status} on the {run.engine} engine after {seconds:.1f} s. {counts}."
    return f"{told}\n{run.error_message}" if run.error_message else told


def exit_code(run: Run) -> int:
    """0 when it passed as expected: the test that is flaky on purpose may need its second attempt."""
    if run.status == RunStatus.PASSED and run.verdict == Verdict.PASS and run.test_count > 0:
        return 0
    return 1 if run.status in {RunStatus.FAILED, RunStatus.TIMED_OUT} else 2
