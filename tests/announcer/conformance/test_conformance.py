"""The tables of this folder, decided row by row: what the routers are told and what the kernel holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.decide.topology import MODE_ANNOTATION, OLD_ANNOTATION, ZONE_LABEL
from announcer.decide.vips import EXCLUDE_LABEL, NETWORK_UNAVAILABLE
from announcer.model.desired import Desired, Reason
from announcer.model.lb import FrontendKey
from announcer.model.names import (
    NOT_READY_CONNECTIONS_ANNOTATION,
    READINESS_ANNOTATION,
    ZERO_ENDPOINTS_ANNOTATION,
)
from announcer.model.net import Protocol
from announcer.model.objects import EndpointSlice, Node, Service
from tests.announcer.build import key, node, service
from tests.announcer.conformance.world import VIPS, Row, decide_on, holds, keeps, route_of, rows, slices

HTTP = {version: FrontendKey(vip, Protocol.TCP, 80) for version, vip in VIPS.items()}
BOTH = pytest.mark.parametrize("version", VIPS, ids="IPv{}".format)
TRAFFIC, SHARED, TOPOLOGY, FAMILIES, CONNECTIONS = (
    list(rows(f"{name}.md")) for name in ("traffic", "shared", "topology", "families", "connections")
)
ZONES = {"n1": "za", "n2": "zb"}
NODES = {"excluded": node(labels={EXCLUDE_LABEL: ""}), "unreachable": node(conditions={NETWORK_UNAVAILABLE: "True"})}


def test_the_tables_are_read_whole() -> None:
    assert (len(TRAFFIC), len(SHARED), len(TOPOLOGY), len(FAMILIES), len(CONNECTIONS)) == (59, 14, 23, 9, 20)


def traffic_objects(row: Row, version: int) -> list[Node | Service | EndpointSlice]:
    policy = row.cells.get("policy") or row.section.rpartition(" ")[2]
    assert policy in ("Cluster", "Local")
    web = service(
        ingress=(VIPS[version],), local=policy == "Local", publish_not_ready=row.cells.get("publish") == "yes"
    )
    this = NODES.get(row.cells.get("n1 is", ""), node(conditions={NETWORK_UNAVAILABLE: "False"}))
    known = () if row.cells.get("n1 is") == "unknown" else (this, node("n2"))
    return [*known, web, *slices("web", row.cells["endpoints"], version=version)]


@pytest.mark.parametrize("row", TRAFFIC, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2"])
@BOTH
def test_traffic(row: Row, where: str, version: int) -> None:
    keys = {"readiness": row.cells.get("readiness"), "zero-endpoints": row.cells.get("zero")}
    pool = "\n".join(f"{name}: {word}" for name, word in keys.items() if word)
    desired = decide_on(where, *traffic_objects(row, version), pool=pool)
    assert route_of(desired, version) == row.cells[f"{where} route"]
    assert holds(desired.frontends[HTTP[version]], where, row.cells[f"{where} to"])


@pytest.mark.parametrize("row", [row for row in TRAFFIC if "readiness" in row.cells], ids=lambda row: row.place)
def test_a_service_overrules_its_pool(row: Row) -> None:
    """The same table once more, with annotations against a pool that has the opposite of everything."""
    readiness, zero = row.cells["readiness"] or "ready-then-serving", row.cells["zero"] or "withdraw"
    annotations = {READINESS_ANNOTATION: readiness, ZERO_ENDPOINTS_ANNOTATION: zero}
    web = service(local=row.section.endswith("Local"), annotations=annotations)
    against = f"readiness: {'ready' if readiness != 'ready' else 'ready-then-serving'}\n"
    against += f"zero-endpoints: {'keep' if zero == 'withdraw' else 'withdraw'}"
    desired = decide_on("n1", node(), web, *slices("web", row.cells["endpoints"]), pool=against)
    assert route_of(desired, 4) == row.cells["n1 route"]
    assert holds(desired.frontends[HTTP[4]], "n1", row.cells["n1 to"])
    assert desired.services[key("web")].notes == ()


_SERVICE = re.compile(r"(?P<port>\d+)(/(?P<protocol>\w+))? (?P<policy>Cluster|Local)(?P<keep> keep)?:(?P<pods>.*)")


def shared_objects(row: Row, version: int) -> list[Service | EndpointSlice]:
    objects: list[Service | EndpointSlice] = []
    for year, name in enumerate(("first", "second"), 2025):
        match = _SERVICE.fullmatch(row.cells[name])
        assert match is not None, row.cells[name]
        protocol = Protocol(match["protocol"] or "TCP")
        objects.append(
            service(
                name,
                ingress=(VIPS[version],),
                ports=[("http", protocol, int(match["port"]))],
                local=match["policy"] == "Local",
                creation_timestamp=f"{year}-01-01T00:00:00Z",
                annotations={ZERO_ENDPOINTS_ANNOTATION: "keep"} if match["keep"] else {},
            )
        )
        objects += slices(name, match["pods"], protocol=protocol, version=version)
    return objects


@pytest.mark.parametrize("row", SHARED, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2"])
@BOTH
def test_shared(row: Row, where: str, version: int) -> None:
    desired = decide_on(where, node(), node("n2"), *shared_objects(row, version))
    assert route_of(desired, version) == row.cells[f"{where} route"]
    expected: dict[FrontendKey, list[str]] = {}
    for word in row.cells[f"{where} serves"].split(" "):
        number, _, pods = word.partition("=")
        port, _, protocol = number.partition("/")
        held = expected.setdefault(FrontendKey(VIPS[version], Protocol(protocol or "TCP"), int(port)), [])
        held += pods.split()
    for one in list(expected):
        assert holds(desired.frontends[one], where, " ".join(expected[one]))
    assert set(desired.frontends) == set(expected)
    conflict = row.cells["first"].split()[0] == row.cells["second"].split()[0]
    assert desired.services[key("second")].reason == (Reason.FRONTEND_CONFLICT if conflict else None)


def asking(asks: str, version: int) -> Service:
    vip = (VIPS[version],)
    if asks in ("auto", "disabled"):
        return service(ingress=vip, annotations={MODE_ANNOTATION: asks})
    if asks == "old auto":
        return service(ingress=vip, annotations={OLD_ANNOTATION: "Auto"})
    return service(ingress=vip, traffic_distribution=asks)


@pytest.mark.parametrize("row", TOPOLOGY, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2", "n3"])
@BOTH
def test_topology(row: Row, where: str, version: int) -> None:
    this = node(where, labels={ZONE_LABEL: ZONES[where]} if where in ZONES else {})
    web = asking(row.cells["asks"], version)
    desired = decide_on(where, this, web, *slices("web", row.cells["endpoints"], version=version))
    assert route_of(desired, version) == "yes"
    assert holds(desired.frontends[HTTP[version]], where, row.cells[f"{where} to"])
    assert bool(desired.services[key("web")].notes) is (where in row.cells["said on"].split())


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2"])
def test_families(row: Row, where: str) -> None:
    policy = row.cells["policy"]
    web = service(ingress=tuple(VIPS.values()), local=policy == "Local")
    pods = [piece for version in VIPS for piece in slices("web", row.cells[f"IPv{version}"], version=version)]
    keys = f"zero-endpoints: {row.cells['zero']}" if row.cells["zero"] else ""
    desired = decide_on(where, node(), node("n2"), web, *pods, pool=keys)
    for version in VIPS:
        route, _, cell = row.cells[f"{where} v{version}"].partition(":")
        assert route_of(desired, version) == route
        assert holds(desired.frontends[HTTP[version]], where, cell.strip())


@pytest.mark.parametrize("row", CONNECTIONS, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2"])
@pytest.mark.parametrize("against_its_pool", [False, True])
@BOTH
def test_connections(row: Row, where: str, version: int, against_its_pool: bool) -> None:
    """What the pool says; and what the Service says, if the pool has the opposite of it."""
    protocol, word = Protocol(row.cells["protocol"]), row.cells["not ready"]
    pool = f"not-ready-connections: {word}" if word else ""
    annotations = {}
    if against_its_pool:
        pool = f"not-ready-connections: {'keep' if word != 'keep' else 'reset'}"
        annotations = {NOT_READY_CONNECTIONS_ANNOTATION: word or "reset"}
    web = service(
        ingress=(VIPS[version],),
        ports=[("http", protocol, 80)],
        local=row.cells["policy"] == "Local",
        annotations=annotations,
    )
    pods = slices("web", row.cells["endpoints"], protocol=protocol, version=version)
    desired = decide_on(where, node(), node("n2"), web, *pods, pool=pool)
    assert keeps(desired.frontends[FrontendKey(VIPS[version], protocol, 80)], where, row.cells[f"{where} keeps"])


STATES = st.sampled_from(["", "-", "~", "x"])


@given(
    pods=st.dictionaries(st.sampled_from(["a1", "b1", "a2", "b2", "a3"]), STATES),
    local=st.booleans(),
    readiness=st.sampled_from(["ready", "ready-then-serving"]),
    zero=st.sampled_from(["withdraw", "keep"]),
)
def test_the_nodes_together_leave_no_hole(pods: dict[str, str], local: bool, readiness: str, zero: str) -> None:
    """What holds in every row that nobody wrote: over all nodes, whoever is told of a VIP finds a backend behind it."""
    objects: list[Service | EndpointSlice] = [
        service(local=local),
        *slices("web", ", ".join(map("".join, pods.items()))),
    ]
    pool = f"readiness: {readiness}\nzero-endpoints: {zero}"
    found: dict[str, Desired] = {name: decide_on(name, node(name), *objects, pool=pool) for name in ("n1", "n2", "n3")}
    usable = "" in pods.values() or (readiness != "ready" and "~" in pods.values())
    announcing = [desired for desired in found.values() if route_of(desired, 4) == "yes"]
    assert bool(announcing) is (usable or zero == "keep")
    for desired in announcing:
        assert bool(desired.frontends[HTTP[4]].backends) is usable
        if local:
            assert all(backend.local for backend in desired.frontends[HTTP[4]].backends)
    assert local or len({desired.frontends[HTTP[4]].key for desired in found.values()}) == 1
