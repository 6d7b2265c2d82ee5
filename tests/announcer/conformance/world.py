"""The language of the tables: Markdown that a network engineer reads, turned into objects and decided upon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from announcer.decide import decide
from announcer.model.desired import Desired
from announcer.model.lb import Backend, Frontend
from announcer.model.net import IPAddress, Protocol
from announcer.model.objects import Endpoint, EndpointSlice, Node, Service, SlicePort
from tests.announcer.build import ip, key, snapshot

HERE = Path(__file__).parent
VIPS: dict[int, IPAddress] = {4: ip("203.0.113.1"), 6: ip_address("2001:db8:f::1")}
INTERNAL, EXTERNAL = "10.0.0.1", "10.0.0.2"
CONFIG = """
peers:
- {{peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512, families: [ipv4, ipv6]}}
- {{peer-address: 10.0.0.2, peer-asn: 64513, my-asn: 64512, families: [ipv4, ipv6]}}
address-pools:
- name: main
  protocol: bgp
  addresses: [203.0.113.0/28, "2001:db8:f::/124"]
  bgp-advertisements:
  - {{localpref: 200, communities: ["64512:1"], med: 7}}
  {}
"""

_POD = re.compile(r"(?P<pod>[a-z])(?P<node>\d)(?P<state>-|~!|~|x|)(@(?P<zone>\w+))?(>(?P<hint>\w+))?")
_STATES = {
    "": (True, True, False),
    "-": (False, False, False),
    "~": (False, True, True),
    "x": (False, False, True),
    "~!": (True, True, True),
}


class Row(NamedTuple):
    """A row of a table: its cells by the head of their column, and where it stands."""

    cells: dict[str, str]
    section: str
    place: str


def rows(file: str) -> Iterator[Row]:
    """All rows of all tables of a file of this folder, with the heading above each."""
    section, head = "", list[str]()
    for number, line in enumerate((HERE / file).read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not cells:
            head = []
        elif not head:
            head = cells
        elif set(cells[0]) - set("-") or not cells[0]:
            yield Row(dict(zip(head, cells, strict=True)), section, f"{file}:{number}")


def address_of(pod: str, version: int) -> IPAddress:
    """The address of the Pod ``a1``: its node decides the prefix, its letter the rest."""
    number = ord(pod[0]) - ord("a") + 10
    return ip_address(f"10.244.{pod[1]}.{number}" if version == 4 else f"2001:db8:244:{pod[1]}::{number}")


def slices(
    owner: str, cell: str, *, port: str = "http", protocol: Protocol = Protocol.TCP, version: int = 4
) -> list[EndpointSlice]:
    """The EndpointSlices that a cell describes, with addresses of this IP version."""
    pieces = [piece.strip().partition(":") for piece in cell.split(";")]
    return [
        EndpointSlice(
            key=key(f"{owner}-ip{version}-{number}"),
            service=key(owner),
            ports=(SlicePort(name=port, protocol=protocol, port=int(target or 8080)),),
            endpoints=tuple(_endpoint(word.strip(), version) for word in pods.split(",") if word.strip()),
        )
        for number, (pods, _, target) in enumerate(pieces)
        if pods
    ]


def _endpoint(word: str, version: int) -> Endpoint:
    match = _POD.fullmatch(word)
    assert match is not None, f"what is {word!r}?"
    ready, serving, terminating = _STATES[match["state"]]
    hint = match["hint"] or ""
    return Endpoint(
        addresses=(address_of(match["pod"] + match["node"], version),),
        ready=ready,
        serving=serving,
        terminating=terminating,
        node_name=f"n{match['node']}",
        zone=match["zone"] or "",
        for_zones=(hint,) if hint.startswith("z") else (),
        for_nodes=(hint,) if hint.startswith("n") else (),
    )


def decide_on(node: str, *objects: Node | Service | EndpointSlice, pool: str = "") -> Desired:
    """What ``node`` decides. ``pool``: further keys of the pool, one a line."""
    return decide(snapshot(*objects, config_text=CONFIG.format(pool.replace("\n", "\n  ")), node_name=node))


def holds(frontend: Frontend, node: str, cell: str) -> bool:
    """Whether ``node`` serves what a cell says: the backends that it names, nobody, or nobody and it is said."""
    named = _named(frontend, node, cell.replace("reject", ""))
    return (frontend.backends, frontend.reject) == (named, cell == "reject")


def keeps(frontend: Frontend, node: str, cell: str) -> bool:
    """Whether these, and no others, keep their connections through ``node`` and get nothing new."""
    return frontend.terminating == _named(frontend, node, cell)


def _named(frontend: Frontend, node: str, pods: str) -> tuple[Backend, ...]:
    version = frontend.key.vip.version
    return tuple(sorted(Backend(address_of(pod, version), 8080, pod[1] == node[1]) for pod in pods.split()))


def route_of(desired: Desired, version: int) -> str:
    """``yes`` if both peers get the VIP with the attributes of the pool, the reason if neither gets anything."""
    vip = VIPS[version]
    decision = desired.vips[vip]
    ribs = {
        peer: {nlri: wish for nlri, wish in rib.items() if nlri.version == version} for peer, rib in desired.rib.items()
    }
    if decision.reason is not None:
        assert all(not rib for rib in ribs.values()), "there is a reason, and a route all the same"
        assert decision.detail, "a reason without words"
        return str(decision.reason)
    for peer, local_pref in ((INTERNAL, 200), (EXTERNAL, None)):
        ((nlri, wish),) = ribs[peer].items()
        assert str(nlri) == f"{vip}/{vip.max_prefixlen}"
        assert wish.vips == (vip,), "it is not held back until the VIP is proven"
        attributes = (wish.route.local_pref, wish.route.communities, wish.route.med)
        assert attributes == (local_pref, ((64512, 1),), 7)
    return "yes"
