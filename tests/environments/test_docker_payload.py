"""Every key of a service that an engine can be given is on its container: read back from the engine."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from environments import policy
from environments.docker_engine import DockerEngine, payload
from environments.lifecycle.session import complete
from tests.contract.conftest import Place, ref_for
from tests.environments.checkout import Checkout

pytestmark = pytest.mark.engine

FILE = """
services:
  tests:
    image: itdash-lab/python:3.13
    command: ['true']
    networks: [front]
    links: ['full:linked']
  full:
    image: itdash-lab/python:3.13
    init: false
    stop_signal: SIGUSR1
    stop_grace_period: 3s
    user: '1000:1000'
    group_add: ['2000']
    labels: {team: shop, itdash.instance: forged, com.docker.compose.project: forged}
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 700}
    shm_size: 32m
    extra_hosts: ['legacy:192.0.2.7']
    dns: 9.9.9.9
    dns_search: [corp.example]
    dns_opt: ['timeout:1']
    sysctls: {net.core.somaxconn: 1024}
    tmpfs: ['/scratch:size=8m,mode=1770,uid=1000,exec']
    volumes:
      - {type: tmpfs, target: /long, tmpfs: {size: 4m, mode: 448}}
      - data:/data:nocopy
      - /anonymous
      - {type: volume, source: data, target: /again, read_only: true}
    read_only: true
    working_dir: /data
    entrypoint: python3 -u -c
    command:
      - 'import signal; print("up", flush=True); signal.pause()'
    tty: true
    stdin_open: true
    cap_drop: [SETFCAP]
    cap_add: [CHOWN]
    security_opt: ['no-new-privileges:true']
    networks:
      front: {aliases: [www], priority: 10}
      back: {aliases: [inside], priority: 1000, gw_priority: 5}
    hostname: primary
    domainname: shop.example
    container_name: the-database
    expose: ['7000-7001', '7002/udp']
    ports: ['18080:80', '53:53/udp']
    restart: on-failure:4
    logging: {driver: syslog, options: {syslog-address: 'tcp://192.0.2.1:514'}}
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 50
    pid: service:neighbour
    ipc: service:neighbour
    volumes_from: [neighbour:ro]
    environment: {A: '1', EMPTY: ''}
    healthcheck: {test: [CMD, test, -e, /scratch], interval: 2s, timeout: 3s, retries: 4, start_period: 1s}
  neighbour:
    image: itdash-lab/python:3.13
    command: ['python3', '-c', 'import signal; signal.pause()']
    volumes: ['/shared', './one.txt:/opt/app/one.txt']
    networks: [front]
  within:
    image: itdash-lab/python:3.13
    command: ['python3', '-c', 'import signal; signal.pause()']
    network_mode: service:neighbour
    expose: [9000]
  alone:
    image: itdash-lab/python:3.13
    command: ['python3', '-c', 'import signal; signal.pause()']
    network_mode: none
    hostname: hermit
networks: {front: , back: {internal: true}}
volumes: {data: {labels: {of: shop}}}
"""


@dataclass
class Up:
    """The file's services as they run."""

    engine: DockerEngine
    place: Place

    def facts(self, service: str) -> dict[str, Any]:
        name = payload.container_name(self.place.ref, service)
        facts: dict[str, Any] = self.engine._api.inspect_container(name)
        return facts


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    engine = DockerEngine()
    place = Place(engine, ref_for(f"payload-{secrets.token_hex(4)}"))
    checkout = Checkout(tmp_path_factory.mktemp("payload"))
    checkout.write("one.txt", "shared by whose volumes are")
    spec = checkout.load(FILE)
    policy.check(spec)
    spec = complete(spec, "tests")
    try:
        place.create(spec)
        for name in ("neighbour", "full", "within", "alone"):
            place.start(spec.services[name])
        place.until_said("full", "up")
        yield Up(engine, place)
    finally:
        assert engine.remove_environment(place.ref) == []
        engine.close()


def test_what_the_program_is_and_how_it_runs(up: Up) -> None:
    config = up.facts("full")["Config"]

    labels = config["Labels"]
    assert (labels["team"], labels["itdash.instance"]) == ("shop", up.place.ref.instance)
    assert "com.docker.compose.project" not in labels
    assert (config["User"], config["StopSignal"]) == ("1000:1000", "SIGUSR1")
    assert (config["Hostname"], config["Domainname"]) == ("primary", "shop.example")
    assert config["WorkingDir"] == "/data"
    assert config["Entrypoint"] == ["python3", "-u", "-c"]
    assert config["Cmd"] == ['import signal; print("up", flush=True); signal.pause()']
    assert (config["Tty"], config["OpenStdin"]) == (True, True)
    assert {"A=1", "EMPTY="} <= set(config["Env"])
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp", "7000/tcp", "7001/tcp", "7002/udp"}
    assert config["Healthcheck"] == {
        "Test": ["CMD", "test", "-e", "/scratch"],
        "Interval": 2_000_000_000,
        "Timeout": 3_000_000_000,
        "Retries": 4,
        "StartPeriod": 1_000_000_000,
    }


def test_its_limits_and_what_it_may_do(up: Up) -> None:
    host = up.facts("full")["HostConfig"]

    assert host["Init"] is False
    assert host["GroupAdd"] == ["2000"]
    assert {one["Name"]: (one["Soft"], one["Hard"]) for one in host["Ulimits"]} == {
        "nofile": (1024, 2048),
        "nproc": (700, 700),
    }
    assert (host["ShmSize"], host["Memory"], host["MemorySwap"]) == (32 << 20, 64 << 20, 64 << 20)
    assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 50)
    assert host["ExtraHosts"] == ["legacy:192.0.2.7"]
    assert host["Sysctls"] == {"net.core.somaxconn": "1024"}
    assert host["Tmpfs"] == {
        "/scratch": f"size={8 << 20},mode=1770,uid=1000,exec",
        "/long": f"size={4 << 20},mode=700",
    }
    assert host["ReadonlyRootfs"] is True
    assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == {"CHOWN"}
    dropped = {name.removeprefix("CAP_") for name in host["CapDrop"]}
    assert dropped == {"SETFCAP", "AUDIT_WRITE", "MKNOD", "NET_RAW"}
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 4}
    assert host["LogConfig"]["Type"] == "json-file"
    assert not host["PortBindings"]


def test_whom_it_shares_with_stays_in_the_environment(up: Up) -> None:
    facts, neighbour_id = up.facts("full"), up.facts("neighbour")["Id"]
    host, neighbour = facts["HostConfig"], payload.container_name(up.place.ref, "neighbour")

    assert (host["PidMode"], host["IpcMode"]) == (f"container:{neighbour_id}", f"container:{neighbour_id}")
    assert host["VolumesFrom"] == [f"{neighbour}:ro"]
    mounts = {one["Destination"]: one for one in facts["Mounts"]}
    data = payload.volume_name(up.place.ref, "data")
    assert (mounts["/data"]["Name"], mounts["/data"]["RW"]) == (data, True)
    assert (mounts["/again"]["Name"], mounts["/again"]["RW"]) == (data, False)
    assert mounts["/shared"]["RW"] is False
    assert mounts["/anonymous"]["Type"] == "volume"
    assert up.facts("neighbour")["HostConfig"]["IpcMode"] == "shareable"
    assert up.facts("within")["HostConfig"]["NetworkMode"] == f"container:{neighbour_id}"


def test_its_networks_names_and_name_servers(up: Up) -> None:
    facts = up.facts("full")
    host = facts["HostConfig"]

    assert (host["Dns"], host["DnsSearch"], host["DnsOptions"]) == (
        ["9.9.9.9"],
        ["corp.example"],
        ["timeout:1"],
    )
    ends = facts["NetworkSettings"]["Networks"]
    names = {name.rpartition("_")[2]: set(end["Aliases"]) - {facts["Id"][:12]} for name, end in ends.items()}
    assert names == {
        "front": {"full", "the-database", "primary", "www", "linked"},
        "back": {"full", "the-database", "primary", "inside", "linked"},
    }
    # The network of the highest priority is the first one, given with the container's creation.
    assert host["NetworkMode"] == next(end["NetworkID"] for name, end in ends.items() if "back" in name)
    assert list(up.facts("alone")["NetworkSettings"]["Networks"]) == ["none"]
    assert up.facts("alone")["Config"]["Hostname"] == "hermit"


def test_a_service_sees_what_its_file_says(up: Up) -> None:
    seen = up.place.engine.execute(
        up.place.ref,
        "full",
        (
            "python3",
            "-c",
            "import os; print(oct(os.stat('/scratch').st_mode), open('/opt/app/one.txt').read())",
        ),
        timeout_seconds=10,
    )
    assert seen.output.strip() == "0o41770 shared by whose volumes are"
