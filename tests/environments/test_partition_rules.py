"""Which rules a partition is made of, when they count as being there, and what the helper may do."""

from __future__ import annotations

from typing import Any

import pytest

from environments.control.answers import ProblemError
from environments.control.controls import PartitionWish
from environments.control.wishes import partition_wish
from environments.docker_engine import last_check, payload
from environments.docker_engine.helper import _config
from environments.docker_engine.partitions import missing, rules, table
from environments.engine import Direction, Partition, PartitionMode
from environments.errors import EnvironmentFailedError
from environments.labels import EnvironmentRef
from tests.contract.services import service

REF = EnvironmentRef("itd-12345678-1", "test", "run:1", 1, 2_000_000_000)
DROP = Partition("0a1b2c3d", ("api",))
REFUSE_IN = Partition("0a1b2c3d", ("api",), PartitionMode.REJECT, Direction.IN)


def test_both_ways_have_a_chain_each_which_comes_before_all_others() -> None:
    assert table(DROP, ["10.213.0.2", "10.213.0.3"]).splitlines() == [
        "*filter",
        ":ITDASH-0a1b2c3d-in - [0:0]",
        ":ITDASH-0a1b2c3d-out - [0:0]",
        "-I INPUT 1 -j ITDASH-0a1b2c3d-in",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.2/32 -j DROP",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.3/32 -j DROP",
        "-I OUTPUT 1 -j ITDASH-0a1b2c3d-out",
        "-A ITDASH-0a1b2c3d-out -d 10.213.0.2/32 -j DROP",
        "-A ITDASH-0a1b2c3d-out -d 10.213.0.3/32 -j DROP",
        "COMMIT",
    ]


def test_a_refusal_comes_through_itself() -> None:
    assert rules(REFUSE_IN, ["10.213.0.2"]) == [
        "-A INPUT -j ITDASH-0a1b2c3d-in",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.2/32 -p tcp -m tcp --tcp-flags RST RST -j RETURN",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.2/32 -p icmp -m icmp --icmp-type 3/3 -j RETURN",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.2/32 -p tcp -j REJECT --reject-with tcp-reset",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.2/32 -j REJECT --reject-with icmp-port-unreachable",
    ]


def test_a_rule_that_is_not_listed_is_missing() -> None:
    listed = [
        "-P INPUT ACCEPT",
        "-N ITDASH-0a1b2c3d-in",
        "-A INPUT -j ITDASH-0a1b2c3d-in",
        "-A OUTPUT -j ITDASH-0a1b2c3d-out",
        "-A ITDASH-0a1b2c3d-in -s 10.213.0.2/32 -j DROP ",
        "-A ITDASH-0a1b2c3d-out -d 10.213.0.2/32 -j ACCEPT",
    ]

    assert missing(DROP, ["10.213.0.2"], "\n".join(listed)) == [
        "-A ITDASH-0a1b2c3d-out -d 10.213.0.2/32 -j DROP"
    ]


def test_chains_have_names_that_the_kernel_takes() -> None:
    chains = {line.split()[1] for line in rules(DROP, ["10.213.0.2"])}

    assert max(len(chain) for chain in chains) < 29


def test_the_helper_has_one_right_and_nothing_else() -> None:
    config = _config(REF, "image", "true", "container:abc", {"CHAIN": "x"})
    host = config["HostConfig"]

    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["NET_ADMIN"])
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "container:abc"
    assert not {"Mounts", "Binds", "Privileged", "PidMode", "Devices"} & set(host)
    assert "itdash.service" not in config["Labels"]
    assert config["Labels"]["itdash.environment"] == REF.name


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"cap_add": ("NET_ADMIN",)}, "HostConfig.CapAdd may not be"),
        ({"cap_add": ("cap_net_admin",)}, "HostConfig.CapAdd may not be"),
    ],
)
def test_no_service_gets_what_the_helper_has(facts: dict[str, Any], why: str) -> None:
    asked = service("one", **facts)
    with pytest.raises(EnvironmentFailedError, match=why):
        check(asked)


def test_no_service_gets_into_a_helpers_network() -> None:
    # Helpers are called `itd-12345678-1.helper-…`: a service's own name comes after a dash.
    with pytest.raises(EnvironmentFailedError, match=r"HostConfig\.NetworkMode may not be"):
        check(service("one"), NetworkMode="container:itd-12345678-1.helper-0a1b2c3d")


def check(asked: Any, **host: str) -> None:
    networks = {"default": "n1"}
    config = payload.container_config(
        REF,
        asked,
        image="image",
        networks=networks,
        copied_folders=frozenset(),
        api=(1, 41),
        cpus=2,
        limits=payload.Limits(),
    )
    config["HostConfig"] |= host
    last_check.refuse_danger(config, REF, asked, networks=networks)


# --- what is asked for -------------------------------------------------------------------------------


def test_a_wish_says_who_is_kept_from_whom() -> None:
    assert partition_wish({"kind": "partition", "service": "db"}) == PartitionWish("db")
    assert partition_wish(
        {"service": "db", "from": ["api", "api", "web"], "mode": "reject", "direction": "in", "seconds": 3}
    ) == PartitionWish("db", ("api", "web"), (), PartitionMode.REJECT, Direction.IN)
    assert partition_wish({"service": "db", "from": "api", "mode": None}).peers == ("api",)
    grouped = partition_wish({"groups": [["db"], ["api", "web"]]})
    assert grouped == PartitionWish(groups=(("db",), ("api", "web")))
    assert grouped.names() == ["db", "api", "web"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "'service' must name the service to cut off, or 'groups'"),
        ({"service": ""}, "'service' must name"),
        ({"service": ["db"]}, "'service' must name"),
        ({"service": "db", "from": []}, "'from' must be a list of services' names, with at least one"),
        ({"service": "db", "from": ["api", 3]}, "'from' must be a list"),
        ({"service": "db", "from": {"api": 1}}, "'from' must be a list"),
        ({"service": "db", "from": ["db"]}, "'db' cannot be kept from itself"),
        ({"service": "db", "peers": ["api"]}, "A partition has no 'peers'; it takes 'service'"),
        ({"service": "db", "mode": "Drop"}, "'mode' must be one of drop, reject; left out, it is drop"),
        ({"service": "db", "mode": {}}, "'mode' must be one of"),
        ({"service": "db", "direction": "up"}, "'direction' must be one of both, in, out"),
        ({"groups": [["db"]]}, "at least two groups"),
        ({"groups": "db"}, "at least two groups"),
        ({"groups": [["db"], []]}, "Each of 'groups' must be a list"),
        ({"groups": [["db"], ["api", "db"]]}, "'db' stands in 'groups' twice"),
        ({"groups": [["db"], ["api"]], "service": "db"}, "leave 'service' out"),
        ({"groups": [["db"], ["api"]], "direction": "in"}, "leave 'direction' out"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(body: dict[str, Any], why: str) -> None:
    with pytest.raises(ProblemError, match=why) as refused:
        partition_wish(body)

    assert refused.value.status == 422
