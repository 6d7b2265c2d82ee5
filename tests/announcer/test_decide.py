"""What is decided, and the one reason where it is "no"."""

from __future__ import annotations

import msgspec
import pytest

from announcer.decide import decide
from announcer.decide.services import PROXY_LABEL
from announcer.decide.topology import ZONE_LABEL
from announcer.decide.vips import EXCLUDE_LABEL
from announcer.model.desired import BackendCount, Desired, Reason
from announcer.model.lb import Backend, FrontendKey
from announcer.model.net import Protocol
from announcer.model.objects import EndpointSlice, Node, Service
from announcer.snapshot import ConfigState, ConfigView, Snapshot
from tests.announcer.build import CONFIG, endpoints, ip, key, net, node, service, snapshot

VIP = ip("203.0.113.1")
HTTP = FrontendKey(VIP, Protocol.TCP, 80)


def routes_of(desired: Desired, peer: str = "10.0.0.1") -> set[str]:
    return {str(nlri) for nlri in desired.rib[peer]}


def test_a_vip_with_a_ready_endpoint_is_announced_to_the_peer() -> None:
    desired = decide(snapshot(node(), service(), endpoints("web", "10.244.1.10")))
    assert desired.vips[VIP].reason is None
    assert routes_of(desired) == {"203.0.113.1/32"}
    assert desired.rib["10.0.0.1"][net("203.0.113.1/32")].vips == (VIP,)
    assert desired.frontends[HTTP].backends == (Backend(ip("10.244.1.10"), 8080, local=True),)


REFUSALS: list[tuple[str, tuple[Node | Service | EndpointSlice, ...], Reason]] = [
    ("no slice at all", (service(),), Reason.NO_ENDPOINTS),
    ("none ready", (service(), endpoints("web", "10.244.1.10", ready=False)), Reason.NO_ENDPOINTS),
    (
        "a port of another name",
        (service(), endpoints("web", "10.244.1.10", ports=[("other", Protocol.TCP, 8080)])),
        Reason.NO_ENDPOINTS,
    ),
    (
        "a port of another protocol",
        (service(), endpoints("web", "10.244.1.10", ports=[("http", Protocol.UDP, 8080)])),
        Reason.NO_ENDPOINTS,
    ),
    (
        "policy Local, endpoints elsewhere",
        (service(local=True), endpoints("web", "10.244.2.10", node_name="n2")),
        Reason.NO_LOCAL_ENDPOINTS,
    ),
    ("policy Local, none anywhere", (service(local=True),), Reason.NO_ENDPOINTS),
    (
        "node excluded",
        (node(labels={EXCLUDE_LABEL: ""}), service(), endpoints("web", "10.244.1.10")),
        Reason.NODE_EXCLUDED,
    ),
]


@pytest.mark.parametrize(("objects", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_vip_that_may_not_be_announced(objects: tuple[Node | Service | EndpointSlice, ...], reason: Reason) -> None:
    desired = decide(snapshot(*objects))
    assert desired.vips[VIP].reason is reason
    assert routes_of(desired) == set()
    assert HTTP in desired.frontends, "its packets are dropped here rather than looping"


SERVICE_REFUSALS: list[tuple[str, Service, Reason]] = [
    ("another type", service(type="ClusterIP"), Reason.NOT_LOAD_BALANCER),
    ("another class", service(load_balancer_class="example.com/other"), Reason.CLASS_NOT_OURS),
    ("no address", service(vip=None), Reason.NO_IP_ALLOCATED),
    ("outside the pools", service(vip="198.18.0.1"), Reason.IP_NOT_ALLOWED),
    ("the address of a peer", service(vip="10.0.0.1"), Reason.IP_NOT_ALLOWED),
    ("the address of a node", service(vip="203.0.113.9"), Reason.IP_NOT_ALLOWED),
    ("inside a Pod CIDR", service(vip="203.0.113.14"), Reason.IP_NOT_ALLOWED),
    ("loopback", service(vip="127.0.0.1"), Reason.IP_NOT_ALLOWED),
    ("another proxy", service(labels={PROXY_LABEL: "x"}), Reason.CLASS_NOT_OURS),
]


@pytest.mark.parametrize(
    ("refused", "reason"), [row[1:] for row in SERVICE_REFUSALS], ids=[row[0] for row in SERVICE_REFUSALS]
)
def test_a_service_that_gets_no_vip_here(refused: Service, reason: Reason) -> None:
    this = node(addresses=(ip("203.0.113.9"),), pod_cidrs=(net("203.0.113.12/30"),))
    desired = decide(snapshot(this, refused, endpoints("web", "10.244.1.10")))
    assert desired.services[key("web")].reason is reason
    assert desired.services[key("web")].detail
    assert not desired.vips
    assert not desired.frontends, "what is not allowed is not served either"
    assert routes_of(desired) == {"203.0.113.12/30"}


def test_all_slices_of_a_service_count_together() -> None:
    desired = decide(
        snapshot(
            service(),
            endpoints("web", "10.244.1.10", name="web-1"),
            endpoints("web", "10.244.2.10", name="web-2", node_name="n2"),
            endpoints("web", "10.244.2.11", name="web-3", node_name="n2", ready=False),
        )
    )
    backends = (Backend(ip("10.244.1.10"), 8080, local=True), Backend(ip("10.244.2.10"), 8080, local=False))
    assert desired.frontends[HTTP].backends == backends
    assert desired.vips[VIP].backends == BackendCount(total=3, serving=2, local=1)


def test_an_endpoint_that_is_ready_in_one_of_two_slices_serves() -> None:
    """While the control plane moves an endpoint from one slice to another, it stands in both."""
    desired = decide(
        snapshot(
            service(),
            endpoints("web", "10.244.1.10", name="web-1", ready=False),
            endpoints("web", "10.244.1.10", name="web-2"),
        )
    )
    assert desired.frontends[HTTP].backends == (Backend(ip("10.244.1.10"), 8080, local=True),)


def test_other_nodes_may_send_to_every_endpoint_here() -> None:
    """They may know already that it is ready, or still believe that it is."""
    mine, other = Backend(ip("10.244.1.10"), 8080, local=True), Backend(ip("10.244.1.11"), 8080, local=True)
    pods = (
        endpoints("web", "10.244.1.10", name="web-1"),
        endpoints("web", "10.244.1.11", name="web-2", ready=False),
        endpoints("web", "10.244.2.10", name="web-3", node_name="n2", ready=False),
    )
    found = decide(snapshot(service(), *pods)).frontends[HTTP]
    assert (found.backends, found.for_others) == ((mine,), (other,))
    assert decide(snapshot(service(local=True), *pods)).frontends[HTTP].for_others == (), "they send nothing"


def test_an_endpoint_that_is_meant_for_another_zone_is_for_other_nodes() -> None:
    here = endpoints("web", "10.244.1.10", name="web-1")
    far = endpoints("web", "10.244.1.11", name="web-2")
    hinted = [
        msgspec.structs.replace(
            piece, endpoints=tuple(msgspec.structs.replace(one, for_zones=(zone,)) for one in piece.endpoints)
        )
        for piece, zone in ((here, "a"), (far, "b"))
    ]
    found = decide(snapshot(node(labels={ZONE_LABEL: "a"}), service(), *hinted)).frontends[HTTP]
    assert found.backends == (Backend(ip("10.244.1.10"), 8080, local=True),)
    assert found.for_others == (Backend(ip("10.244.1.11"), 8080, local=True),)


def test_what_other_nodes_send_to_one_address_goes_to_one_port() -> None:
    """Their packets name the address alone, and that of a member is the member's."""
    one, two = [("http", Protocol.TCP, 8080)], [("http", Protocol.TCP, 9090)]
    pods = (
        endpoints("web", "10.244.1.10", name="web-1", ports=one),
        endpoints("web", "10.244.1.10", "10.244.1.11", name="web-2", ports=two, ready=False),
        endpoints("web", "10.244.1.11", name="web-3", ports=one, ready=False),
    )
    found = decide(snapshot(service(), *pods)).frontends[HTTP]
    assert found.for_others == (Backend(ip("10.244.1.11"), 8080, local=True),)


def test_policy_local_serves_local_endpoints_alone() -> None:
    desired = decide(
        snapshot(
            service(local=True),
            endpoints("web", "10.244.1.10", name="web-1"),
            endpoints("web", "10.244.2.10", name="web-2", node_name="n2"),
        )
    )
    assert desired.frontends[HTTP].backends == (Backend(ip("10.244.1.10"), 8080, local=True),)


def test_a_port_that_nobody_serves_does_not_take_the_others_down() -> None:
    two = service(ports=[("http", Protocol.TCP, 80), ("dns", Protocol.UDP, 53)])
    desired = decide(snapshot(two, endpoints("web", "10.244.1.10")))
    assert desired.vips[VIP].reason is None
    assert desired.frontends[FrontendKey(VIP, Protocol.UDP, 53)].backends == ()


def test_a_shared_vip_is_withheld_where_one_of_its_services_has_endpoints_elsewhere_only() -> None:
    desired = decide(
        snapshot(
            service("web", local=True),
            endpoints("web", "10.244.1.10"),
            service("dns", local=True, ports=[("dns", Protocol.UDP, 53)]),
            endpoints("dns", "10.244.2.10", node_name="n2", ports=[("dns", Protocol.UDP, 5353)]),
        )
    )
    assert desired.vips[VIP].reason is Reason.NO_LOCAL_ENDPOINTS
    assert "203.0.113.1:53/UDP" in desired.vips[VIP].detail


def test_a_port_claimed_twice_goes_to_the_older_service() -> None:
    desired = decide(
        snapshot(
            service("young", creation_timestamp="2026-02-01T00:00:00Z"),
            service("old", creation_timestamp="2026-01-01T00:00:00Z"),
            endpoints("young", "10.244.1.10"),
            endpoints("old", "10.244.1.11"),
        )
    )
    assert desired.frontends[HTTP].backends == (Backend(ip("10.244.1.11"), 8080, local=True),)
    assert desired.vips[VIP].services == (key("old"), key("young"))
    assert desired.services[key("old")].reason is None
    assert desired.services[key("young")].reason is Reason.FRONTEND_CONFLICT
    assert "default/old" in desired.services[key("young")].detail


def test_pod_cidrs_of_this_node_are_announced_and_of_no_other() -> None:
    own = node(pod_cidrs=(net("10.244.1.0/24"),))
    other = node("n2", pod_cidrs=(net("10.244.2.0/24"),))
    desired = decide(snapshot(own, other))
    assert routes_of(desired) == {"10.244.1.0/24"}
    assert desired.rib["10.0.0.1"][net("10.244.1.0/24")].vips == ()


def test_pod_cidrs_and_vips_do_not_displace_each_other() -> None:
    own = node(pod_cidrs=(net("10.244.1.0/24"),))
    desired = decide(snapshot(own, service(), endpoints("web", "10.244.1.10")))
    assert routes_of(desired) == {"10.244.1.0/24", "203.0.113.1/32"}


SELECTORS = """
peers:
- {peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}
- peer-address: 10.0.0.2
  peer-asn: 64513
  my-asn: 64512
  node-selectors:
  - match-labels: {rack: a}
address-pools:
- {name: main, protocol: bgp, addresses: [203.0.113.0/28]}
"""


@pytest.mark.parametrize(("rack", "chosen"), [("a", {"10.0.0.1", "10.0.0.2"}), ("b", {"10.0.0.1"})])
def test_node_selectors_choose_the_peers(rack: str, chosen: set[str]) -> None:
    desired = decide(snapshot(node(labels={"rack": rack}), config_text=SELECTORS))
    assert set(desired.neighbors) == chosen
    assert {refusal.peer for refusal in desired.refused_peers} == {"10.0.0.1", "10.0.0.2"} - chosen


def test_a_node_that_no_source_knows_gets_only_peers_without_selectors() -> None:
    assert set(decide(snapshot(config_text=SELECTORS)).neighbors) == {"10.0.0.1"}


ATTRIBUTES = """
peers:
- {peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}
- {peer-address: 10.0.0.2, peer-asn: 64513, my-asn: 64512}
bgp-communities: {red: "64512:1"}
address-pools:
- name: main
  protocol: bgp
  addresses: [203.0.113.0/28]
  bgp-advertisements:
  - {localpref: 200, communities: [red]}
  - {aggregation-length: 28, communities: ["64512:2"]}
"""


def test_advertisements_give_their_attributes_and_lengths() -> None:
    desired = decide(snapshot(service(), endpoints("web", "10.244.1.10"), config_text=ATTRIBUTES))
    internal, external = desired.rib["10.0.0.1"], desired.rib["10.0.0.2"]
    assert set(map(str, internal)) == set(map(str, external)) == {"203.0.113.1/32", "203.0.113.0/28"}
    assert internal[net("203.0.113.1/32")].route.local_pref == 200
    assert internal[net("203.0.113.1/32")].route.communities == ((64512, 1),)
    assert internal[net("203.0.113.0/28")].route.local_pref is None
    assert external[net("203.0.113.1/32")].route.local_pref is None, "LOCAL_PREF is for internal peers only"
    assert external[net("203.0.113.0/28")].route.communities == ((64512, 2),)


def test_vips_of_one_aggregate_share_its_route() -> None:
    aggregate = ATTRIBUTES.replace("  - {localpref: 200, communities: [red]}\n", "")
    desired = decide(
        snapshot(
            service("a", vip="203.0.113.1"),
            endpoints("a", "10.244.1.10"),
            service("b", vip="203.0.113.2"),
            endpoints("b", "10.244.1.11"),
            service("c", vip="203.0.113.3"),
            config_text=aggregate,
        )
    )
    (route,) = desired.rib["10.0.0.1"].values()
    assert route.vips == (ip("203.0.113.1"), ip("203.0.113.2")), "the one without endpoints does not stand behind it"


def test_the_order_of_the_input_changes_nothing() -> None:
    objects: list[Node | Service | EndpointSlice] = [
        service("a", vip="203.0.113.1"),
        service("b", vip="203.0.113.1", ports=[("x", Protocol.TCP, 81)]),
        endpoints("a", "10.244.1.10", "10.244.1.11", name="a-1"),
        endpoints("a", "10.244.1.12", name="a-2"),
        endpoints("b", "10.244.1.13", ports=[("x", Protocol.TCP, 8081)]),
        node(pod_cidrs=(net("10.244.1.0/24"),)),
    ]
    assert decide(snapshot(*objects)) == decide(snapshot(*reversed(objects)))


@pytest.mark.parametrize(
    ("state", "reason"),
    [(ConfigState.MISSING, Reason.CONFIG_MISSING), (ConfigState.INVALID, Reason.CONFIG_INVALID)],
)
def test_without_a_good_configuration_nothing_is_decided(state: ConfigState, reason: Reason) -> None:
    seen = snapshot(service(), config=ConfigView(state=state))
    desired = decide(seen)
    assert not desired.synced, "so that a plan leaves everything as it is"
    assert desired.services[key("web")].reason is reason


def test_unsynced_sources_are_passed_on() -> None:
    assert decide(snapshot(synced=True)).synced
    assert not decide(snapshot(synced=False)).synced


def test_no_peer_for_this_node_is_a_reason() -> None:
    without = CONFIG.replace("- {peer-address: 10.0.0.1, peer-asn: 64512, my-asn: 64512}", "[]").replace(
        "peers:\n[]", "peers: []"
    )
    desired = decide(snapshot(service(), endpoints("web", "10.244.1.10"), config_text=without))
    assert desired.vips[VIP].reason is Reason.NO_PEERS


def test_an_allocated_address_counts_like_one_from_the_status() -> None:
    seen: Snapshot = snapshot(service(vip=None), endpoints("web", "10.244.1.10"), allocated={key("web"): (VIP,)})
    assert decide(seen).vips[VIP].reason is None
