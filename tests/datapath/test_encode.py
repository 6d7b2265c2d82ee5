"""Entries and values, and the layouts against the C compiler."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.errors import BugError
from announcer.model.lb import Backend, FrontendKey, Mode
from announcer.model.net import IPAddress, Protocol
from datapath import abi, encode, shim
from tests.datapath.node import BEHIND, LOCAL, REMOTE, REMOTE_NODE, REMOTE_NODE6, VIP, frontend

MAPPED = bytes(10) + b"\xff\xff"
ports = st.integers(1, 65535)
#: No VIP or pod has an IPv4-mapped address.
addresses = st.ip_addresses().filter(lambda address: address.version == 4 or int(address) >> 32 != 0xFFFF)


@given(addresses, st.sampled_from(list(Protocol)), ports)
def test_a_key_comes_back(vip: IPAddress, protocol: Protocol, port: int) -> None:
    key = FrontendKey(vip, protocol, port)
    assert encode.decode_frontend_key(encode.frontend_key(key)) == key


backends = st.builds(Backend, addresses, ports, st.booleans()) | st.builds(
    Backend, addresses, ports, st.just(False), addresses
)


@given(backends, st.none() | addresses.filter(int), st.integers(0, 0xFFFFFFFF))
def test_a_backend_comes_back(backend: Backend, source: IPAddress | None, generation: int) -> None:
    entry = encode.backend_entry(backend, source)
    assert encode.decode_backend_entry(entry, encode.node_entry(backend)) == (backend, source)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("affinity", [False, True])
def test_the_mode_comes_back(mode: Mode, affinity: bool) -> None:
    flags = encode.frontend_flags(frontend(mode=mode, affinity=affinity))
    assert encode.mode_of(flags) is mode


def test_addresses_and_ports_stand_in_network_order() -> None:
    assert encode.frontend_key(FrontendKey(VIP, Protocol.UDP, 53)) == MAPPED + bytes([203, 0, 113, 10, 0, 53, 17, 0])


def test_an_entry_that_was_never_written_is_no_backend() -> None:
    assert encode.decode_backend_entry(bytes(abi.BACKEND.size), abi.NO_ADDRESS) is None


def test_only_local_backends_are_decapsulated_for() -> None:
    entries = encode.decap_entries(frontend(LOCAL, REMOTE))
    assert entries == {
        MAPPED + bytes([10, 244, 1, 10]) + MAPPED + bytes([203, 0, 113, 10, 0, 80, 6, 0]): bytes([0x1F, 0x90, 0, 0])
    }
    assert encode.decap_frontend(next(iter(entries))) == encode.frontend_key(frontend().key)


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (frontend(LOCAL, vip=IPv6Address("2001:db8::1")), "the other family"),
        (frontend(terminating=(Backend(IPv6Address("2001:db8::1"), 80),)), "the other family"),
        (frontend(Backend(LOCAL.address, 1), Backend(LOCAL.address, 2)), "the same address"),
        (frontend(Backend(LOCAL.address, 1), terminating=(Backend(LOCAL.address, 2),)), "the same address"),
        (frontend(REMOTE, mode=Mode.GENEVE), "nothing is known of the node of backend 10.244.2.10"),
        (frontend(Backend(REMOTE.address, 1, False, REMOTE_NODE6), mode=Mode.GENEVE), "address of the other family"),
        (frontend(BEHIND), "has a node, and nothing is sent there by dsr"),
        (frontend(terminating=(BEHIND,), mode=Mode.SNAT), "has a node, and nothing is sent there by snat"),
        (frontend(Backend(LOCAL.address, 1, True, REMOTE_NODE), mode=Mode.GENEVE), "has a node"),
    ],
)
def test_what_cannot_be_served_is_refused(refused: object, why: str) -> None:
    assert why in encode.refusal(refused)  # type: ignore[arg-type]


def test_what_can_be_served_is_not_refused() -> None:
    assert encode.refusal(frontend(LOCAL, REMOTE)) == ""
    assert encode.refusal(frontend(LOCAL, BEHIND, mode=Mode.GENEVE)) == ""
    assert encode.refusal(frontend()) == ""


def described() -> str:
    text = shim._text(shim._lib().lk_abi())
    assert text
    return text


def test_the_layouts_are_those_of_the_header(built: None) -> None:
    abi.check(described())


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("struct lb_backend 64", "struct lb_backend 72"),
        ("offsets lb_decap_key 0 16 32 34", "offsets lb_decap_key 0 16 34 32"),
        ("reason ttl\nreason too_big\n", "reason too_big\nreason ttl\n"),
        ("reason reply_error\n", ""),
    ],
)
def test_another_layout_is_noticed(built: None, there: str, here: str) -> None:
    text = described()
    assert there in text
    with pytest.raises(BugError, match="disagree"):
        abi.check(text.replace(there, here))
