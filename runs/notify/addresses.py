"""Which addresses itdash may speak to for a project's people: the public ones, and networks allowed by name.

What only this machine's link or cloud can reach, such as a metadata service that hands out credentials, is
refused whatever is allowed. An address that carries another in itself (IPv4 in IPv6) is judged by that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

#: Where clouds tell a machine its secrets, outside of the link-local ranges.
_NEVER: Final = frozenset(
    ip_address(address)
    for address in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure; public by its number
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "255.255.255.255",  # everybody
    )
)
#: Networks of IPv6 whose last 32 bits are an address of IPv4.
_TRANSLATED: Final = (ip_network("64:ff9b::/96"), ip_network("::ffff:0:0:0/96"))
_COMPATIBLE: Final = ip_network("::/96")
#: Private before there were unique local addresses, and public by their numbers.
_SITE_LOCAL: Final = ip_network("fec0::/10")


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks with commas between, `10.0.0.0/8, 192.168.7.4`.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def may_speak_to(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the address, or each that it carries, is public or in an allowed network."""
    return all(_may_speak_to(one, allowed) for one in list(_carried(address)) or [address])


def _may_speak_to(address: Address, allowed: Sequence[Network]) -> bool:
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _NEVER:
        return False
    is_public = address.is_global and address not in _SITE_LOCAL
    return is_public or any(address in network for network in allowed)


def _carried(address: Address) -> Iterator[Address]:
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif any(address in network for network in _TRANSLATED) or (address in _COMPATIBLE and int(address) > 1):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
