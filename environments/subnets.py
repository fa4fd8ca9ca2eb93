"""Subnets of our own: which are free, and what a full pool comes to. Plain."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

Subnet = ipaddress.IPv4Network
DEFAULT = Subnet("10.213.0.0/16")


@dataclass(frozen=True, slots=True)
class Pool:
    """A range of addresses, cut into subnets of one size: one for each network of an environment.

    Engine 20.10 runs out of its own pools after 30 networks; this one holds 1,024.
    """

    network: Subnet = DEFAULT
    #: Length of each subnet's prefix; 26 leaves room for 61 services.
    prefix_length: int = 26

    @classmethod
    def read(cls, network: str, prefix_length: int) -> Self:
        """Read a pool from settings; raises `ValueError` with what is wrong and what would do."""
        pool = Subnet(network)
        if not pool.prefixlen <= prefix_length <= 29:  # noqa: PLR2004 - a /30 has room for one service
            message = (
                f"subnets of /{prefix_length} cannot be cut from {pool}: take a length from "
                f"{pool.prefixlen} to 29"
            )
            raise ValueError(message)
        return cls(pool, prefix_length)

    @property
    def capacity(self) -> int:
        """How many networks it holds."""
        return 1 << (self.prefix_length - self.network.prefixlen)

    def free_count(self, taken: Iterable[Subnet]) -> int:
        """How many subnets nobody is known to use."""
        return self.capacity - len(self._taken(taken))

    def choose(self, seed: str, taken: Iterable[Subnet]) -> Subnet | None:
        """The first subnet that nobody is known to use, from a place that differs by name so that
        neighbours rarely meet; None when all are taken."""
        used = self._taken(taken)
        start = zlib.crc32(seed.encode()) % self.capacity
        for step in range(self.capacity):
            at = (start + step) % self.capacity
            if at not in used:
                return self._subnet(at)
        return None

    def shortage(self, ours: Sequence[Subnet], routes: Sequence[Subnet]) -> str:
        """Say why it is full, and the mend."""
        on_engine, on_routes = len(self._taken(ours)), len(self._taken(routes))
        return (
            f"All {self.capacity:,} subnets of {self.network} (/{self.prefix_length} each) are taken: "
            f"{on_engine:,} by networks on the engine, {on_routes:,} overlap with what this machine routes "
            "elsewhere. Wait for environments to end, remove networks on the engine, or give a range of its "
            "own in ITDASH_SUBNET_POOL."
        )

    def _subnet(self, at: int) -> Subnet:
        size = 1 << (32 - self.prefix_length)
        return Subnet((int(self.network.network_address) + at * size, self.prefix_length))

    def _taken(self, taken: Iterable[Subnet]) -> set[int]:
        """Places of the subnets that overlap with one of these."""
        size = 1 << (32 - self.prefix_length)
        first = int(self.network.network_address)
        used: set[int] = set()
        for other in taken:
            if other.overlaps(self.network):
                begin = max(int(other.network_address), first) - first
                end = min(int(other.broadcast_address), int(self.network.broadcast_address)) - first
                used.update(range(begin // size, end // size + 1))
        return used
