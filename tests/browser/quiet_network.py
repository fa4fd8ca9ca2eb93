"""A network with nothing but a loopback, for a browser that minds what happens on the machine's.

Chromium without windows takes a third of the work of the one with windows, but drops what it is loading
whenever a network comes or goes, and tests beside these make and remove containers' networks all the time.
The thread that passes the tests enters this network for the browser's part, and what it starts is in it too:
the site, its worker and the browser. PostgreSQL, Valkey and the engine are reached by files.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

HERE = "/proc/thread-self/ns/net"


def make_network() -> int | None:
    """Return a new one, to be entered; None where we may not make one."""
    home = os.open(HERE, os.O_RDONLY)
    try:
        os.unshare(os.CLONE_NEWNET)
    except OSError:
        return None
    else:
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
            return os.open(HERE, os.O_RDONLY)
        finally:
            os.setns(home, os.CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def inside(network: int | None) -> Iterator[None]:
    """Be in it, and back where we were after that; None is nowhere."""
    if network is None:
        yield
        return
    home = os.open(HERE, os.O_RDONLY)
    os.setns(network, os.CLONE_NEWNET)
    try:
        yield
    finally:
        os.setns(home, os.CLONE_NEWNET)
        os.close(home)
