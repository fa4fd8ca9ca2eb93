"""What a service's processes use, added up."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import psutil

from environments.engine import Usage
from environments.local_engine import processes, reading
from environments.local_engine.folders import ServiceFolder

PERIOD_SECONDS = 1.0


def samples(own: ServiceFolder, stop: threading.Event) -> Iterator[Usage]:
    """One sample a second while the service runs, over its restarts, until it is removed or `stop` is set."""
    while own.program() is not None:
        if (sample := _sample(own)) is not None:
            yield sample
        if stop.wait(PERIOD_SECONDS):
            return


def _sample(own: ServiceFolder) -> Usage | None:
    state = own.state()
    keeper = state.keeper.process() if state is not None and reading.runs(state) else None
    if state is None or keeper is None:
        return None
    below = processes.tree(state.keeper)
    if not below:
        return None
    at = datetime.now(tz=UTC)
    return Usage(at=at, cpu_ns=_cpu_ns(keeper, below), memory_bytes=sum(map(_memory, below)))


def _cpu_ns(keeper: psutil.Process, below: Iterable[psutil.Process]) -> int:
    """What lives has used, and what has ended, which the kernel adds to whoever waited for it."""
    seconds = 0.0
    with suppress(psutil.Error):
        times = keeper.cpu_times()
        seconds += times.children_user + times.children_system
    for process in below:
        with suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return round(seconds * 1e9)


def _memory(process: psutil.Process) -> int:
    """A process's part of the memory; pages that several share count in parts, where the system says."""
    with suppress(psutil.Error):
        if not psutil.LINUX:
            return int(process.memory_info().rss)
        with suppress(psutil.AccessDenied):
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    return 0
