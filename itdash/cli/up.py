"""Start everything here: database, broker, web, workers and beat.

PostgreSQL and Valkey are started from their wheels unless DATABASE_URL and BROKER_URL are set. A process
that dies is started again. Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from signal import SIGQUIT, SIGTERM, Signals
from typing import IO

import itdash
from environments.wheels import Launch, WheelsError
from itdash import embedded
from itdash.cli import installed_version
from itdash.cli._django import add_data_dir
from itdash.env import environment, process_environment
from itdash.supervisor import Program, StopRequested, Supervisor, guard

#: Where the packages lie: children import them from here, installed or not.
HOME = Path(itdash.__file__).resolve().parent.parent
WEB_READY_SECONDS = 60.0
INGEST_SLOTS = 2
#: How the log of a process ends that could not read its settings.
SETTINGS_ERROR = "django.core.exceptions.ImproperlyConfigured: "
#: A worker is asked to finish what it does, then to leave it: its environments are torn down on the way out.
WORKER_STOP = ((SIGTERM, 1.5), (SIGQUIT, 3.0))


class CannotStartError(Exception):
    """Something is in the way; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    data_dir: Path
    host: str
    port: int
    verbose: bool

    @property
    def address(self) -> str:
        """The address people use here."""
        name = "localhost" if self.host in {"127.0.0.1", "0.0.0.0", "::", "localhost"} else self.host  # noqa: S104 - compared, not bound
        return f"http://{name}:{self.port}"


@dataclass(slots=True)
class Installation:
    """What is being brought up: filled from top to bottom."""

    wish: Wish
    supervisor: Supervisor
    #: What the web server listens on.
    listener: socket.socket
    variables: dict[str, str]
    began_at: float = field(default_factory=time.monotonic)

    def program(
        self,
        name: str,
        *words: str,
        stop: tuple[tuple[Signals, float], ...] = ((SIGTERM, 4.0),),
        files: tuple[int, ...] = (),
        once: bool = False,
    ) -> Program:
        """Return a Python module to run as one of our processes."""
        launch = Launch([sys.executable, "-m", *words], HOME)
        return Program(name, lambda: launch, dict(self.variables), stop=stop, files=files, once=once)

    def done(self, name: str, text: str) -> None:
        """Say that a part is there."""
        tell(f"  {name:<11} {text}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data_dir(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="show what every process writes")


def run(options: argparse.Namespace) -> int:
    """Start everything and keep it until a signal; returns the exit code."""
    return guard(partial(serve, wish_of(options)))


def wish_of(options: argparse.Namespace) -> Wish:
    """Return the options as values."""
    return Wish(options.data_dir.resolve(), options.host, options.port, options.verbose)


def serve(wish: Wish, steps: Sequence[Callable[[Installation], None]] = ()) -> int:
    """Take the steps in order, then keep what they started until a signal, or until the supervisor is told
    that it is enough; returns the exit code."""
    wish.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    supervisor = Supervisor(logs=wish.data_dir / "logs", say=tell, verbose=wish.verbose)
    supervisor.heed_signals()
    lock: IO[str] | None = None
    listener: socket.socket | None = None
    try:
        listener = listen(wish.host, wish.port)
        wish = replace(wish, port=listener.getsockname()[1])
        lock = embedded.hold(wish.data_dir, public_url=wish.address)
        tell(f"itdash {installed_version()} · data in {wish.data_dir}")
        installation = Installation(wish, supervisor, listener, variables_for(wish))
        for step in steps or STEPS:
            step(installation)
        return supervisor.watch()
    except StopRequested:
        tell("\nStopping …")
        return 0
    except (CannotStartError, WheelsError, embedded.AlreadyRunningError) as error:
        tell(f"itdash cannot start: {error}")
        return 1
    finally:
        supervisor.stop()
        if listener:
            listener.close()
        if lock:
            embedded.forget_running(wish.data_dir)
            embedded.remove_sockets(wish.data_dir)
            lock.close()


def variables_for(wish: Wish) -> dict[str, str]:
    """Return the environment of all children; the servers' addresses are added when they are known."""
    ours = {
        "DJANGO_SETTINGS_MODULE": "itdash.settings",
        "ITDASH_DATA_DIR": str(wish.data_dir),
        "PYTHONUNBUFFERED": "1",
    }
    configured = environment().model_fields_set
    if "secret_key" not in configured:
        ours["ITDASH_SECRET_KEY"] = embedded.secret_key(wish.data_dir)
    if "instance" not in configured:
        ours["ITDASH_INSTANCE"] = embedded.instance_name(wish.data_dir)
    if "public_url" not in configured:
        ours["ITDASH_PUBLIC_URL"] = wish.address
    if "allowed_hosts" not in configured:
        ours["ITDASH_ALLOWED_HOSTS"] = f"{environment().allowed_hosts},{wish.host}"
    return process_environment(**ours)


def listen(host: str, port: int) -> socket.socket:
    """Take the port for good: the web server inherits it, so that nobody is turned away while it restarts.

    Raises:
        CannotStartError: somebody else has it, or the host is not this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        message = (
            f"it cannot listen on {host}:{port} ({error.strerror}). "
            "Choose another port with --port, or --port 0 for any free one."
        )
        raise CannotStartError(message) from error
    return listener


# --- the order of things --------------------------------------------------------------------------


def start_servers(installation: Installation) -> None:
    """Start what is not configured: PostgreSQL and Valkey."""
    data_dir, variables = installation.wish.data_dir, installation.variables
    configured = environment().model_fields_set
    bare = {"PATH": variables.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    for name, key, start in (
        ("postgresql", "database_url", embedded.start_postgres),
        ("valkey", "broker_url", embedded.start_valkey),
    ):
        if key in configured:
            variables[key.upper()] = getattr(environment(), key)
            installation.done(name, f"yours, from {key.upper()}")
            continue
        began_at = time.monotonic()
        try:
            variables[key.upper()] = start(installation.supervisor, data_dir, bare)
        except WheelsError as error:
            log = installation.supervisor.log_of(name)
            message = f"{error}\nThe end of {log}:\n{tail(log)}"
            raise CannotStartError(message) from error
        installation.done(name, f"embedded, ready after {time.monotonic() - began_at:.1f} s")


def prepare_files_and_tables(installation: Installation) -> None:
    """Bring the database up to date and, where a file changed, collect static files, at the same time."""
    began_at = time.monotonic()
    steps = {"migrate": ("migrate", "--noinput", "--verbosity=1")}
    collected = installation.wish.data_dir / "static" / ".collected-from"
    present = static_sources()
    if not collected.exists() or collected.read_text(encoding="utf-8") != present:
        collected.unlink(missing_ok=True)
        steps["collectstatic"] = ("collectstatic", "--noinput", "--verbosity=1")
    for name, words in steps.items():
        installation.supervisor.start(installation.program(name, "django", *words))
    for name in steps:
        code = installation.supervisor.finish(name)
        if code:
            raise CannotStartError(why_ended(name, code, installation.supervisor.log_of(name)))
    collected.parent.mkdir(exist_ok=True)
    collected.write_text(present, encoding="utf-8")
    installation.done("database", f"up to date after {time.monotonic() - began_at:.1f} s")


def look_at_bucket(installation: Installation) -> None:
    """Say whether the bucket can be used, where one is set. Pages go without it, so nothing waits for it."""
    if not environment().storage:
        return
    from itdash.cli import doctor  # noqa: PLC0415 - it brings much that nothing else here needs

    found = doctor.bucket()
    if found.state is doctor.State.WORKS:
        installation.done("bucket", found.text)
    else:
        tell(str(found))


def static_sources() -> str:
    """What static files are made from, as a digest: ours, the packages that bring some, and the code."""
    files = [*(HOME / "static").rglob("*"), *(HOME / "itdash").glob("*.py")]
    facts = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in sorted(files)]
    facts += sorted(f"{one.name} {one.version}" for one in distributions())
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def note_running(installation: Installation) -> None:
    """Leave the addresses where commands beside us look for them."""
    variables = installation.variables
    embedded.note_running(
        installation.wish.data_dir,
        embedded.Running(
            database_url=variables["DATABASE_URL"],
            broker_url=variables["BROKER_URL"],
            public_url=variables["ITDASH_PUBLIC_URL"],
        ),
    )


def start_web(installation: Installation) -> None:
    """Start the web server and wait until it answers."""
    wish = installation.wish
    process = installation.supervisor.start(
        installation.program(
            "web",
            "uvicorn",
            "itdash.asgi:application",
            f"--fd={installation.listener.fileno()}",
            "--lifespan=off",
            "--no-access-log",
            # Pages that follow a run never end by themselves.
            "--timeout-graceful-shutdown=2",
            files=(installation.listener.fileno(),),
        )
    )
    wait_for_web(process, wish, installation.supervisor.log_of("web"))
    installation.done("web", wish.address)


def wait_for_web(process: subprocess.Popen[bytes], wish: Wish, log: Path) -> None:
    """Return when the web server answers `/healthz`. CannotStartError when it ended or takes too long."""
    deadline = time.monotonic() + WEB_READY_SECONDS
    while not web_answers(wish):
        # Waiting for the process's end is the pause between two questions.
        try:
            code = process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            code = None
        if code is not None or time.monotonic() > deadline:
            ended = f"ended with exit code {code}" if code is not None else "does not answer"
            message = f"the web server {ended}. The end of {log}:\n{tail(log)}"
            raise CannotStartError(message)


def web_answers(wish: Wish) -> bool:
    """Whether the web server says that it is alive."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(wish.host, wish.host)  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(host, wish.port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start_workers(installation: Installation) -> None:
    """Start the workers, one per kind of queue, and beat."""
    slots = environment().run_slots
    beat_folder = installation.wish.data_dir / "beat"
    beat_folder.mkdir(mode=0o700, exist_ok=True)
    for name, queues, count in (
        ("runs", "runs", slots),
        ("ingest", "default,ingest,send,judge", INGEST_SLOTS),
    ):
        installation.supervisor.start(
            installation.program(
                f"worker-{name}",
                "celery",
                "--app=itdash.celery",
                "worker",
                f"--queues={queues}",
                f"--concurrency={count}",
                f"--hostname={name}@%h",
                "--without-gossip",
                "--without-mingle",
                "--loglevel=INFO",
                stop=WORKER_STOP,
            )
        )
    installation.supervisor.start(
        installation.program(
            "beat",
            "celery",
            "--app=itdash.celery",
            "beat",
            f"--schedule={beat_folder / 'schedule'}",
            "--pidfile=",
            "--loglevel=INFO",
        )
    )
    installation.done("workers", f"{slots} runs at once, {INGEST_SLOTS} uploads at once, beat")


def say_ready(installation: Installation) -> None:
    """Tell where to go."""
    seconds = time.monotonic() - installation.began_at
    tell(f"Ready after {seconds:.1f} s: {installation.wish.address} · Ctrl-C stops everything.")
    tell("The first visitor of a new installation makes the first account.")


STEPS = (
    start_servers,
    prepare_files_and_tables,
    look_at_bucket,
    note_running,
    start_web,
    start_workers,
    say_ready,
)


def why_ended(name: str, code: int, log: Path) -> str:
    """What is wrong with a setting, where that is the reason: a sentence for people; else the log's end."""
    end = tail(log)
    _, found, sentence = end.rpartition(SETTINGS_ERROR)
    return sentence if found else f"`{name}` failed with exit code {code}. The end of {log}:\n{end}"


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "(empty)"
    return "\n".join(text.splitlines()[-lines:])


def tell(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)
