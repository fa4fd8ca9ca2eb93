"""A real server that speaks S3, out of a package: SeaweedFS, with a bucket and keys of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from environments.probes import wait_until
from itdash.supervisor import die_with_parent
from tests.ports import free_ports

PROGRAM = Path(sys.executable).with_name("weed")
BUCKET = "files-of-tests"
#: What its processes listen on, besides S3 itself.
PORTS = ("master", "volume", "filer")


@dataclass(frozen=True)
class Bucket:
    """Where it is and what opens it."""

    endpoint: str
    access_key: str = "tests"
    secret_key: str = "secret of the tests"
    name: str = BUCKET

    @property
    def variables(self) -> dict[str, str]:
        """As whoever installs itdash sets them."""
        return {
            "ITDASH_STORAGE": f"s3://{self.name}/some/prefix",
            "ITDASH_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    @cached_property
    def client(self) -> Any:
        """Speaks to it directly."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=5),
        )

    def all_keys(self) -> list[str]:
        """Every object that is there."""
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """Yield a bucket on a server that goes with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="itdash-s3-")))
        ports = free_ports(2 * len(PORTS) + 2)
        bucket = Bucket(f"http://127.0.0.1:{ports[0]}")
        keys = [{"accessKey": bucket.access_key, "secretKey": bucket.secret_key}]
        actions = [f"{action}:{BUCKET}" for action in ("Admin", "Read", "Write", "List")]
        identity = {"name": "tests", "credentials": keys, "actions": actions}
        (folder / "keys.json").write_text(json.dumps({"identities": [identity]}))
        words = [
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-master.telemetry=false"),
            *("-volume.max=8", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"),
            *(
                "-filer",
                "-s3",
                f"-s3.config={folder / 'keys.json'}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ),
            *(f"-s3.port={ports[0]}", f"-s3.port.grpc={ports[1]}"),
        ]
        for index, name in enumerate(PORTS, 1):
            words += [f"-{name}.port={ports[2 * index]}", f"-{name}.port.grpc={ports[2 * index + 1]}"]
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            [str(PROGRAM), "-logtostderr=true", "server", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(die_with_parent, SIGKILL, os.getpid()),  # noqa: PLW1509 - takes no lock
        )
        stack.callback(bucket.client.close)
        stack.callback(_forget_sockets, ports)
        stack.callback(process.wait)
        stack.callback(process.kill)
        try:
            wait_until(lambda: _has_bucket(bucket, process), deadline_seconds=30)
        except BaseException:
            sys.stdout.write((folder / "log").read_text("utf-8", "replace")[-5_000:])
            raise
        yield bucket


def _has_bucket(bucket: Bucket, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"the server ended with {process.returncode}"
    client = bucket.client
    try:
        client.create_bucket(Bucket=bucket.name)
        client.put_object(Bucket=bucket.name, Key="ready", Body=b"")
        client.delete_object(Bucket=bucket.name, Key="ready")
    except (BotoCoreError, ClientError):
        return False
    return True


def _forget_sockets(ports: list[int]) -> None:
    """It puts sockets into /tmp by its ports, and leaves them there when it is killed."""
    for port in ports:
        for path in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
            with suppress(FileNotFoundError):
                path.unlink()
