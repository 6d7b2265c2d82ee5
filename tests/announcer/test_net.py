"""Prefixes are made once for each value, and are those of the standard library."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.bgp import Route
from announcer.model.codec import from_json, to_json
from announcer.model.net import IPAddress, IPNetwork, aggregate, host_prefix, parse_prefix

_ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def same(one: IPNetwork, other: IPNetwork) -> bool:
    names = (
        "version",
        "network_address",
        "broadcast_address",
        "netmask",
        "prefixlen",
        "max_prefixlen",
        "num_addresses",
    )
    shown = [(str(each), hash(each), [getattr(each, name) for name in names]) for each in (one, other)]
    return one == other and shown[0] == shown[1]


@given(_ADDRESSES, st.integers(0, 128))
def test_an_aggregate_is_the_prefix_around_an_address(address: IPAddress, length: int) -> None:
    length = min(length, address.max_prefixlen)
    found = aggregate(address, length)
    assert same(found, ipaddress.ip_network((address, length), strict=False))
    assert address in found
    assert aggregate(found.network_address, length) is found
    assert aggregate(found.broadcast_address, length) is found


@given(_ADDRESSES)
def test_a_prefix_of_one_address_is_made_once(address: IPAddress) -> None:
    found = host_prefix(address)
    assert same(found, ipaddress.ip_network(address))
    again = ipaddress.ip_address(int(address)) if address.version == 4 else ipaddress.IPv6Address(int(address))
    assert host_prefix(again) is found
    assert aggregate(again, address.max_prefixlen) is found
    assert parse_prefix(str(found)) is found
    assert from_json(to_json(Route(nlri=found)), Route).nlri is found


@given(_ADDRESSES, st.integers(0, 128))
def test_what_is_written_is_read(address: IPAddress, length: int) -> None:
    prefix = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    assert same(parse_prefix(str(prefix)), prefix)


@pytest.mark.parametrize(
    "text",
    ["", "/32", "x/32", "10.0.0.1", "10.0.0.01/32", "10.0.0.1/33", "10.0.0.1/8", "10.0.0.1/032", "fd00::1/128",
     "fd00::1/32", "fe80::1%x/128", "10.0.0.1/255.255.255.255", "10.0.0.1/32/32", "1/32"],
)  # fmt: skip
def test_other_texts_are_what_the_library_takes_them_for(text: str) -> None:
    assert _outcome(parse_prefix, text) == _outcome(ipaddress.ip_network, text)


def _outcome(read: Any, text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        return type(error)


def test_a_prefix_keeps_no_function_and_no_second_address() -> None:
    """What the standard library puts into each that holds one address. With a newer Python, see ``host_prefix``."""
    address = ipaddress.ip_address("192.0.2.77")
    assert "hosts" in vars(ipaddress.ip_network(address))
    found = host_prefix(address)
    assert found.network_address is address
    assert "hosts" not in vars(found)
