"""Processes told apart: a number alone is never signalled, because the system uses numbers again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from environments.errors import DeadlineExceededError
from environments.probes import steadily, wait_until

#: The environment variable by which a process is known to belong to an environment's folder.
FOLDER_VARIABLE = "ITDASH_LOCAL_FOLDER"
PAUSE_SECONDS = 0.01


class Identity(NamedTuple):
    """A process: its number and the clock tick at which it began (0 where the system does not say)."""

    pid: int
    tick: int

    def process(self) -> psutil.Process | None:
        """The process, if it is still that one and alive; psutil guards its number from then on."""
        try:
            process = psutil.Process(self.pid)
            if self.tick and _starting_tick(self.pid) != self.tick:
                return None
            return process if process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def tree(keeper: Identity) -> list[psutil.Process]:
    """Everything below a keeper: the service's processes, orphans included. Empty when it is gone."""
    process = keeper.process()
    if process is None:
        return []
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def belonging_to(folder: Path) -> Iterator[psutil.Process]:
    """Every process whose environment says that it belongs to the folder, wherever it hangs."""
    wanted = str(folder)
    for process in psutil.process_iter():
        # Other people's processes may not be asked; they are not ours then.
        with suppress(psutil.Error, OSError):
            if process.environ().get(FOLDER_VARIABLE) == wanted and is_alive(process):
                yield process


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs or is stopped; a process that ended and was not reaped is not alive."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_stopped(process: psutil.Process) -> bool:
    """Whether it is frozen by a signal."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def freeze(keeper: Identity, *, seconds: float) -> bool:
    """Stop every process below the keeper; True when all of them are. A fork may race, so look again."""

    def frozen() -> bool:
        moving = [process for process in tree(keeper) if is_alive(process) and not is_stopped(process)]
        _signal(moving, psutil.Process.suspend)
        return not moving

    return wait_for(frozen, seconds=seconds)


def thaw(keeper: Identity) -> None:
    """Let every process below the keeper go on."""
    _signal(tree(keeper), psutil.Process.resume)


def kill(processes: Iterable[psutil.Process]) -> None:
    """End them at once."""
    _signal(processes, psutil.Process.kill)


def _signal(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            act(process)


def wait_for(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Ask until it is so; False when the time has passed."""
    try:
        return wait_until(condition, deadline_seconds=seconds, pauses=steadily(PAUSE_SECONDS))
    except DeadlineExceededError:
        return False


def _starting_tick(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0
