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
from announcer.model.names import READINESS_ANNOTATION, ZERO_ENDPOINTS_ANNOTATION
from announcer.model.net import Protocol
from announcer.model.objects import EndpointSlice, Node, Service
from tests.announcer.build import key, node, service
from tests.announcer.conformance.world import VIP, Row, backends, decide_on, route_of, rows, slices

HTTP = FrontendKey(VIP, Protocol.TCP, 80)
TRAFFIC, SHARED, TOPOLOGY = (list(rows(f"{name}.md")) for name in ("traffic", "shared", "topology"))
ZONES = {"n1": "za", "n2": "zb"}
NODES = {"excluded": node(labels={EXCLUDE_LABEL: ""}), "unreachable": node(conditions={NETWORK_UNAVAILABLE: "True"})}


def test_the_tables_are_read_whole() -> None:
    assert (len(TRAFFIC), len(SHARED), len(TOPOLOGY)) == (59, 14, 23)


def traffic_objects(row: Row) -> list[Node | Service | EndpointSlice]:
    policy = row.cells.get("policy") or row.section.rpartition(" ")[2]
    assert policy in ("Cluster", "Local")
    web = service(local=policy == "Local", publish_not_ready=row.cells.get("publish") == "yes")
    this = NODES.get(row.cells.get("n1 is", ""), node(conditions={NETWORK_UNAVAILABLE: "False"}))
    known = () if row.cells.get("n1 is") == "unknown" else (this, node("n2"))
    return [*known, web, *slices("web", row.cells["endpoints"])]


@pytest.mark.parametrize("row", TRAFFIC, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2"])
def test_traffic(row: Row, where: str) -> None:
    keys = {"readiness": row.cells.get("readiness"), "zero-endpoints": row.cells.get("zero")}
    pool = "\n".join(f"{name}: {word}" for name, word in keys.items() if word)
    desired = decide_on(where, *traffic_objects(row), pool=pool)
    assert route_of(desired) == row.cells[f"{where} route"]
    assert desired.frontends[HTTP].backends == backends(where, row.cells[f"{where} to"])


@pytest.mark.parametrize("row", [row for row in TRAFFIC if "readiness" in row.cells], ids=lambda row: row.place)
def test_a_service_overrules_its_pool(row: Row) -> None:
    """The same table once more, with annotations against a pool that has the opposite of everything."""
    readiness, zero = row.cells["readiness"] or "ready-then-serving", row.cells["zero"] or "withdraw"
    annotations = {READINESS_ANNOTATION: readiness, ZERO_ENDPOINTS_ANNOTATION: zero}
    web = service(local=row.section.endswith("Local"), annotations=annotations)
    against = f"readiness: {'ready' if readiness != 'ready' else 'ready-then-serving'}\n"
    against += f"zero-endpoints: {'keep' if zero == 'withdraw' else 'withdraw'}"
    desired = decide_on("n1", node(), web, *slices("web", row.cells["endpoints"]), pool=against)
    assert route_of(desired) == row.cells["n1 route"]
    assert desired.frontends[HTTP].backends == backends("n1", row.cells["n1 to"])
    assert desired.services[key("web")].notes == ()


_SERVICE = re.compile(r"(?P<port>\d+)(/(?P<protocol>\w+))? (?P<policy>Cluster|Local)(?P<keep> keep)?:(?P<pods>.*)")


def shared_objects(row: Row) -> list[Service | EndpointSlice]:
    objects: list[Service | EndpointSlice] = []
    for year, name in enumerate(("first", "second"), 2025):
        match = _SERVICE.fullmatch(row.cells[name])
        assert match is not None, row.cells[name]
        protocol = Protocol(match["protocol"] or "TCP")
        objects.append(
            service(
                name,
                ports=[("http", protocol, int(match["port"]))],
                local=match["policy"] == "Local",
                creation_timestamp=f"{year}-01-01T00:00:00Z",
                annotations={ZERO_ENDPOINTS_ANNOTATION: "keep"} if match["keep"] else {},
            )
        )
        objects += slices(name, match["pods"], protocol=protocol)
    return objects


@pytest.mark.parametrize("row", SHARED, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2"])
def test_shared(row: Row, where: str) -> None:
    desired = decide_on(where, node(), node("n2"), *shared_objects(row))
    assert route_of(desired) == row.cells[f"{where} route"]
    expected: dict[FrontendKey, list[str]] = {}
    for word in row.cells[f"{where} serves"].split(" "):
        number, _, pods = word.partition("=")
        port, _, protocol = number.partition("/")
        held = expected.setdefault(FrontendKey(VIP, Protocol(protocol or "TCP"), int(port)), [])
        held += pods.split()
    for one in list(expected):
        assert desired.frontends[one].backends == backends(where, " ".join(expected[one]))
    assert set(desired.frontends) == set(expected)
    conflict = row.cells["first"].split()[0] == row.cells["second"].split()[0]
    assert desired.services[key("second")].reason == (Reason.FRONTEND_CONFLICT if conflict else None)


def asking(asks: str) -> Service:
    if asks in ("auto", "disabled"):
        return service(annotations={MODE_ANNOTATION: asks})
    if asks == "old auto":
        return service(annotations={OLD_ANNOTATION: "Auto"})
    return service(traffic_distribution=asks)


@pytest.mark.parametrize("row", TOPOLOGY, ids=lambda row: row.place)
@pytest.mark.parametrize("where", ["n1", "n2", "n3"])
def test_topology(row: Row, where: str) -> None:
    this = node(where, labels={ZONE_LABEL: ZONES[where]} if where in ZONES else {})
    desired = decide_on(where, this, asking(row.cells["asks"]), *slices("web", row.cells["endpoints"]))
    assert route_of(desired) == "yes"
    assert desired.frontends[HTTP].backends == backends(where, row.cells[f"{where} to"])
    assert bool(desired.services[key("web")].notes) is (where in row.cells["said on"].split())


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
    announcing = [desired for desired in found.values() if route_of(desired) == "yes"]
    assert bool(announcing) is (usable or zero == "keep")
    for desired in announcing:
        assert bool(desired.frontends[HTTP].backends) is usable
        if local:
            assert all(backend.local for backend in desired.frontends[HTTP].backends)
    assert local or len({desired.frontends[HTTP].key for desired in found.values()}) == 1
