"""Which addresses itdash speaks to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from runs.notify.addresses import may_speak_to, read_networks

PUBLIC = [
    "8.8.8.8",
    "140.82.121.3",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::808:808",
]
PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.7",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.7.4",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.7",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2002:a00:7::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:7",
    "2001:0:7f00:1::",
    "::ffff:0:127.0.0.1",
    "fec0::1",
]
NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "169.254.0.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_spoken_to(address: str) -> None:
    assert may_speak_to(ip_address(address), ())


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_others_are_not_unless_they_are_allowed(address: str) -> None:
    assert not may_speak_to(ip_address(address), ())


@pytest.mark.parametrize("address", NEVER)
def test_some_are_not_whatever_is_allowed(address: str) -> None:
    assert not may_speak_to(ip_address(address), read_networks("0.0.0.0/0, ::/0"))


def test_a_network_is_allowed_and_no_more() -> None:
    allowed = read_networks("10.1.0.0/16, 192.168.7.4,")

    assert may_speak_to(ip_address("10.1.2.3"), allowed)
    assert may_speak_to(ip_address("::ffff:10.1.2.3"), allowed)
    assert may_speak_to(ip_address("192.168.7.4"), allowed)
    assert not may_speak_to(ip_address("10.2.2.3"), allowed)
    assert not may_speak_to(ip_address("192.168.7.5"), allowed)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "here", "10.1.2.3/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"10|here"):
        read_networks(text)
