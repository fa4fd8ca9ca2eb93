"""Say what works here: engine, database, broker, storage, bucket, clock; each with the mend.

Exit code 0 when runs can be stored and executed here, 1 when something is in the way.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import psycopg
import redis
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import DatabaseError

from environments import wheels
from environments.docker_engine import DockerEngine
from environments.docker_engine.helper import HelperImage
from environments.engine import Feature, Room
from environments.errors import EnvironmentFailedError
from environments.subnets import Pool
from itdash.cli._django import add_data_dir, set_up_django
from itdash.cli._room import Disk, Outlook, disk_of, kinds_told
from itdash.embedded import Running, find_running
from itdash.env import environment
from itdash.s3 import BucketMissingError, KeysMissingError, KeysUnknownError, S3Storage
from itdash.storages import file_storage
from runs.analytics.storage import Stored, told

OLDEST_POSTGRES = 15
NEEDED_BYTES = 2 * 1024**3
CLOCK_TOLERANCE_SECONDS = 2.0
CONNECT_SECONDS = 5
BUCKET_TRIAL = b"itdash doctor was here"


class State(StrEnum):
    """How a part is; the shape tells it too."""

    WORKS = "✓"
    #: Something can be done without it.
    LIMITED = "!"
    BROKEN = "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part, and what to do about it."""

    part: str
    state: State
    text: str
    mend: str = ""
    #: What it is made of, where that differs from one to the next.
    features: tuple[Feature, ...] = ()

    def __str__(self) -> str:
        line = f"{self.state} {self.part:<9} {self.text}"
        mend = [f"→ {self.mend}"] if self.mend else []
        return "\n            ".join([line, *mend, *(_told(feature) for feature in self.features)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_data_dir(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def run(options: argparse.Namespace) -> int:
    """Print a line for each part; returns the exit code."""
    data_dir = options.data_dir.resolve()
    running = find_running(data_dir)
    looks: list[Callable[[], Finding]] = [
        engine,
        git,
        lambda: database(running),
        lambda: broker(running),
        lambda: storage(data_dir, running),
        *([bucket] if environment().storage else []),
        lambda: clock(running),
    ]
    findings = []
    for look in looks:
        findings.append(look())
        if not options.json:
            print(findings[-1], flush=True)
    if options.json:
        parts = [asdict(finding) | {"state": finding.state.name.lower()} for finding in findings]
        print(json.dumps({"parts": parts}, indent=2))
    return int(any(finding.state is State.BROKEN for finding in findings))


def engine() -> Finding:
    """What runs suites: the engine that is set, or what is there."""
    known = environment()
    wish = known.engine
    if wish == "local":
        text = "local: ITDASH_ENGINE says so; services run as processes of this machine"
        return Finding("engine", State.WORKS, text)
    try:
        pool = Pool.read(known.subnet_pool, known.subnet_prefix_length)
    except ValueError as error:
        mend = "Correct ITDASH_SUBNET_POOL or ITDASH_SUBNET_PREFIX_LENGTH."
        return Finding("engine", State.BROKEN, str(error), mend)
    try:
        docker = DockerEngine(
            subnet_pool=pool,
            helper_image=HelperImage(known.fault_image, known.fault_base_image),
        )
        found = docker.examined(known.instance)
        room = _room(docker.room(), reserve_bytes=round(known.disk_reserve_gib * 1024**3))
        docker.close()
    except EnvironmentFailedError as error:
        if wish == "docker":
            mend = "Install or start Docker or Podman, or set ITDASH_ENGINE to auto."
            return Finding(
                "engine", State.BROKEN, f"set in ITDASH_ENGINE, and does not answer: {error}", mend
            )
        mend = "Install Docker or Podman, or allow trusted projects the local engine."
        return Finding("engine", State.LIMITED, f"local only: {error}", mend)
    memory = found.memory_bytes / 1024**3
    text = f"{found.engine} {found.version}, {found.cpus} processors, {memory:.1f} GiB"
    if not found.limits:
        state = State.WORKS if all(feature.is_there for feature in room) else State.LIMITED
        return Finding("engine", state, text, features=(*found.features, *room))
    limits = "; ".join(f"no {what}: {why}" for what, why in found.limits.items())
    return Finding("engine", State.LIMITED, text, limits, (*found.features, *room))


def _room(room: Room, *, reserve_bytes: int) -> list[Feature]:
    """What is left for environments; without it none is begun, or they wait."""
    free, networks = room.disk_free_bytes, room.networks_free or 0
    if free is None:
        disk = Feature("disk", is_there=True, text="not known from here how much is free")
    else:
        text = f"{free / 1024**3:.1f} GiB free; environments are begun from {reserve_bytes / 1024**3:g} on"
        disk = Feature("disk", free >= reserve_bytes, text)
    return [disk, Feature("networks", networks > 0, f"{networks:,} of {room.networks_total:,} free")]


def _told(feature: Feature) -> str:
    mark = "" if feature.is_there else "no: "
    return f"{feature.name:<16} {mark}{feature.text}"


def git() -> Finding:
    """What checks commits out."""
    program = shutil.which("git")
    if program is None:
        return Finding("git", State.BROKEN, "not found", "Install git: runs check their commit out with it.")
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found by name, no shell
    return Finding("git", State.WORKS, told.stdout.strip().removeprefix("git version "))


def database(running: Running | None) -> Finding:
    """What keeps everything."""
    url = _database_url(running)
    if not url:
        return _embedded("database", "DATABASE_URL", wheels.postgres_programs)
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            version = connection.info.server_version // 10000
    except psycopg.OperationalError as error:
        first = str(error).strip().splitlines()[0]
        mend = "Check DATABASE_URL, and that the server runs and lets this machine in."
        return Finding("database", State.BROKEN, f"no answer: {first}", mend)
    if version < OLDEST_POSTGRES:
        mend = f"Use PostgreSQL {OLDEST_POSTGRES} or newer."
        return Finding("database", State.BROKEN, f"PostgreSQL {version} is too old", mend)
    return Finding("database", State.WORKS, f"PostgreSQL {version} answers")


def broker(running: Running | None) -> Finding:
    """What carries messages to the workers."""
    url = _broker_url(running)
    if not url:
        return _embedded("broker", "BROKER_URL", wheels.valkey_server)
    try:
        with redis.Redis.from_url(
            url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
        ) as client:
            facts = client.info("server")
    except (redis.RedisError, ValueError) as error:
        mend = "Check BROKER_URL, and that the server runs."
        return Finding("broker", State.BROKEN, f"no answer: {error}", mend)
    name = "Valkey" if "valkey_version" in facts else "Redis"
    version = facts.get("valkey_version") or facts.get("redis_version")
    return Finding("broker", State.WORKS, f"{name} {version} answers")


def storage(data_dir: Path, running: Running | None) -> Finding:
    """Where reports, checkouts and the embedded servers' data lie, and for how long there is room."""
    place = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        mend = "Choose a folder that this account can write to, with --data-dir or ITDASH_DATA_DIR."
        return Finding("storage", State.BROKEN, f"{place} cannot be written: {error.strerror}", mend)
    disk = disk_of(data_dir, place)
    text = f"{data_dir}, {disk.free / 1024**3:.1f} GiB free"
    ahead, forecast = _forecast(data_dir, running, disk)
    whole = "more than " if disk.is_cut else ""
    features = (
        Feature("disk", is_there=True, text=f"{disk.free / disk.total:.0%} of {told(disk.total)} free"),
        Feature("data folder", is_there=True, text=f"{whole}{told(disk.taken)}"),
        *forecast,
    )
    if disk.free < NEEDED_BYTES:
        mend = f"Make room: below {NEEDED_BYTES // 1024**3} GiB images and databases fail in odd ways."
    elif disk.is_short or (ahead and ahead.is_short):
        mend = (
            "Make room, or keep less: `manage.py show_storage` says what takes it and how fast it grows, the "
            "ITDASH_KEEP_…_DAYS settings how long each kind is kept."
        )
    else:
        return Finding("storage", State.WORKS, text, features=features)
    return Finding("storage", State.LIMITED, text, mend, features)


def _forecast(data_dir: Path, running: Running | None, disk: Disk) -> tuple[Outlook | None, list[Feature]]:
    """What all projects together store, and for how long there is room; None when the database is mute."""

    def unknown(why: str) -> tuple[None, list[Feature]]:
        return None, [Feature("forecast", is_there=True, text=f"not known: {why}")]

    if not _database_url(running):
        return unknown("no database runs on this folder")
    is_ours = "database_url" not in environment().model_fields_set
    try:
        found = _stored(data_dir)
    except ImproperlyConfigured as error:
        return unknown(str(error))
    except DatabaseError as error:
        return unknown(f"the database says: {str(error).strip().splitlines()[0]}")
    ahead = Outlook.of(found, free=disk.free, has_database=is_ours, has_files=not environment().storage)
    features = [Feature("stored", is_there=True, text=kinds_told(found))]
    if ahead.elsewhere:
        what = [] if is_ours else ["the database (DATABASE_URL)"]
        what += ["reports and artifacts (ITDASH_STORAGE)"] if environment().storage else []
        text = f"{' and '.join(what)}: how much is free there is not known from here"
        features.append(Feature("elsewhere", is_there=True, text=text))
    return ahead, [*features, Feature("forecast", is_there=True, text=ahead.words)]


def _stored(data_dir: Path) -> list[Stored]:
    """What there is of each kind, by the database."""
    if not apps.ready:  # settings are read once
        set_up_django(data_dir)
    from runs.queries.storage import stored  # noqa: PLC0415 - settings are named now

    return stored(datetime.now(tz=UTC))


def bucket() -> Finding:
    """Where reports and artifacts lie, when that is a bucket: written to, read and tidied up."""
    known = environment()
    try:
        options = file_storage(known)["OPTIONS"]
    except ImproperlyConfigured as error:
        return Finding("bucket", State.BROKEN, str(error), "Correct it: nothing starts before that.")
    storage = S3Storage(**options, try_count=1)
    place = f"{storage.place}{f' at {known.s3_endpoint}' if known.s3_endpoint else ''}"
    began_at = time.monotonic()
    try:
        name = storage.save(f"doctor/{uuid.uuid4().hex}", ContentFile(BUCKET_TRIAL))
        with storage.open(name) as file:
            is_same = file.read() == BUCKET_TRIAL
        storage.delete(name)
    except OSError as error:
        return Finding("bucket", State.BROKEN, f"{place}: {error}", _bucket_mend(error))
    if not is_same:
        mend = "See what stands between itdash and the server: it changes what passes."
        return Finding("bucket", State.BROKEN, f"{place} gave back something else than it was given", mend)
    milliseconds = (time.monotonic() - began_at) * 1000
    return Finding("bucket", State.WORKS, f"{place}, written, read and deleted in {milliseconds:.0f} ms")


def _bucket_mend(error: OSError) -> str:
    """What to do about a bucket that cannot be used, by what the server or its client said."""
    if isinstance(error, BucketMissingError):
        return "Make the bucket, or name another one in ITDASH_STORAGE: itdash makes none."
    if isinstance(error, KeysMissingError):
        return "Set them for web and workers: in their environment, or in a profile that AWS_PROFILE names."
    if isinstance(error, KeysUnknownError):
        return "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: the server does not know this pair."
    if isinstance(error, PermissionError):
        return (
            "Let the credentials read, write and delete objects below it, and abort uploads in parts. See "
            "that the bucket is there, too: some servers call one forbidden that is not."
        )
    return (
        "See that ITDASH_S3_ENDPOINT is the server's address, ITDASH_S3_REGION its region, and that it runs "
        "and lets this machine in."
    )


def clock(running: Running | None) -> Finding:
    """Whether this machine and the database agree on the time: leases and schedules depend on it."""
    url = _database_url(running)
    if not url:
        return Finding("clock", State.WORKS, "one machine, one clock")
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            here = datetime.now(tz=UTC)
    except psycopg.OperationalError:
        return Finding("clock", State.LIMITED, "not known: the database does not answer", "See above.")
    apart = abs((here - row[0]).total_seconds()) if row else 0.0
    if apart > CLOCK_TOLERANCE_SECONDS:
        mend = "Let both machines keep time with NTP: leases and schedules depend on it."
        return Finding("clock", State.BROKEN, f"{apart:.1f} s apart from the database's", mend)
    return Finding("clock", State.WORKS, f"{apart * 1000:.0f} ms apart from the database's")


def _embedded(part: str, variable: str, program: Callable[[], Path]) -> Finding:
    """Report a server that nobody configured and that nobody has started here."""
    try:
        program()
    except wheels.WheelsError as error:
        return Finding(part, State.BROKEN, str(error), f"Set {variable}.")
    return Finding(part, State.WORKS, f"`itdash up` starts its own ({variable} is not set)")


def _database_url(running: Running | None) -> str:
    known = environment()
    if "database_url" in known.model_fields_set:
        return known.database_url
    return running.database_url if running else ""


def _broker_url(running: Running | None) -> str:
    known = environment()
    if "broker_url" in known.model_fields_set:
        return known.broker_url
    return running.broker_url if running else ""
