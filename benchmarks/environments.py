"""Many environments at once on one engine: sixty with a network each, and a run of eight shards.

    python benchmarks/environments.py [--networks 60] [--shards 8] [--processes 4]

First, several processes bring up environments of one network each and hold them until all of them stand: no
two may share a subnet. The engine's own pools, which Compose and others use, end after 30. Then eight shards
of the four services of `readiness.py` come up at once, as a run with eight shards does: 32 containers. Both
with `provisioned`, its row and lease in PostgreSQL, and left again: nothing may be left on the engine. Images
are named as for `readiness.py`.

Promised: 60 networks without a collision; eight shards up in 10 s, on two cores that do nothing else. Most of
it is the engine's own, 0.2 s a container, so the load is printed with the figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from overhead import server
from readiness import unheard, write

from itdash.env import process_environment

SHARDS_SECONDS = 10.0
#: How many networks an engine has addresses for unless told otherwise.
ENGINES_OWN = 30
PATIENCE_SECONDS = 300.0


def main() -> int:
    """Measure and print; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--processes", type=int, default=4)
    # Of a process that this one starts: how many environments it holds, and how each owner begins.
    parser.add_argument("--hold", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--owner", default="bench", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        return hold(options.hold, options.owner)
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        print(f"{os.cpu_count()} cores", flush=True)
        try:
            networks = many_networks(options.networks, options.processes)
            shards = many_shards(Path(folder), options.shards)
            rest = left()
        finally:
            remove_all()
    print(f"left on the engine: {', '.join(rest) or 'nothing'}")
    is_kept = networks and shards and not rest
    print("promises kept" if is_kept else "PROMISE BROKEN")
    return int(not is_kept)


def many_networks(count: int, processes: int) -> bool:
    """Hold so many environments at once from several processes; say whether no two had the same subnet."""
    print(f"{count} environments from {processes} processes, load {os.getloadavg()[0]:.1f}", flush=True)
    shares = [count // processes + (number < count % processes) for number in range(processes)]
    holders = [holder(share, f"bench-{number}") for number, share in enumerate(shares)]
    try:
        for process in holders:
            told(process)
        began = time.perf_counter()
        for process in holders:
            go(process)
        subnets = [subnet for process in holders for subnet in told(process)]
        up = time.perf_counter() - began
        began = time.perf_counter()
        codes = [let_go(process) for process in holders]
        gone = time.perf_counter() - began
    finally:
        for process in holders:
            process.kill()
            process.wait()
    print(
        f"  {len(subnets)} networks stood at once after {up:.1f} s, with {len(set(subnets))} different "
        f"subnets; gone in {gone:.1f} s (the engine's own pools: {ENGINES_OWN} networks)",
        flush=True,
    )
    return len(set(subnets)) == count and not any(codes)


def holder(share: int, owner: str) -> subprocess.Popen[str]:
    """Start a process that brings up its share when told to."""
    words = [sys.executable, __file__, "--hold", str(share), "--owner", owner]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=process_environment()
    )


def go(process: subprocess.Popen[str]) -> None:
    """Let a holder begin that has said that it is there."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def told(process: subprocess.Popen[str]) -> list[str]:
    """What a holder says next: that it is there, then the subnets once all its environments stand."""
    assert process.stdout is not None
    return process.stdout.readline().split()


def let_go(process: subprocess.Popen[str]) -> int:
    """Let a holder leave its environments; return its exit code."""
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(PATIENCE_SECONDS)


def hold(count: int, owner: str) -> int:
    """Bring up environments of one network when told to, say their subnets, leave when the input ends."""
    import django  # noqa: PLC0415 - a process of its own

    django.setup()
    from environments.spec import EnvironmentSpec, NetworkSpec, ServiceSpec  # noqa: PLC0415 - as above

    tests = ServiceSpec("tests", image="itdash/empty:1", command=("true",), networks={"default": ()})
    spec = EnvironmentSpec({"tests": tests}, networks={"default": NetworkSpec("default")})
    all_stand = threading.Barrier(count + 1)
    may_leave = threading.Event()

    def one(number: int) -> str:
        with environment(spec, f"{owner}:{number}", 1) as name:
            subnet = subnet_of(name)
            subnets.append(subnet)
            all_stand.wait(PATIENCE_SECONDS)
            may_leave.wait(PATIENCE_SECONDS)
        return subnet

    subnets: list[str] = []
    print("there", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(count) as pool:
        standing = [pool.submit(one, number) for number in range(count)]
        all_stand.wait(PATIENCE_SECONDS)
        print(*subnets, flush=True)
        sys.stdin.read()
        may_leave.set()
        for future in standing:
            future.result()
    return 0


def many_shards(folder: Path, count: int) -> bool:
    """Bring up the shards of one run at once; say whether that was in time."""
    from environments.spec import load_environment  # noqa: PLC0415 - once the server is up

    project = folder / "shards"
    write(project, 5)
    spec = load_environment([Path("compose.yaml"), Path("tests.yaml")], directory=project, variables={})
    print(f"{count} shards of 4 containers, load {os.getloadavg()[0]:.1f}", flush=True)
    began, own_began = time.perf_counter(), time.process_time()
    all_up = threading.Barrier(count)

    def shard(number: int) -> tuple[float, float]:
        try:
            with environment(spec, "bench:shards", number):
                up = time.perf_counter() - began
                all_up.wait(PATIENCE_SECONDS)
                leaving = time.perf_counter()
        except BaseException:
            all_up.abort()
            raise
        return up, time.perf_counter() - leaving

    with ThreadPoolExecutor(count) as pool:
        took = list(pool.map(shard, range(1, count + 1)))
    own = time.process_time() - own_began
    last, gone = max(up for up, _ in took), max(gone for _, gone in took)
    print(
        f"  up after {statistics.median(up for up, _ in took):.1f} s in the middle, the last after "
        f"{last:.1f} s (promised: {SHARDS_SECONDS:g}); gone in {gone:.1f} s; of it itdash itself: "
        f"{own:.1f} s of one core",
        flush=True,
    )
    return last <= SHARDS_SECONDS


@contextmanager
def environment(spec: Any, owner: str, shard: int) -> Iterator[str]:  # noqa: ANN401 - of a module imported late
    """An environment that is up, by its name."""
    from django.db import connection  # noqa: PLC0415 - once settings are named

    from environments.engines import engine_named  # noqa: PLC0415 - as above
    from environments.lifecycle import EnvironmentRequest, provisioned  # noqa: PLC0415 - as above

    request = EnvironmentRequest(
        owner=owner,
        shard=shard,
        spec=spec,
        tests="tests",
        expires_at=datetime.now(tz=UTC) + timedelta(minutes=10),
    )
    try:
        with provisioned(
            request, engine=engine_named("docker"), tell=unheard, log=unheard, stop=threading.Event()
        ) as live:
            yield live.ref.name
    finally:
        connection.close()


def subnet_of(environment_name: str) -> str:
    """What the engine gave the environment's network."""
    return docker(
        *(
            "network",
            "inspect",
            "--format",
            "{{(index .IPAM.Config 0).Subnet}}",
            f"{environment_name}_default",
        )
    )[0]


def left() -> list[str]:
    """Everything of this installation that is on the engine."""
    from django.conf import settings  # noqa: PLC0415 - once settings are named

    ours = ["--quiet", "--filter", f"label=itdash.instance={settings.INSTANCE}"]
    listings: list[Callable[[], list[str]]] = [
        lambda: docker("ps", "--all", *ours),
        lambda: docker("network", "ls", *ours),
        lambda: docker("volume", "ls", *ours),
    ]
    return [one for listing in listings for one in listing()]


def remove_all() -> None:
    """Leave nothing on the engine, whatever happened."""
    from django.conf import settings  # noqa: PLC0415 - once settings are named

    from environments.engines import engine_named  # noqa: PLC0415 - as above

    engine = engine_named("docker")
    for ref in engine.environments(settings.INSTANCE):
        engine.remove_environment(ref)


def docker(*words: str) -> list[str]:
    """The words that the docker command prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


if __name__ == "__main__":
    sys.exit(main())
