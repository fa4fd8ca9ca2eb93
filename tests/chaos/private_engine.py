"""A container engine of the tests' own beside the machine's: to be stopped, killed, and seen as a whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from environments.docker_engine import DockerEngine
from environments.probes import steadily, wait_until
from environments.subnets import Pool
from tests.conftest import missing
from tests.contract.services import IMAGE

#: Not the pool of the machine's own engine: the two do not know of each other's networks.
POOL = "10.214.0.0/18"
#: Networks that every engine has.
BUILT_IN = {"bridge", "host", "none"}
#: A bridge of its own: an engine that is told to have none takes the machine's engine's away.
BRIDGE = f"itd{os.getpid()}"
BRIDGE_ADDRESS = "10.214.64.1/24"


class PrivateEngine:
    """A `dockerd` with files, socket and containers of its own; the machine's firewall is not touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/engine.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def client(self) -> DockerEngine:
        """A new connection, as a worker has it."""
        return DockerEngine(self.url, subnet_pool=Pool.read(POOL, 26))

    def start(self) -> None:
        """Start it, or start it again on what it had; return once it answers."""
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", "--host", self.url, f"--bridge={BRIDGE}", "--iptables=false"),
                    *("--ip-masq=false", "--userland-proxy=false", "--shutdown-timeout=2"),
                    *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
                    *("--pidfile", f"{self.folder}/dockerd.pid"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, deadline_seconds=60, pauses=steadily(0.1))

    def ensure_running(self) -> None:
        """Start it again when it is stopped; a supervisor does so."""
        if self._process is None:
            self.start()

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it as its supervisor does, or kill it as a crash does; return once it is gone."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL if at_once else signal.SIGTERM)
            self._process.wait(60)
            self._process = None
            self._forget_helper()

    def _forget_helper(self) -> None:
        """After a crash its containerd ends too, but where nobody reaps orphans its number stays taken, and
        the next life would wait for it."""
        noted = self.folder / "exec/containerd/containerd.pid"
        if noted.exists():
            with suppress(psutil.NoSuchProcess):
                helper = psutil.Process(int(noted.read_text()))
                wait_until(lambda: helper.status() == psutil.STATUS_ZOMBIE, deadline_seconds=30)
            noted.unlink()

    def command(self, *words: str) -> list[str]:
        """The words that the docker command prints, one a line."""
        done = subprocess.run(
            ["docker", "--host", self.url, *words], capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout.split()

    def objects(self) -> set[str]:
        """Everything there is on it but images: what we made, what others made, what nobody named."""
        networks = self.command("network", "ls", "--format", "{{.Name}}")
        return {
            *(f"container {one}" for one in self.command("ps", "--all", "--format", "{{.Names}}")),
            *(f"network {one}" for one in networks if one not in BUILT_IN),
            *(f"volume {one}" for one in self.command("volume", "ls", "--format", "{{.Name}}")),
        }

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "dockerd.log").read_text("utf-8", "replace")[
            -2000:
        ]
        done = subprocess.run(["docker", "--host", self.url, "version"], capture_output=True, check=False)
        return done.returncode == 0


@contextmanager
def private_engine() -> Iterator[PrivateEngine]:
    """One with the lab's image on it; gone with all its files when left."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("dockerd", "ip"))):
        missing("an engine of its own needs root, dockerd and ip")
    # A socket's path may have some hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="itd-engine-", dir="/var/tmp"))
    engine = PrivateEngine(folder)
    try:
        subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", BRIDGE_ADDRESS, "dev", BRIDGE], check=True)
        engine.start()
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", engine.url, "load"],
                stdin=saved.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=120,
            )
        yield engine
    finally:
        engine.stop()
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
        _tidy_up_below(folder)
        shutil.rmtree(folder)


def _tidy_up_below(folder: Path) -> None:
    """What an engine that was killed left: the minders of its containers, and mounts, the newest first."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(word.startswith(f"{folder}/") for word in process.cmdline()):
                process.kill()
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", mount], check=True, timeout=20)
