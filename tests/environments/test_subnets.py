"""Subnets of our own: what is chosen, what is left, what a full pool says."""

from __future__ import annotations

import pytest

from environments.subnets import Pool, Subnet


def test_the_usual_pool_holds_a_thousand_networks() -> None:
    assert Pool().capacity == 1024
    assert Pool().free_count([]) == 1024


def test_every_subnet_is_chosen_once_before_the_pool_is_full() -> None:
    pool = Pool.read("10.9.0.0/24", 26)
    taken: list[Subnet] = []
    while (subnet := pool.choose(f"network {len(taken)}", taken)) is not None:
        taken.append(subnet)

    assert sorted(map(str, taken)) == ["10.9.0.0/26", "10.9.0.128/26", "10.9.0.192/26", "10.9.0.64/26"]
    assert pool.free_count(taken) == 0


def test_neighbours_begin_at_different_places() -> None:
    chosen = {Pool().choose(f"itd-{number:08x}-1/default", []) for number in range(60)}

    assert len(chosen) > 50


def test_what_overlaps_is_left_out_whatever_its_size() -> None:
    pool = Pool.read("10.9.0.0/24", 26)
    # A half, something smaller than a subnet, and what is elsewhere.
    taken = [Subnet("10.9.0.0/25"), Subnet("10.9.0.200/30"), Subnet("172.17.0.0/16")]

    assert pool.choose("any", taken) == Subnet("10.9.0.128/26")
    assert pool.free_count(taken) == 1


def test_a_route_around_the_pool_takes_all_of_it() -> None:
    everything = [Subnet("10.0.0.0/8")]

    assert Pool().choose("any", everything) is None
    assert Pool().free_count(everything) == 0
    assert Pool().shortage([Subnet("10.213.0.0/26"), Subnet("10.213.4.0/26")], everything) == (
        "All 1,024 subnets of 10.213.0.0/16 (/26 each) are taken: 2 by networks on the engine, 1,024 overlap "
        "with what this machine routes elsewhere. Wait for environments to end, remove networks on the "
        "engine, or give a range of its own in ITDASH_SUBNET_POOL."
    )


@pytest.mark.parametrize(
    ("network", "length", "reason"),
    [
        ("10.0.0.0/8", 30, "take a length from 8 to 29"),
        ("10.9.0.0/24", 20, "take a length from 24 to 29"),
        ("10.9.0.1/24", 26, "has host bits set"),
        ("somewhere", 26, "somewhere"),
    ],
)
def test_a_pool_that_cannot_be_says_why(network: str, length: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Pool.read(network, length)
