"""LB IPAM without a cluster: the same answer on every node, nobody moved without need, nothing given twice."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.config import Config
from announcer.ipam import Allocation, allocate
from announcer.model.desired import Reason
from announcer.model.net import IPAddress, Protocol
from announcer.model.objects import ObjectKey, Service, ServicePort
from tests.announcer.ipam.pools import config, pool_of

POOL_ANNOTATION = "metallb.universe.tf/address-pool"
SHARE_ANNOTATION = "metallb.universe.tf/allow-shared-ip"


def service(
    name: str,
    *,
    requested: str = "",
    ingress: str = "",
    pool: str = "",
    share: str = "",
    ports: str = "80/TCP",
    cluster_ips: str = "",
    created: str = "",
    **fields: str,
) -> Service:
    annotations = {POOL_ANNOTATION: pool, SHARE_ANNOTATION: share}
    return Service(
        key=ObjectKey("default", name),
        type=fields.get("type", "LoadBalancer"),
        load_balancer_class=fields.get("load_balancer_class", ""),
        annotations={key: value for key, value in annotations.items() if value},
        requested=_addresses(requested),
        ingress=_addresses(ingress),
        cluster_ips=_addresses(cluster_ips),
        creation_timestamp=created,
        ports=tuple(
            ServicePort(port=int(port), protocol=Protocol(protocol))
            for port, _, protocol in (word.partition("/") for word in ports.split())
        ),
    )


def _addresses(text: str) -> tuple[IPAddress, ...]:
    return tuple(ip_address(word) for word in text.split())


def given_to(found: dict[ObjectKey, Allocation]) -> dict[str, str]:
    return {key.name: " ".join(map(str, item.addresses)) for key, item in found.items()}


def one(service: Service, *others: Service, using: Config | None = None) -> Allocation:
    return allocate(using or config(), [*others, service])[service.key]


# --- one rule each ----------------------------------------------------------------------------------------------


def test_only_services_that_are_ours_get_an_address() -> None:
    found = allocate(config(), [service("a"), service("b", type="ClusterIP"), service("c", load_balancer_class="x/y")])
    assert [key.name for key in found] == ["a"]
    address = found[ObjectKey("default", "a")].addresses[0]
    assert address in ip_network("192.0.2.0/29")
    assert found[ObjectKey("default", "a")] == Allocation(addresses=(address,), pool="small")


def test_an_address_in_status_is_kept_wherever_it_is() -> None:
    assert one(service("a", ingress="198.51.100.9")) == Allocation(addresses=_addresses("198.51.100.9"), pool="manual")
    assert one(service("a", ingress="10.9.9.9")) == Allocation(addresses=_addresses("10.9.9.9"))
    held = service("held", ingress="192.0.2.2")
    assert one(service("a", requested="192.0.2.2"), held).reason is Reason.NO_IP_ALLOCATED
    assert one(held, service("a", requested="192.0.2.2", created="2020")).addresses == held.ingress


def test_a_requested_address_is_given_even_from_a_pool_without_auto_assign() -> None:
    assert one(service("a", requested="198.51.100.7")) == Allocation(
        addresses=_addresses("198.51.100.7"), pool="manual"
    )


@pytest.mark.parametrize(
    ("asking", "reason", "detail"),
    [
        (service("a", requested="10.0.0.1"), Reason.IP_NOT_ALLOWED, "the requested 10.0.0.1 is in no pool"),
        (
            service("a", requested="192.0.2.0"),
            Reason.IP_NOT_ALLOWED,
            'the pool "small" avoids addresses that end in .0',
        ),
        (
            service("a", requested="192.0.2.3", pool="manual"),
            Reason.IP_NOT_ALLOWED,
            'the requested 192.0.2.3 is in the pool "small", but metallb.universe.tf/address-pool says "manual"',
        ),
        (
            service("a", requested="192.0.2.2"),
            Reason.NO_IP_ALLOCATED,
            "requested, but 192.0.2.2 belongs to the Service default/held; to share it, give both the same annotation",
        ),
        (service("a", requested="192.0.2.1"), Reason.NO_IP_ALLOCATED, "192.0.2.1 is the address of the peer 192.0.2.1"),
        (
            service("a", pool="nope"),
            Reason.NO_IP_ALLOCATED,
            'there is no pool "nope", which metallb.universe.tf/address-pool asks for; pools: "small", "manual", "six"',
        ),
        (
            service("a", cluster_ips="::1", pool="small"),
            Reason.NO_IP_ALLOCATED,
            'no IPv6 address is free in the pool "small"',
        ),
    ],
)
def test_a_refusal_says_why(asking: Service, reason: Reason, detail: str) -> None:
    found = one(asking, service("held", ingress="192.0.2.2"))
    assert (found.addresses, found.pool, found.reason) == ((), "", reason)
    assert detail in found.detail


def test_without_an_automatic_pool_nothing_is_given() -> None:
    found = one(service("a"), using=pool_of("192.0.2.0/24", more=", auto-assign: false"))
    assert (found.reason, found.detail) == (Reason.NO_IP_ALLOCATED, "no pool has auto-assign")
    assert one(service("a"), using=pool_of("192.0.2.0/24", more=", auto-assign: true")).addresses
    assert one(service("a"), using=config("")).detail == "the bgp-config has no address-pools"


def test_a_pool_can_be_named_even_without_auto_assign() -> None:
    found = one(service("a", pool="manual"))
    assert found.pool == "manual"
    assert found.addresses[0] in ip_network("198.51.100.0/24")


def test_a_pool_is_used_up_and_no_further() -> None:
    services = [service(f"s{number}") for number in range(9)]
    found = allocate(config(), services)
    # Eight addresses, without .0 (avoided) and .1 (a peer).
    assert sorted(filter(None, given_to(found).values())) == [f"192.0.2.{number}" for number in range(2, 8)]
    refused = [item for item in found.values() if item.reason]
    assert [item.detail for item in refused] == ['no IPv4 address is free in the pool "small", "six"'] * 3


def test_buggy_addresses_are_left_out_only_where_that_is_asked_for() -> None:
    services = [service(f"s{number}") for number in range(512)]
    avoiding = allocate(pool_of("10.0.0.128-10.0.2.127", more=", avoid-buggy-ips: true"), services)
    ends = [str(item.addresses[0]).rpartition(".")[2] for item in avoiding.values() if item.addresses]
    assert len(ends) == 508
    assert not {"0", "255"} & set(ends)
    assert all(item.addresses for item in allocate(pool_of("10.0.0.128-10.0.2.127"), services).values())


def test_ranges_and_pools_are_used_in_their_order() -> None:
    two = config(
        "address-pools: [{name: a, protocol: bgp, addresses: [10.0.0.1/32, 10.9.0.0/31]},"
        " {name: b, protocol: bgp, addresses: [10.0.0.0/32]}]"
    )
    found = allocate(two, [service(f"s{number}", created=str(number)) for number in range(4)])
    assert [item.pool for item in found.values()] == ["a", "a", "a", "b"]
    assert given_to(found)["s0"] == "10.0.0.1"
    assert given_to(found)["s3"] == "10.0.0.0"


@pytest.mark.parametrize(
    ("cluster_ips", "versions"), [("", [4]), ("10.96.0.1", [4]), ("fd00::1", [6]), ("10.96.0.1 fd00::1", [4, 6])]
)
def test_the_families_are_those_of_the_cluster_ips(cluster_ips: str, versions: list[int]) -> None:
    found = one(service("a", cluster_ips=cluster_ips))
    assert [address.version for address in found.addresses] == versions


def test_without_cluster_ips_ipv6_is_given_only_by_pools_that_have_nothing_else() -> None:
    assert one(service("a"), using=pool_of("'2001:db8::/64'")).addresses[0].version == 6


# --- sharing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "shared", "detail"),
    [
        (service("a", share="k"), service("b", share="k", ports="443/TCP"), True, ""),
        (service("a", share="k", ports="53/TCP"), service("b", share="k", ports="53/UDP"), True, ""),
        (service("a", share="k"), service("b", share="k", ports="443/TCP 80/TCP"), False, "both have the port 80/TCP"),
        (service("a", share="k"), service("b", share="l", ports="443/TCP"), False, "give both the same annotation"),
        (service("a", share="k"), service("b", ports="443/TCP"), False, "give both the same annotation"),
        (service("a"), service("b", ports="443/TCP"), False, "give both the same annotation"),
    ],
)
def test_an_address_is_shared_by_agreement_only(first: Service, second: Service, shared: bool, detail: str) -> None:
    """By the only address of a pool, so that sharing is the only way."""
    found = allocate(pool_of("192.0.2.9/32"), [second, first])
    assert given_to(found) == {"a": "192.0.2.9", "b": "192.0.2.9" if shared else ""}
    wanting = [
        service(
            item.key.name,
            share=item.annotations.get(SHARE_ANNOTATION, ""),
            ports=" ".join(f"{port.port}/{port.protocol}" for port in item.ports),
            requested="192.0.2.9",
        )
        for item in (first, second)
    ]
    found = allocate(pool_of("192.0.2.0/24"), wanting)
    assert given_to(found) == {"a": "192.0.2.9", "b": "192.0.2.9" if shared else ""}
    assert detail in found[second.key].detail


def test_services_that_share_meet_at_one_address_of_a_large_pool() -> None:
    services = [service(f"s{number}", share="k", ports=f"{number + 1}/TCP") for number in range(50)]
    assert len(set(given_to(allocate(pool_of("10.0.0.0/16"), services)).values())) == 1


# --- properties -------------------------------------------------------------------------------------------------

_NAMES = [f"svc{number}" for number in range(24)]
_SMALL = pool_of("10.0.0.0/29", "10.1.0.0/30")


@st.composite
def _services(draw: st.DrawFn) -> list[Service]:
    found = []
    for name in draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=16)):
        share = draw(st.sampled_from(["", "", "k"]))
        found.append(
            service(
                name,
                share=share,
                ports=draw(st.sampled_from(["80/TCP", "443/TCP", "80/UDP"])),
                created=draw(st.sampled_from(["", "2025", "2026"])),
                requested=draw(st.sampled_from(["", "", "", "10.0.0.3", "10.1.0.1", "10.7.7.7"])),
                ingress=draw(st.sampled_from(["", "", "", "", "10.0.0.5"])),
                pool=draw(st.sampled_from(["", "", "p", "q"])),
            )
        )
    return found


@given(_services(), st.randoms())
def test_the_order_of_the_services_does_not_matter(services: list[Service], random: object) -> None:
    expected = allocate(_SMALL, services)
    shuffled = list(services)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert allocate(_SMALL, shuffled) == expected


@given(_services())
def test_every_service_gets_an_allowed_address_or_a_reason(services: list[Service]) -> None:
    found = allocate(_SMALL, services)
    assert set(found) == {item.key for item in services}
    for item in services:
        allocation = found[item.key]
        assert bool(allocation.addresses) == (allocation.reason is None) == (not allocation.detail)
        for address in allocation.addresses:
            assert address in item.ingress or _SMALL.pools[0].allows(address)
        if item.requested and not item.ingress and allocation.addresses:
            assert allocation.addresses == item.requested


@given(_services())
def test_nothing_is_given_twice_but_by_agreement(services: list[Service]) -> None:
    found = allocate(_SMALL, services)
    for number, item in enumerate(services):
        for other in services[:number]:
            common = set(found[item.key].addresses) & set(found[other.key].addresses)
            if not common or (item.ingress and other.ingress):
                continue
            assert item.annotations.get(SHARE_ANNOTATION) == other.annotations.get(SHARE_ANNOTATION) == "k"
            assert not set(item.ports) & set(other.ports)


@given(_services())
@settings(max_examples=200)
def test_who_moves_was_in_the_way_of_somebody(services: list[Service]) -> None:
    """Without one Service, another one changes only along a chain of addresses that begins with that Service's."""
    services = [item for item in services if not item.annotations.get(SHARE_ANNOTATION)]
    if not services:
        return
    gone, rest = services[0], services[1:]
    with_it, without = allocate(_SMALL, services), allocate(_SMALL, rest)
    moved = {item.key for item in rest if with_it[item.key].addresses != without[item.key].addresses}
    taken_from = {address for key in moved for address in without[key].addresses}
    now_held = {address for key in {*moved, gone.key} for address in with_it[key].addresses}
    # Each address that somebody lost is now held by the new Service or by another one that moved.
    assert taken_from <= now_held
    if not with_it[gone.key].addresses:
        assert not moved


def test_a_younger_service_moves_nobody() -> None:
    pool = pool_of("10.0.0.0/28")
    services = [service(f"s{number}", created=f"2026-{number:02}") for number in range(20)]
    before: dict[ObjectKey, Allocation] = {}
    for count in range(1, 21):
        now = allocate(pool, services[:count])
        assert {key: now[key] for key in before} == before
        before = now


def test_in_a_pool_with_room_hardly_anybody_moves_when_one_goes() -> None:
    pool = pool_of("10.0.0.0/22")
    services = [service(f"s{number}") for number in range(200)]
    full = given_to(allocate(pool, services))
    moved = 0
    for gone in services[::4]:
        now = given_to(allocate(pool, [item for item in services if item is not gone]))
        moved += sum(now[name] != address for name, address in full.items() if name in now)
    # 200 of 1024 addresses: about a tenth of the Services did not get their first choice.
    assert moved <= 12


def test_a_range_that_is_added_at_the_end_moves_nobody() -> None:
    services = [service(f"s{number}") for number in range(100)]
    before = allocate(pool_of("10.0.0.0/24"), services)
    assert allocate(pool_of("10.0.0.0/24", "10.5.0.0/16"), services) == before


def test_large_pools_and_full_pools_take_no_time() -> None:
    services = [service(f"s{number}") for number in range(5000)]
    began = time.process_time()
    assert all(item.addresses for item in allocate(pool_of("10.0.0.0/8", "'2001:db8::/32'"), services).values())
    full = allocate(pool_of("10.0.0.0/20"), services)
    assert sum(bool(item.addresses) for item in full.values()) == 4096
    # Less than a second here; searching the full range for each of those left over takes half a minute.
    assert time.process_time() - began < 8
