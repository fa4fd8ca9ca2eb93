"""What itdash costs on top of the containers: the shop's checkout suite, cold to finished, against by hand.

    python benchmarks/overhead.py [--rounds 5]

By hand: the same images, started in the same order with the same limits by direct calls to the engine, each
awaited by its own health check ten times a second, services of one level side by side, until the report lies
on this machine. itdash: a run from `queue_run` to its end, with checkout, suite file, policy, logs, events,
report in the database and verdict. Both take turns; images are built before. Removing is in neither: the run
has its end before. The tests that stop services are left out: by hand nobody answers them.

The images are named as the demo names them: ITDASH_DEMO_PYTHON_IMAGE … with public defaults.

Promise: at most 1.5 s more.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PROMISED_SECONDS = 1.5
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 120.0


def main() -> int:
    """Measure and print; returns 1 when the promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        return measure(options.rounds)


def measure(rounds: int) -> int:
    """Print the figures; returns 1 when the promise is broken."""
    project, images = prepare()
    pairs = []
    for number in range(1, rounds + 1):
        by_hand = run_by_hand(images)
        with_itdash = run_with_itdash(project)
        pairs.append((by_hand, with_itdash))
        print(f"round {number}: by hand {by_hand:.2f} s, itdash {with_itdash:.2f} s", flush=True)
    by_hand = statistics.median(pair[0] for pair in pairs)
    with_itdash = statistics.median(pair[1] for pair in pairs)
    difference = statistics.median(pair[1] - pair[0] for pair in pairs)
    print(f"medians: by hand {by_hand:.2f} s, itdash {with_itdash:.2f} s, ratio {with_itdash / by_hand:.2f}")
    print(f"median difference within a round: {difference:+.2f} s (promised: at most {PROMISED_SECONDS})")
    print("promise kept" if difference <= PROMISED_SECONDS else "PROMISE BROKEN")
    return 0 if difference <= PROMISED_SECONDS else 1


def prepare() -> tuple[Any, dict[str, str]]:
    """Make the project and build its images once; returns both."""
    from django.conf import settings  # noqa: PLC0415 - once the server is up

    from environments.engines import engine_named  # noqa: PLC0415 - as above
    from itdash.demo import ensure_project, ensure_repository, git  # noqa: PLC0415 - as above

    repository = ensure_repository(settings.DATA_DIR / "demo" / "shop")
    git(repository, "rm", "--quiet", "tests/checkout/test_outages.py")
    git(repository, "commit", "--quiet", "--message", "Leave out what only itdash can do")
    project = ensure_project(repository, None)
    project.variables = {**project.variables, "SHOP_FLAKE_RATE": "0"}
    project.save()
    engine = engine_named("docker")
    print(f"Docker {engine.capabilities().version}, {engine.capabilities().cpus} cores", flush=True)
    run_with_itdash(project)
    spec, _ = shop(project)
    reference = ref("images")
    return project, {name: engine.prepare_image(reference, one) for name, one in spec.services.items()}


def run_with_itdash(project: Any) -> float:  # noqa: ANN401 - models are imported once settings are there
    """Seconds from asking for a run to its end."""
    from runs.actions.runs import claim_run, queue_run  # noqa: PLC0415 - once the server is up
    from runs.execution.executor import execute  # noqa: PLC0415 - as above
    from runs.models import Run  # noqa: PLC0415 - as above
    from runs.vocabulary import Trigger  # noqa: PLC0415 - as above

    run = queue_run(project=project, suite="checkout", trigger=Trigger.PERSON)
    claim = claim_run(run.pk, owner="benchmark")
    if claim is None:
        raise SystemExit("The run could not be claimed.")
    execute(claim)
    run = Run.objects.get(pk=run.pk)
    if run.status != "passed" or run.queued_at is None or run.finished_at is None:
        raise SystemExit(f"The run {run.status}: {run.error_message}")
    return float((run.finished_at - run.queued_at).total_seconds())


def run_by_hand(images: dict[str, str]) -> float:
    """Seconds for the same containers, started and awaited by direct calls; they are removed after."""
    from environments.engines import engine_named  # noqa: PLC0415 - once the server is up
    from runs.models import Project  # noqa: PLC0415 - as above

    spec, _ = shop(Project.objects.get())
    hand = Hand(spec, images, ref("by-hand"))
    try:
        began = time.perf_counter()
        hand.create()
        for level in levels(spec):
            hand.start(level)
        hand.take_report()
        return time.perf_counter() - began
    finally:
        engine_named("docker").remove_environment(hand.ref)


class Hand:
    """A careful person's script: nothing but the engine's own calls."""

    def __init__(self, spec: Any, images: dict[str, str], reference: Any) -> None:  # noqa: ANN401 - as above
        from docker.api.client import APIClient  # noqa: PLC0415 - only by hand

        self.spec, self.images, self.ref = spec, images, reference
        self.api = APIClient(version="auto", max_pool_size=32)
        self.networks: dict[str, str] = {}

    def create(self) -> None:
        """Networks and volumes."""
        from environments.docker_engine import networks, payload  # noqa: PLC0415 - once the server is up
        from environments.labels import labels_for  # noqa: PLC0415 - as above

        for network in self.spec.networks.values():
            self.networks[network.name] = networks.create_network(
                self.api, self.ref, network, "10.214.0.0/16"
            )
        for volume in self.spec.volumes.values():
            name = payload.volume_name(self.ref, volume.name)
            self.api.create_volume(name, labels=labels_for(self.ref))

    def start(self, services: Sequence[str]) -> None:
        """Start a level's services and wait for what the next level needs of them."""
        for name in services:
            self.start_one(name)
        with ThreadPoolExecutor(len(services)) as pool:
            list(pool.map(self.await_one, services))

    def start_one(self, name: str) -> None:
        """Create with the same settings as itdash's, and start."""
        from environments.docker_engine import payload  # noqa: PLC0415 - once the server is up

        config = payload.container_config(
            self.ref,
            self.spec.services[name],
            image=self.images[name],
            networks=self.networks,
            copied_folders=frozenset(),
            api=(1, 41),
            cpus=os.cpu_count() or 1,
            limits=payload.Limits(),
        )
        container = payload.container_name(self.ref, name)
        self.api.create_container_from_config(config, container)
        self.api.start(container)

    def await_one(self, name: str) -> None:
        """Until it is healthy, or has ended where it has no check."""
        from environments.docker_engine import payload  # noqa: PLC0415 - once the server is up
        from environments.probes import probe_command  # noqa: PLC0415 - as above

        container = payload.container_name(self.ref, name)
        check = self.spec.services[name].healthcheck
        if check is None:
            code = self.api.wait(container, timeout=PATIENCE_SECONDS)["StatusCode"]
            if code != 0:
                raise SystemExit(f"By hand, {name} ended with {code}.")
            return
        end = time.perf_counter() + PATIENCE_SECONDS
        while time.perf_counter() < end:
            probe = self.api.exec_create(container, probe_command(check))["Id"]
            self.api.exec_start(probe)
            if self.api.exec_inspect(probe)["ExitCode"] == 0:
                return
            time.sleep(LOOK_SECONDS)
        raise SystemExit(f"By hand, {name} never became healthy.")

    def take_report(self) -> None:
        """Take the report out of the tests' container."""
        from environments.docker_engine import payload  # noqa: PLC0415 - once the server is up

        container = payload.container_name(self.ref, "integration-tests")
        stream, _ = self.api.get_archive(container, "/results")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            if not [name for name in archive.getnames() if name.endswith(".xml")]:
                raise SystemExit("By hand, there was no report.")


def levels(spec: Any) -> list[list[str]]:  # noqa: ANN401 - imported once settings are there
    """Services in the order of their graph, those that may start together in one list."""
    done: set[str] = set()
    order: list[list[str]] = []
    while len(done) < len(spec.services):
        level = [
            name
            for name, service in spec.services.items()
            if name not in done and all(one.service in done for one in service.depends_on)
        ]
        order.append(level)
        done.update(level)
    return order


def shop(project: Any) -> tuple[Any, Any]:  # noqa: ANN401 - models are imported once settings are there
    """The checkout suite's environment, as the worker would resolve it."""
    from runs.execution.plans import plan_shards  # noqa: PLC0415 - once the server is up
    from runs.suitefile import read_suite  # noqa: PLC0415 - as above

    folder = Path(project.repository_url)
    suite = read_suite(folder, name="checkout", path="")
    return plan_shards(suite, folder, run_id=1, variables=project.variables)[0].spec, suite


def ref(purpose: str) -> Any:  # noqa: ANN401 - imported once settings are there
    """A name for what is created by hand, so that it can be removed like everything else."""
    from environments.labels import EnvironmentRef  # noqa: PLC0415 - once the server is up

    return EnvironmentRef(
        name=f"itd-{os.getpid():08x}-1",
        instance=f"bench-{os.getpid()}",
        owner=purpose,
        fence=1,
        expires=int(time.time()) + 3600,
    )


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """Start a private PostgreSQL, name it to Django and make the tables."""
    from itdash.embedded import POSTGRES_SETTINGS  # noqa: PLC0415 - before anything reads settings
    from itdash.env import set_environment  # noqa: PLC0415 - as above
    from tests.start_servers import start_postgres, start_valkey  # noqa: PLC0415 - as above

    url, stop = start_postgres(folder / "postgres", settings=POSTGRES_SETTINGS)
    broker, stop_broker = start_valkey(folder / "valkey")
    try:
        set_environment(
            {
                "DATABASE_URL": url,
                "BROKER_URL": broker,
                "DJANGO_SETTINGS_MODULE": "itdash.settings",
                "ITDASH_DATA_DIR": str(folder / "data"),
                "ITDASH_ENGINE": "docker",
                "ITDASH_INSTANCE": f"bench-{os.getpid()}",
                "ITDASH_LOG_LEVEL": "WARNING",
            }
        )
        import django  # noqa: PLC0415 - settings are there now
        from django.core.management import call_command  # noqa: PLC0415 - as above

        django.setup()
        call_command("migrate", verbosity=0)
        yield
    finally:
        stop_broker()
        stop()


if __name__ == "__main__":
    sys.exit(main())
