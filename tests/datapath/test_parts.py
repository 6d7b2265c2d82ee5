"""What the kernel says of one address it says of all that its tables cannot tell from it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.lb import Backend
from announcer.model.net import IPNetwork
from datapath import neigh
from datapath.neigh import Nexthops
from datapath.notices import Notices
from datapath.parts import Parts
from datapath.rtnl import Rtnl
from tests.datapath.netns import entered
from tests.datapath.node import NODE, ROUTER, Node

PREFIXES = st.builds(
    lambda number, length: ip_network((0x0A000000 | number, length), strict=False),
    st.integers(0, 0xFFFF),
    st.integers(8, 32),
)


def parts_of(prefixes: list[IPNetwork]) -> Parts:
    return Parts((each.version, int(each.network_address), each.prefixlen) for each in prefixes)


@given(st.lists(PREFIXES, max_size=12), st.lists(st.integers(0, 0x1FFFF), max_size=30))
def test_addresses_of_one_part_lie_in_the_same_prefixes(prefixes: list[IPNetwork], numbers: list[int]) -> None:
    parts = parts_of(prefixes)
    inside: dict[tuple[int, int], list[bool]] = {}
    for number in numbers:
        address = ip_address(0x0A000000 + number)
        assert inside.setdefault(parts.of(address), [address in each for each in prefixes]) == [
            address in each for each in prefixes
        ]


@given(st.lists(PREFIXES, max_size=12), st.lists(st.integers(0, 0x1FFFF), min_size=1, max_size=5))
def test_several_addresses_lie_in_one_part_or_in_none(prefixes: list[IPNetwork], numbers: list[int]) -> None:
    parts, addresses = parts_of(prefixes), [ip_address(0x0A000000 + number) for number in numbers]
    found = {parts.of(address) for address in addresses}
    assert parts.of_all(addresses) == (found.pop() if len(found) == 1 else None)
    assert parts.of_all([*addresses, ip_address("2001:db8::1")]) is None


def test_a_prefix_cuts_where_it_begins_and_where_it_ends() -> None:
    parts = parts_of([ip_network("0.0.0.0/0"), ip_network("10.2.0.0/16"), ip_network("2001:db8::/32")])
    names = [parts.of(ip_address(text)) for text in ("10.1.255.255", "10.2.0.0", "10.2.255.255", "10.3.0.0", "9.0.0.1")]
    assert names[1] == names[2]
    assert len(set(names)) == 3, "before, inside, behind"
    assert names[0] == names[4]
    assert parts.of(ip_address("2001:db8::1")) != parts.of(ip_address("2001:db9::1"))


@pytest.mark.root
def test_many_backends_are_told_of_as_each_would_be(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes by the default route, more specific ones, on the link, over two hops, to nowhere, and by a rule."""
    monkeypatch.setattr(neigh, "_MANY", 1)
    node.ip(
        f"route add 10.50.0.0/16 via {ROUTER + 1}",
        f"route add 10.50.7.0/24 via {ROUTER + 2}",
        f"route add 10.51.0.0/16 nexthop via {ROUTER + 1} nexthop via {ROUTER + 2}",
        "route add blackhole 10.52.0.0/16",
        f"route add 10.53.1.0/24 via {ROUTER + 1} table 77",
        "rule add to 10.53.1.128/25 lookup 77",
        f"route add 10.54.0.0/16 via {ROUTER} src {NODE}",
    )
    texts = [f"10.{second}.{third}.{last}" for second in range(49, 56) for third in (1, 7) for last in (5, 6, 130, 131)]
    texts += [
        "192.168.1.77",
        "192.168.1.78",
        "10.244.1.10",
        "10.244.1.11",
        str(NODE),
        "2001:db8:244:2::1",
        "2001:db8:1::5",
    ]
    backends = [Backend(ip_address(text), 80) for text in texts]
    with entered(node.netns):
        rtnl, notices = Rtnl(), Notices()
        try:
            nexthops = Nexthops(rtnl, notices)
            told = nexthops.routes(backends)
            shared = sum(nexthops._shared_way(backend.address) is not None for backend in backends)
            assert 30 < shared < len(backends)
            for backend in backends:
                route = rtnl.route(backend.address)
                alone = None if route is None or route.local else route
                known = told[backend]
                assert (known is None) == (alone is None), backend
                if known is not None and alone is not None:
                    assert (known.ifindex, known.source) == (alone.ifindex, alone.source), backend
                    assert nexthops._hops_of(backend) == rtnl.hops(backend.address), backend
            node.ip(f"route replace 10.50.0.0/16 via {ROUTER + 3}")
            assert nexthops.routes(backends) is not told
            changed = next(backend for backend in backends if str(backend.address) == "10.50.1.6")
            assert {via for _, via in nexthops._hops_of(changed)} == {ROUTER + 3}
        finally:
            rtnl.close()
            notices.close()
