"""What a service gets that asks for nothing, and one that asks for the worst of what is not refused: row by
row as docs/compose.md has it. What is refused stands in `attacks/`."""

from __future__ import annotations

from typing import Any, Final

import pytest

from environments import policy
from environments.clamping import clamped
from environments.docker_engine import payload
from environments.docker_engine.builders import BuildLimits
from environments.errors import PolicyError
from environments.grants import Quota
from environments.labels import EnvironmentRef
from environments.presets import filled
from tests.environments.checkout import Checkout

REF: Final = EnvironmentRef("itd-12345678-1", "test", "run:1", 1, 2_000_000_000)
MEBIBYTE: Final = 1024**2
WORST: Final = """
    logging: {driver: gelf, options: {gelf-address: "udp://10.0.0.1:1", tag: secrets}}
    labels: {itdash.instance: other, com.docker.compose.project: prod, mine: yes}
    ports: ["0.0.0.0:80:80", "22:22"]
    restart: always
    stop_grace_period: 1h
    oom_score_adj: -1000
    oom_kill_disable: true
    pids_limit: -1
    memswap_limit: -1
    mem_swappiness: 100
    cpu_shares: 262144
    shm_size: 64g
    cap_drop: [CHOWN]
    security_opt: ["no-new-privileges:true"]
"""


def sent(checkout: Checkout, asks: str) -> dict[str, Any]:
    """The body of the create call for a file that policy lets through."""
    spec, _ = clamped(filled(checkout.load(f"services:\n  web:\n    image: web\n{asks}")))
    policy.check(spec)
    service = spec.services["web"]
    config = payload.container_config(
        REF,
        service,
        image="web",
        networks={"default": "n1"},
        copied_folders=frozenset(),
        api=(1, 41),
        cpus=8,
        limits=payload.Limits(),
    )
    config["HostConfig"] |= payload.granted(service, spec.grants) | payload.weight(spec)
    return config


@pytest.mark.parametrize("asks", ["", WORST], ids=["nothing", "the worst"])
def test_limits_hold_for_a_file_that_says_nothing_and_for_one_that_wants_none(
    checkout: Checkout, asks: str
) -> None:
    host = sent(checkout, asks)["HostConfig"]

    assert host["Memory"] == host["MemorySwap"] == 1024 * MEBIBYTE
    assert host["NanoCpus"] == 1_000_000_000
    assert host["CpuShares"] == 2048
    assert host["PidsLimit"] == 512
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 65_536, "Hard": 65_536}]
    assert host["ShmSize"] == (1024 if asks else 64) * MEBIBYTE
    assert host["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": str(50 * MEBIBYTE), "max-file": "2"},
    }
    assert set(host["CapDrop"]) >= {"NET_RAW", "MKNOD", "AUDIT_WRITE"}
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host.keys() & {"PortBindings", "OomScoreAdj", "OomKillDisable", "MemorySwappiness", "Binds"}


def test_labels_of_ours_and_of_compose_are_taken_out(checkout: Checkout) -> None:
    labels = sent(checkout, WORST)["Labels"]

    assert (labels["mine"], labels["itdash.instance"]) == ("yes", "test")
    assert not any(name.startswith("com.docker.") for name in labels)


def test_an_environment_has_the_usual_quota() -> None:
    assert Quota() == Quota(
        services=20, networks=5, volumes=10, memory_bytes=4096 * MEBIBYTE, cpus=2, seconds=7200, images=()
    )


def test_a_build_is_bounded_in_time_memory_and_processors() -> None:
    assert BuildLimits() == BuildLimits(seconds=1200, memory_bytes=2048 * MEBIBYTE, cpus=2)


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ("mem_limit: 4097m", "more than 4 GiB of memory together"),
        ("cpus: 2.1", "more than 2 processors together"),
        ("scale: 21", "21 services are more than the 20"),
    ],
)
def test_what_one_service_asks_for_alone_may_be_too_much(checkout: Checkout, asks: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        sent(checkout, f"    {asks}\n")


def test_presets_may_have_more_than_the_quota_together_for_nobody_asked_for_it(checkout: Checkout) -> None:
    """Three of 2 GiB: what they hold is looked at while they run."""
    services = "".join(f"  db{number}: {{x-itdash: {{preset: postgres}}}}\n" for number in range(3))

    spec = filled(checkout.load(f"services:\n{services}"))

    policy.check(spec)
    assert sum(service.memory_bytes or 0 for service in spec.services.values()) == 6144 * MEBIBYTE
