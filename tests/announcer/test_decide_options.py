"""Session options, passwords, and who gets which route with which attributes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from announcer.config.types import Advertisement, Config, NodeSelector, PeerConfig, PodCidrs, Pool, SecretRef
from announcer.decide import decide
from announcer.model.bgp import Neighbor, Password, Route
from announcer.model.desired import Desired, Reason
from announcer.model.net import Family
from announcer.model.objects import ObjectKey, Secret
from announcer.snapshot import ConfigView, Snapshot, take_config
from tests.announcer.build import config, endpoints, ip, net, node, service, snapshot

INTERNAL = PeerConfig(name="in", address=ip("10.0.0.1"), peer_asn=64512, my_asn=64512)
EXTERNAL = PeerConfig(name="ex", address=ip("10.0.0.2"), peer_asn=64513, my_asn=64512)
VIP_ROUTE, POD_ROUTE = net("203.0.113.1/32"), net("10.244.1.0/24")
SECRET = ObjectKey("kube-system", "bgp")


def decided(
    *peers: PeerConfig,
    advertisements: tuple[Advertisement, ...] = (Advertisement(),),
    pod_cidrs: PodCidrs | None = None,
    secrets: tuple[Secret, ...] = (),
    labels: dict[str, str] | None = None,
) -> Desired:
    pool: Pool = msgspec.structs.replace(config().pools[0], advertisements=advertisements)
    whole = Config(peers=peers, pools=(pool,), pod_cidrs=pod_cidrs or PodCidrs())
    this = node(labels=labels or {}, pod_cidrs=(POD_ROUTE,))
    seen: Snapshot = snapshot(this, service(), endpoints("web", "10.244.1.10"), *secrets)
    return decide(msgspec.structs.replace(seen, config=take_config(ConfigView(), whole, ())))


def neighbor(peer: PeerConfig, **fields: object) -> Neighbor:
    changed: PeerConfig = msgspec.structs.replace(peer, **fields)
    return decided(changed).neighbors[peer.name]


@pytest.mark.parametrize(
    ("peer", "fields", "ttl_security"),
    [
        (INTERNAL, {}, False),
        (INTERNAL, {"ttl_security": True}, True),
        (EXTERNAL, {}, True),
        (EXTERNAL, {"ttl_security": False}, False),
        (EXTERNAL, {"multihop": True}, False),
    ],
)
def test_ttl_security_is_on_by_default_where_the_peer_is_one_hop_away(
    peer: PeerConfig, fields: dict[str, object], ttl_security: bool
) -> None:
    assert neighbor(peer, **fields).ttl_security is ttl_security


def test_session_options_reach_the_neighbor() -> None:
    found = neighbor(EXTERNAL, source_address=ip("10.0.0.9"), multihop=True, passive=True, graceful_restart=60)
    assert found.local_address == ip("10.0.0.9")
    assert (found.multihop, found.passive, found.graceful_restart) == (True, True, 60)


def with_secret(*secrets: Secret) -> Desired:
    peer = msgspec.structs.replace(INTERNAL, password_secret=SecretRef(name="bgp"))
    return decided(peer, EXTERNAL, secrets=secrets)


def test_a_password_comes_from_its_secret() -> None:
    found = with_secret(Secret(key=SECRET, data={"password": b"swordfish"}))
    assert found.neighbors["in"].password == Password("swordfish")
    assert "swordfish" not in repr(found)


@pytest.mark.parametrize(
    "secret",
    [
        None,
        Secret(key=SECRET, data={}),
        Secret(key=SECRET, data={"password": b""}),
        Secret(key=SECRET, data={"other": b"x"}),
        Secret(key=ObjectKey("default", "bgp"), data={"password": b"x"}),
        Secret(key=SECRET, data={"password": b"x" * 81}),
        Secret(key=SECRET, data={"password": b'a"; }'}),
        Secret(key=SECRET, data={"password": b"line\n"}),
        Secret(key=SECRET, data={"password": b"\xff"}),
    ],
)
def test_a_session_whose_password_cannot_be_had_is_refused_and_no_other(secret: Secret | None) -> None:
    found = with_secret(*([secret] if secret is not None else []))
    assert set(found.neighbors) == {"ex"}
    (refusal,) = found.refused_peers
    assert (refusal.peer, refusal.reason) == ("in", Reason.SECRET_MISSING)
    assert "bgp" in refusal.detail


FULL = Advertisement(
    local_pref=200,
    communities=((1, 2),),
    large_communities=((1, 2, 3),),
    med=50,
    prepend=2,
    peers=(),
    node_selectors=(),
)


def test_attributes_go_where_they_belong() -> None:
    found = decided(INTERNAL, EXTERNAL, advertisements=(FULL,))
    common = {"nlri": VIP_ROUTE, "communities": ((1, 2),), "large_communities": ((1, 2, 3),), "med": 50}
    assert found.rib["in"][VIP_ROUTE].route == Route(**common, local_pref=200, prepend=0)  # type: ignore[arg-type]
    assert found.rib["ex"][VIP_ROUTE].route == Route(**common, local_pref=None, prepend=2)  # type: ignore[arg-type]


def test_an_advertisement_for_one_peer_reaches_no_other() -> None:
    found = decided(INTERNAL, EXTERNAL, advertisements=(Advertisement(peers=("ex",)),))
    assert VIP_ROUTE not in found.rib["in"]
    assert VIP_ROUTE in found.rib["ex"]


def test_an_advertisement_for_other_nodes_is_not_ours() -> None:
    elsewhere = Advertisement(node_selectors=(NodeSelector(match_labels={"rack": "b"}),))
    assert decided(INTERNAL, advertisements=(elsewhere,)).vips[ip("203.0.113.1")].reason is Reason.NOT_ADVERTISED
    here = decided(INTERNAL, advertisements=(elsewhere,), labels={"rack": "b"})
    assert here.vips[ip("203.0.113.1")].reason is None


def test_two_advertisements_that_meet_are_merged_the_same_way_in_any_order() -> None:
    one = Advertisement(communities=((1, 1),), med=10, prepend=3)
    other = Advertisement(communities=((2, 2),), med=5, prepend=1, local_pref=50)
    for advertisements in ((one, other), (other, one)):
        route = decided(INTERNAL, advertisements=advertisements).rib["in"][VIP_ROUTE].route
        assert (route.communities, route.med, route.local_pref) == (
            ((1, 1), (2, 2)),
            5,
            None,
        )  # 100 and not set are the same


def test_pod_cidrs_have_attributes_of_their_own() -> None:
    found = decided(INTERNAL, EXTERNAL, pod_cidrs=PodCidrs(advertisement=Advertisement(peers=("in",), med=7)))
    assert found.rib["in"][POD_ROUTE].route.med == 7
    assert POD_ROUTE not in found.rib["ex"]


@pytest.mark.parametrize(
    "pod_cidrs", [PodCidrs(announce=False), PodCidrs(advertisement=Advertisement(peers=("nobody",)))]
)
def test_pod_cidrs_that_are_not_advertised_say_so(pod_cidrs: PodCidrs) -> None:
    found = decided(INTERNAL, pod_cidrs=pod_cidrs)
    assert POD_ROUTE not in found.rib["in"]
    assert [decision.reason for decision in found.pod_cidrs] == [Reason.NOT_ADVERTISED]


POD_ROUTE6 = ip_network("2001:db8:244:1::/64")
BOTH = (Family.IPV4, Family.IPV6)


def dual_stack(*peers: PeerConfig) -> Desired:
    whole = Config(peers=peers, pools=config().pools)
    seen = snapshot(node(pod_cidrs=(POD_ROUTE, POD_ROUTE6)), service(), endpoints("web", "10.244.1.10"))
    return decide(msgspec.structs.replace(seen, config=take_config(ConfigView(), whole, ())))


def test_each_session_gets_the_families_that_it_carries() -> None:
    both = msgspec.structs.replace(EXTERNAL, families=BOTH)
    over_ipv6 = PeerConfig(name="six", address=ip_address("2001:db8::1"), peer_asn=64512, my_asn=64512)
    found = dual_stack(INTERNAL, both, over_ipv6)
    assert set(found.rib["in"]) == {VIP_ROUTE, POD_ROUTE}
    assert set(found.rib["ex"]) == {VIP_ROUTE, POD_ROUTE, POD_ROUTE6}
    assert set(found.rib["six"]) == {POD_ROUTE6}
    assert [decision.reason for decision in found.pod_cidrs] == [None, None]


def test_what_no_session_carries_says_so() -> None:
    found = dual_stack(INTERNAL)
    assert [decision.reason for decision in found.pod_cidrs] == [None, Reason.FAMILY_NOT_CARRIED]
    assert "families" in found.pod_cidrs[1].detail
    found = dual_stack(msgspec.structs.replace(INTERNAL, families=(Family.IPV6,)))
    assert [decision.reason for decision in found.pod_cidrs] == [Reason.FAMILY_NOT_CARRIED, None]
    assert found.vips[ip("203.0.113.1")].reason is Reason.FAMILY_NOT_CARRIED
    assert set(found.rib["in"]) == {POD_ROUTE6}


def test_of_peers_with_one_address_the_first_is_run_and_the_others_say_why_not() -> None:
    """Elsewhere they may be apart: which node has which labels the file does not say."""
    again = msgspec.structs.replace(INTERNAL, name="in:1790", port=1790)
    found = decided(again, EXTERNAL, INTERNAL)
    assert set(found.neighbors) == {"in", "ex"}
    (refusal,) = found.refused_peers
    assert (refusal.peer, refusal.reason) == ("in:1790", Reason.PEER_ADDRESS_TAKEN)
    elsewhere = msgspec.structs.replace(INTERNAL, node_selectors=(NodeSelector(match_labels={"rack": "b"}),))
    assert set(decided(again, elsewhere).neighbors) == {"in:1790"}


def test_every_peer_may_have_another_local_asn() -> None:
    wide = msgspec.structs.replace(EXTERNAL, my_asn=4200000001)
    found = decided(INTERNAL, wide)
    assert [(n.local_asn, n.internal) for n in found.neighbors.values()] == [(4200000001, False), (64512, True)]
