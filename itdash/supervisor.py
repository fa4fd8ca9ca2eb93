"""Processes kept alive, and none left behind.

Two processes stand guard. The inner one, `Supervisor`, starts the programs, starts again what dies and stops
everything in order. The outer one, `guard`, does nothing but wait for it, and ends what is left then. What
loses its parent becomes the child of one of them (Linux). Either may be killed: the other cleans up.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import FrameType

import psutil

from environments.wheels import Launch

#: The pause before a dead program is started again: doubled at each death, up to the longest.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
#: A program that lived this long before it died is given the first pause again.
SETTLED_SECONDS = 60.0
#: What the guard grants orphans before it ends them.
ORPHAN_GRACE_SECONDS = 3.0
LOG_KEPT_BYTES = 10 * 1024 * 1024

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived. Not an error: the way out, like KeyboardInterrupt."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep: how to start it and how it wants to be stopped."""

    name: str
    #: Asked at every start, so that what an earlier life left behind is dealt with.
    launch: Callable[[], Launch]
    environment: Mapping[str, str]
    #: Signals with the seconds each is given; after the last, its process group is killed.
    stop: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 4.0),)
    #: Programs of a higher stage are stopped before those of a lower one.
    stage: int = 1
    #: Open files it inherits, by number.
    files: tuple[int, ...] = ()
    #: Runs to its end, in front: writes to our own output, and its exit code becomes ours if not zero.
    once: bool = False


@dataclass(slots=True)
class Life:
    """A program and the process that it is at the moment."""

    program: Program
    process: subprocess.Popen[bytes]
    born_at: float
    deaths: int = 0
    #: When to start again, on the monotonic clock; None while it runs.
    due_at: float | None = None
    log_read_to: int = 0


@dataclass(slots=True)
class Supervisor:
    """Starts programs, keeps them, stops them."""

    logs: Path
    say: Callable[[str], None]
    verbose: bool = False
    lives: dict[str, Life] = field(default_factory=dict)
    on_end: Callable[[str, int], bool] = lambda _name, _code: False
    _stopping: bool = False
    _wake: int = -1

    def __post_init__(self) -> None:
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)

    def heed_signals(self) -> None:
        """From here on SIGINT, SIGTERM and SIGHUP raise StopRequested in the main thread.

        Whatever loses its parent below us becomes our child, so that it can be ended with the rest.
        """
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._wake, written = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._request_stop)

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            raise StopRequested

    def start(self, program: Program) -> subprocess.Popen[bytes]:
        """Start a program and keep it from here on."""
        log = self.log_of(program.name)
        read_to = log.stat().st_size if log.exists() else 0
        life = Life(program, self._spawn(program), time.monotonic(), log_read_to=read_to)
        self.lives[program.name] = life
        return life.process

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        launch = program.launch()
        log = self.log_of(program.name)
        if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
            log.replace(log.with_suffix(".1.log"))
        with contextlib.ExitStack() as files:
            output = None if program.once else files.enter_context(log.open("ab"))
            return subprocess.Popen(  # noqa: S603 - our own programs, no shell
                launch.command,
                **launch.place(),
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                pass_fds=program.files,
                start_new_session=True,
                # Safe here: this process has one thread.
                preexec_fn=partial(die_with_parent, program.stop[0][0], os.getpid()),  # noqa: PLW1509
            )

    def log_of(self, name: str) -> Path:
        """Return the file that a program writes to."""
        return self.logs / f"{name}.log"

    def finish(self, name: str) -> int:
        """Wait for the end of a program that ends by itself; returns its exit code."""
        code = self.lives[name].process.wait()
        del self.lives[name]
        return code

    def watch(self) -> int:
        """Keep the programs until `on_end` says enough; returns the exit code that ended the watch."""
        while True:
            for life in list(self.lives.values()):
                code = self._look_after(life)
                if code is not None:
                    return code
            if self.verbose:
                self._show_logs()
            self._bury_strangers()
            self._pause()

    def _look_after(self, life: Life) -> int | None:
        """Start again what is due, notice what died; an exit code when the watch is over."""
        now = time.monotonic()
        name = life.program.name
        if life.due_at is not None:
            if now >= life.due_at:
                life.process, life.born_at, life.due_at = self._spawn(life.program), now, None
            return None
        code = life.process.poll()
        if code is None:
            return None
        if life.program.once:
            del self.lives[name]
            return code if self.on_end(name, code) else None
        life.deaths = 1 if now - life.born_at > SETTLED_SECONDS else life.deaths + 1
        pause = restart_pause(life.deaths)
        life.due_at = now + pause
        self._kill_group(life)
        self.say(
            f"{name} ended ({describe_exit(code)}); starting it again in {pause:g} s · {self.log_of(name)}"
        )
        return None

    def _pause(self) -> None:
        """Wait for a signal (a death is one) or for the next start that is due."""
        due = [life.due_at for life in self.lives.values() if life.due_at is not None]
        seconds = max(0.0, min(due) - time.monotonic()) if due else 5.0
        select.select([self._wake], [], [], min(seconds, 0.3) if self.verbose else seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _bury_strangers(self) -> None:
        """Take note of the ends of those who became our children; our own are waited for by name."""
        ours = {life.process.pid for life in self.lives.values()}
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in ours:
                    return
                os.waitpid(ended.si_pid, 0)

    def _show_logs(self) -> None:
        for name, life in self.lives.items():
            if life.program.once or not self.log_of(name).exists():
                continue
            with self.log_of(name).open("rb") as log:
                log.seek(life.log_read_to if life.log_read_to <= log.seek(0, os.SEEK_END) else 0)
                text = log.read()
            whole = text[: text.rfind(b"\n") + 1]
            life.log_read_to += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                self.say(f"{name:<14}| {line}")

    def stop(self) -> None:
        """Stop everything, the highest stage first; each program in the way it wants."""
        self._stopping = True
        for stage in sorted({life.program.stage for life in self.lives.values()}, reverse=True):
            _stop_together([life for life in self.lives.values() if life.program.stage == stage])
        if self.verbose:
            self._show_logs()
        self.lives.clear()
        end_orphans(ORPHAN_GRACE_SECONDS / 3)

    def _kill_group(self, life: Life) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(life.process.pid, signal.SIGKILL)


def restart_pause(deaths: int) -> float:
    """Seconds before the start that follows the given death, the first being 1."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(deaths - 1, 16), LONGEST_PAUSE_SECONDS)


def describe_exit(code: int) -> str:
    """Say how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _stop_together(lives: list[Life]) -> None:
    begun_at = time.monotonic()
    steps = {life.program.name: list(life.program.stop) for life in lives}
    next_step_at = dict.fromkeys(steps, begun_at)
    left = [life for life in lives if life.process.poll() is None]
    while left:
        now = time.monotonic()
        for life in left:
            name = life.program.name
            if now < next_step_at[name]:
                continue
            if steps[name]:
                number, seconds = steps[name].pop(0)
                next_step_at[name] = now + seconds
                life.process.send_signal(number)
            else:
                next_step_at[name] = now + 1.0
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(life.process.pid, signal.SIGKILL)
        # Waiting for one of them is the pause between two looks at all of them.
        with contextlib.suppress(subprocess.TimeoutExpired):
            left[0].process.wait(timeout=0.05)
        left = [life for life in left if life.process.poll() is None]
    for life in lives:
        # A leader that is gone may have left its group: pool processes of a worker, for one.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(life.process.pid, signal.SIGKILL)


# --- the guard ------------------------------------------------------------------------------------


def guard(main: Callable[[], int]) -> int:
    """Run `main` in a child process; return its exit code when nothing of it is left."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    own = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    inner = os.fork()
    if inner == 0:
        _run_inner(main, own)
    forwarded = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    for number in forwarded:
        signal.signal(number, partial(_forward, inner))
    code = _reap_until(inner)
    for number in forwarded:
        signal.signal(number, signal.SIG_IGN)
    end_orphans(ORPHAN_GRACE_SECONDS)
    return code


def _run_inner(main: Callable[[], int], outer: int) -> None:
    """Never returns: the child of a fork must not run its parent's clean-up."""
    code = 1
    try:
        # A session of its own: a terminal's Ctrl-C reaches the guard alone, which passes it on, once.
        os.setsid()
        die_with_parent(signal.SIGTERM, outer)
        code = main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except StopRequested:
        code = 130
    except BaseException:  # noqa: BLE001 - the last line before os._exit: shown, then the code says failed
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forward(inner: int, number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(inner, signal.SIGTERM if number == signal.SIGHUP else number)


def _reap_until(inner: int) -> int:
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == inner:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def end_orphans(grace_seconds: float) -> None:
    """End what lost its parent: a moment to leave by itself (it has its own signal), then no choice."""
    orphans = psutil.Process().children(recursive=True)
    _, left = psutil.wait_procs(orphans, timeout=grace_seconds if orphans else 0)
    while left:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)
        left = psutil.Process().children(recursive=True)


def die_with_parent(number: int, parent: int) -> None:
    """Have this process signalled when its parent dies, however it dies (Linux)."""
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, value, 0, 0, 0)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
