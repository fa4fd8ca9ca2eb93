"""How long pages and API lists take when the database holds twenty million results of half a year.

    python benchmarks/pages.py [--results 20000000] [--rounds 5] [--only run,test]

The history is made by SQL (`benchmarks/history.py`), then every page and every GET of the API is asked for
through Django in this process, signed in: with filters, of the largest suite and of small ones, with runs
in which thousands of tests fail, and two pages further where a list goes on. Pages are found by the
addresses there are, not listed here. A private server is started with the settings of `itdash up`; caches
are warm from the first time each page is asked for, which is not counted.

Promises: for each page, the 95th percentile over all of its addresses is at most 150 ms, and none of them
asks for more than the page's budget of queries (`tests/query_budgets.json`). A split names every test of a
suite: it takes at most 20 ms per thousand tests, its answer read to the end as it is streamed, and what
Python holds meanwhile, by tracemalloc, is at most 1 KiB a test and 8 MiB.

A line says PASS or OVER. Beside the clock stands the processor time of this process and of PostgreSQL's, its
parallel workers included: where the machine has other things to do, a page may be over by the clock and not
by what it asks of the machine ("OVER by the clock"). A page or a list that there is and that nothing could be
measured of is named, and breaks the promise.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import signal
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ingest import server

if TYPE_CHECKING:
    from django.test import Client

    from runs.models import Run

PROMISED_MS = 150
#: What a split may take per thousand tests, and hold: per test, and whatever their number.
SPLIT_MS, SPLIT_BYTES, SPLIT_BASE_BYTES = 20.0, 1024, 8 * 2**20
#: Pages of a list asked for after its first.
PAGES_ON = 2
BUDGETS = Path(__file__).parent.parent / "tests" / "query_budgets.json"
_STATEMENTS = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "\n", " ")
_NEXT = re.compile(r'href="([^"]+)"[^>]*rel="next"|rel="next"[^>]*href="([^"]+)"')

#: Filters of pages, beside those that tests/every_page.py knows.
FILTERS: Mapping[str, tuple[str, ...]] = {
    "runs": ("suite=integration", "branch=feat/work-7", "status=passed", "q=3", "before=200"),
    "run": ("show=failed", "q=order_of_00042", "show=all&q=module007"),
    "tests": ("q=order_of_00042", "suite=integration", "q=nothing-is-called-so", "sort=slow", "flaky=flaky"),
    "test": ("branch=main", "branch=feat/work-7"),
    "flaky": ("suite=integration", "state=flaky", "stage=quarantined"),
    "grid": ("suite=integration", "suite=e2e&rows=all"),
    "durations": ("suite=integration", "suite=contract"),
    "services": ("days=7", "days=28", "days=28&service=postgres"),
    "service": ("days=7", "days=28"),
    "jump": ("q=order_of_00042", "q=integration", "q=test"),
    "overview": ("suite=integration",),
}
#: The same of the API, by the end of its path.
API_FILTERS: Mapping[str, tuple[str, ...]] = {
    "/projects/{project}/runs": ("suite=integration", "branch=main&limit=1000", "status=failed", "commit=ab"),
    "/projects/{project}/tests": (
        "limit=1000",
        "q=order_of_00042",
        "suite=integration&flaky=unhealthy",
        "sort=slow",
        "sort=flaky",
        "sort=slower",
    ),
    "/runs/{run_id}/results": ("limit=1000", "outcome=failed", "q=order_of_00042"),
    "/tests/{test_id}/history": ("limit=1000", "branch=main"),
    "/projects/{project}/services": ("days=90", "days=28&limit=2"),
    "/projects/{project}/services/{name}": ("days=90",),
}


def main() -> int:
    """Build, ask and print; returns 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names of pages, or beginnings of API paths, with commas")
    parser.add_argument("--keep", action="store_true", help="leave the server up until this is stopped")
    parser.add_argument("--kept", metavar="DATABASE_URL", help="ask a server that was left up, build nothing")
    options = parser.parse_args()
    only = {name for name in options.only.split(",") if name}
    if options.kept:
        with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder:
            use(options.kept, Path(folder))
            return 0 if measure(options.rounds, only) else 1
    with tempfile.TemporaryDirectory(prefix="itdash-bench-") as folder, server(Path(folder)):
        from benchmarks.history import build, counted, database_bytes  # noqa: PLC0415 - once the server is up

        print(f"{options.results:,} results", flush=True)
        build(options.results, until=datetime.now(tz=UTC))
        print(", ".join(f"{count:,} in {table}" for table, count in counted().items()), flush=True)
        print(f"{database_bytes() / 1024**3:.1f} GiB in the database", flush=True)
        is_kept = measure(options.rounds, only)
        if options.keep:
            print(f"left up: --kept '{os.environ['DATABASE_URL']}'", flush=True)
            signal.pause()
    return 0 if is_kept else 1


@dataclass(slots=True)
class Timed:
    """What was measured of one page, over its addresses."""

    budget: int | None = None
    queries: int = 0
    milliseconds: list[float] = field(default_factory=list)
    #: Of the processors, ours and PostgreSQL's.
    processor: list[float] = field(default_factory=list)
    by_address: dict[str, float] = field(default_factory=dict)
    #: What the addresses answered of which nothing was measured.
    left_out: dict[str, int] = field(default_factory=dict)
    #: What is promised of this page; more where its answer has to be large.
    promised_ms: float = PROMISED_MS
    #: What is wrong beside the time.
    faults: list[str] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """The 95th percentile by the clock."""
        return percentile(self.milliseconds)

    @property
    def is_kept(self) -> bool:
        """Whether all promises hold, by the clock."""
        return self.p95 <= self.promised_ms and not self.is_beyond_budget and not self.faults

    @property
    def is_beyond_budget(self) -> bool:
        """Whether it asks for more than its budget."""
        return self.budget is not None and self.queries > self.budget

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.is_kept:
            return "PASS"
        said = list(self.faults)
        if self.is_beyond_budget:
            said.append("beyond its budget of queries")
        if self.p95 > self.promised_ms:
            is_busy = percentile(self.processor) <= self.promised_ms
            said.append("by the clock" if is_busy else "by the clock and by processor time")
        return "OVER " + ", ".join(said)

    @property
    def is_unmeasured(self) -> bool:
        """Nothing was measured though it can be read: 405 says that it only changes something."""
        return not self.milliseconds and any(status not in _NOT_READ for status in self.left_out.values())


#: Answers of what only changes something, and of what leads a signed-in person elsewhere.
_NOT_READ = {302, 405}
#: Pages of those who are not signed in yet, and of a provider's answer: there is nothing to see here.
_OF_STRANGERS = {"first-account", "join", "github_callback", "gitlab_callback", "openid_connect_callback"}


def percentile(values: list[float]) -> float:
    """The 95th; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))] if ordered else 0.0


def use(url: str, folder: Path) -> None:
    """Name a server that is up to Django."""
    from itdash.env import set_environment  # noqa: PLC0415 - before anything reads settings

    set_environment(
        {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "itdash.settings", "ITDASH_DATA_DIR": str(folder)}
    )
    import django  # noqa: PLC0415 - settings are named now

    django.setup()


def measure(rounds: int, only: set[str]) -> bool:
    """Ask for everything and print the figures; returns whether the promises are kept."""
    from django.core.management import call_command  # noqa: PLC0415 - once the server is up
    from django.test import Client  # noqa: PLC0415 - as above

    from runs.models import User  # noqa: PLC0415 - as above

    call_command("collectstatic", interactive=False, verbosity=0)
    logging.disable(logging.WARNING)
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(is_superuser=True))
    told = json.loads(BUDGETS.read_text(encoding="utf-8"))
    budgets = told["pages"] | told["api"]
    timed: dict[str, Timed] = {}
    wanted = asked(only)
    # As the web process does when it has loaded everything.
    gc.collect()
    gc.freeze()
    for name, addresses in wanted.items():
        one = timed[name] = Timed(budget=budgets.get(name.replace("-", " ")))
        for address in addresses:
            ask(client, address, one, rounds, pages_on=PAGES_ON)
        if one.milliseconds:
            print_page(name, one)
    broken = [name for name, one in timed.items() if one.milliseconds and not one.is_kept]
    measured = [one for one in timed.values() if one.milliseconds]
    print(f"{len(measured)} pages and lists, {sum(len(one.by_address) for one in measured)} addresses")
    for name, one in timed.items():
        if one.is_unmeasured and name not in _OF_STRANGERS:
            address, status = next(iter(one.left_out.items()))
            print(f"NOT MEASURED: {name}: {address} answers {status}")
            broken.append(name)
    print(
        f"promises kept (p95 at most {PROMISED_MS} ms)"
        if not broken
        else "PROMISES BROKEN: " + ", ".join(broken)
    )
    return not broken


def print_page(name: str, one: Timed) -> None:
    """Print a page's line, and its slowest address when a promise is broken."""
    budget = f"/{one.budget}" if one.budget is not None else ""
    print(
        f"{name:45} {len(one.by_address):3} addresses, {one.queries}{budget} queries, "
        f"median {statistics.median(one.milliseconds):6.1f}, p95 {one.p95:7.1f}, "
        f"max {max(one.milliseconds):7.1f} ms, processors {percentile(one.processor):6.1f}: {one.verdict}",
        flush=True,
    )
    slowest = sorted(one.by_address.items(), key=lambda pair: -pair[1])
    for address, took in slowest[: 0 if one.is_kept else 4]:
        print(f"    {took:7.1f} ms  {address}", flush=True)


def ask(client: Client, address: str, timed: Timed, rounds: int, *, pages_on: int) -> None:
    """Ask for an address so many times, and for those that follow it; one that shows nothing is left out."""
    from django.db import connection  # noqa: PLC0415 - once the server is up
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415 - as above

    is_split = "/split?" in address
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address)
        body = content_of(answer)
    if body is None or answer.status_code not in {200, 286}:
        if answer.status_code >= 500:  # noqa: PLR2004 - a server's error
            message = f"{address} answers {answer.status_code}"
            raise AssertionError(message)
        timed.left_out[address] = answer.status_code
        return
    # Beginning and ending a transaction is none.
    asked_for = [query for query in queries if query["sql"].startswith(_STATEMENTS)]
    if "?" not in address or is_split:
        # With something chosen, some pages look up what it is: budgets are of the plain ones.
        timed.queries = max(timed.queries, len(asked_for))
    own = []
    for _ in range(rounds):
        start, spent = time.perf_counter(), processor_ms()
        content_of(client.get(address))
        own.append((time.perf_counter() - start) * 1000)
        timed.processor.append(processor_ms() - spent)
    timed.milliseconds += own
    timed.by_address[address] = statistics.median(own)
    if is_split:
        judge_split(client, address, timed, len(json.loads(body)["tests"]))
    following = next_of(answer, body)
    if following and pages_on:
        ask(client, following, timed, rounds, pages_on=pages_on - 1)


def content_of(answer: Any) -> bytes | None:  # noqa: ANN401 - the test client's answers have no type of their own
    """The whole answer, read to its end; None for one that never ends."""
    if not answer.streaming:
        return bytes(answer.content)
    return None if answer.is_async else b"".join(answer.streaming_content)


def processor_ms() -> float:
    """Milliseconds of processors that this process and its backend of PostgreSQL have taken so far."""
    from django.db import connection  # noqa: PLC0415 - once the server is up

    backend = connection.connection.info.backend_pid if connection.connection else 0
    return time.process_time() * 1000 + (_taken_ms(backend) if backend else 0.0)


def _taken_ms(backend: int) -> float:
    """Of the backend, and of the processes that the server has seen end: parallel workers are among them."""
    own = int(Path(f"/proc/{backend}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
    parent = _fields(backend)[1]
    ticks = sum(int(ticked) for ticked in _fields(int(parent))[13:15])
    return own + ticks * 1000 / os.sysconf("SC_CLK_TCK")


def _fields(process: int) -> list[str]:
    """What /proc tells of a process after its name: its state, its parent and so on."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()


def judge_split(client: Client, address: str, timed: Timed, tests: int) -> None:
    """A split's time and memory are in proportion to the tests that it names."""
    timed.promised_ms = max(timed.promised_ms, tests / 1000 * SPLIT_MS)
    tracemalloc.start()
    try:
        for _ in client.get(address):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > SPLIT_BASE_BYTES + SPLIT_BYTES * tests:
        timed.faults.append(f"holding {peak / 2**20:.0f} MiB for {tests:,} tests")


def next_of(answer: Any, body: bytes) -> str | None:  # noqa: ANN401 - as above
    """Where a list goes on, by its own words."""
    if answer["Content-Type"].startswith("application/json"):
        told = json.loads(body)
        following = told.get("next") if isinstance(told, dict) else None
        return following.partition("//localhost")[2] if following else None
    found = _NEXT.search(body.decode(errors="replace"))
    if not found:
        return None
    link = (found[1] or found[2]).replace("&amp;", "&")
    return answer.request["PATH_INFO"] + link if link.startswith("?") else link


def asked(only: set[str]) -> dict[str, list[str]]:
    """Every page's and list's addresses, by the page's name or the API's path."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, address in [*page_addresses(), *api_addresses()]:
        is_meant = not only or name in only or any(name.startswith(one) for one in only if one[0] == "/")
        if is_meant and address not in found[name]:
            found[name].append(address)
    return dict(found)


def page_addresses() -> Iterator[tuple[str, str]]:
    """Every page of three projects, plain and with every filter."""
    from runs.models import Project  # noqa: PLC0415 - as above
    from tests.every_page import UNKNOWN, Everything, addresses  # noqa: PLC0415 - once the server is up

    for slug in ("shop", "platform", "team-01"):
        project = Project.objects.get(slug=slug)
        choices = parts_of(project.pk)
        first = {part: own[0] for part, own in choices.items()}
        others = {part: tuple(own[1:]) for part, own in choices.items()}
        for name, address in addresses(Everything(project, UNKNOWN | first, others)):
            yield name, address
            if "?" not in address:
                for query in FILTERS.get(name, ()):
                    yield name, f"{address}?{query}"
        if slug == "shop":
            yield from compared(slug, choices)


def compared(slug: str, choices: Mapping[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """Pairs of runs, those with thousands of failures among them."""
    for base, head in product(choices["number"][:3], repeat=2):
        if base != head:
            yield "compare", f"/p/{slug}/compare/?base={base}&head={head}"


def parts_of(project_id: int) -> dict[str, list[Any]]:
    """What addresses are made of, the most demanding first: runs, cases, suites and failures to look at.

    A part whose rows this project has none of is left out.
    """
    from runs.models import (  # noqa: PLC0415 - once the server is up
        Channel,
        Delivery,
        Failure,
        Hook,
        Invitation,
        Membership,
        Report,
        Schedule,
        Suite,
        Token,
        Upload,
    )

    suites = list(Suite.objects.filter(project=project_id).order_by("pk"))
    runs = runs_of(project_id)
    failures = Failure.objects.filter(project=project_id).order_by("pk")
    groups = dict.fromkeys(bytes(one.fingerprint).hex() for one in [*failures[:30:10], *failures[300:330:10]])
    rows = {
        "file_id": Report.objects.filter(run=runs[0]),
        "upload_id": Upload.objects.filter(run__in=runs).order_by("-pk"),
        "token_id": Token.objects.filter(project=project_id),
        "member_id": Membership.objects.filter(project=project_id),
        "schedule_id": Schedule.objects.filter(suite__project=project_id),
        "hook_id": Hook.objects.filter(project=project_id),
        "delivery_id": Delivery.objects.filter(project=project_id).order_by("-pk"),
        "channel_id": Channel.objects.filter(project=project_id),
        "invitation_id": Invitation.objects.filter(project=project_id),
    }
    found: dict[str, list[Any]] = {
        "number": [run.number for run in runs],
        "case_id": cases_of(suites[0].pk),
        "name": [suite.name for suite in suites[:3]] + ["postgres", "orders"],
        "fingerprint": list(groups),
        "environment_name": [f"itd-{run.pk:08x}-1" for run in runs],
        "kind": ["report"],
    } | {part: list(own.values_list("pk", flat=True)[:2]) for part, own in rows.items()}
    return {part: own for part, own in found.items() if own}


def runs_of(project_id: int) -> list[Run]:
    """Runs of the first suite: newest, with most and fewest failures, oldest; then others."""
    from runs.models import Run  # noqa: PLC0415 - once the server is up

    runs = Run.objects.filter(project=project_id)
    first = runs.filter(suite=runs.order_by("suite_id")[0].suite_id)
    chosen = [
        first.newest_first().first(),
        first.order_by("-failed_count", "-number").first(),
        first.order_by("failed_count", "-number").first(),
        first.order_by("number").first(),
        runs.newest_first().first(),
        *runs.filter(shards__isnull=False).newest_first()[:3],
    ]
    return list(dict.fromkeys(run for run in chosen if run is not None))


def cases_of(suite_id: int) -> list[int]:
    """Cases of the suite: flaky, slower, broken and healthy ones."""
    from runs.models import TestCase  # noqa: PLC0415 - once the server is up

    cases = TestCase.objects.filter(suite=suite_id).order_by("pk")
    chosen: Iterable[TestCase | None] = (
        *cases.filter(state__flakiness="flaky")[:3],
        *cases.filter(pace__is_slower=True)[:2],
        *cases.filter(state__is_broken=True)[:2],
        *cases.filter(state__isnull=True)[:2],
        cases.last(),
    )
    return list(dict.fromkeys(case.pk for case in chosen if case is not None))


def api_addresses() -> Iterator[tuple[str, str]]:
    """Every GET of the API, found by its description, with every value for each part of its path.

    Raises:
        LookupError: a part of a path has no values here.
    """
    from runs.api.root import api  # noqa: PLC0415 - once the server is up
    from runs.models import Delivery, Project, Suite, Upload  # noqa: PLC0415 - as above

    for slug in ("shop", "team-01"):
        project = Project.objects.get(slug=slug)
        runs = runs_of(project.pk)
        suite = Suite.objects.filter(project=project).order_by("pk")[0]
        values: dict[str, list[Any]] = {
            "project": [slug],
            "run_id": [run.pk for run in runs],
            "test_id": cases_of(suite.pk),
            "upload_id": list(Upload.objects.filter(run=runs[0]).values_list("pk", flat=True)),
            "name": ["postgres", "orders"],
            "delivery_id": list(Delivery.objects.filter(project=project).values_list("pk", flat=True)[:2]),
        }
        for path, operations in api.get_openapi_schema()["paths"].items():
            if "get" not in operations:
                continue
            parts = re.findall(r"{(\w+)}", path)
            if missing := set(parts) - set(values):
                message = f"{path}: tell api_addresses() what {', '.join(sorted(missing))} may be"
                raise LookupError(message)
            filters = [
                "",
                *(f"?{one}" for end, own in API_FILTERS.items() if path.endswith(end) for one in own),
            ]
            if path.endswith("/split"):
                filters = [f"?suite={suite.name}&shards=8", f"?suite={suite.name}&shards=4&by=file"]
            for chosen in product(*(values[part] for part in parts)):
                address = path
                for part, value in zip(parts, chosen, strict=True):
                    address = address.replace(f"{{{part}}}", str(value))
                for query in filters:
                    yield path, address + query


if __name__ == "__main__":
    sys.exit(main())
