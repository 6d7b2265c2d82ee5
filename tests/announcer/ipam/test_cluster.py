"""LB IPAM of a cluster: what is held stays, what is given is free, and every "no" has a code."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from announcer.config import Config
from announcer.ipam import Assignment, Code, Outcome, assign
from announcer.model.net import IPAddress, Protocol
from announcer.model.objects import Condition, ObjectKey, Service, ServicePort
from tests.announcer.ipam.pools import config, pool_of


def addresses(text: str) -> tuple[IPAddress, ...]:
    return tuple(ip_address(word) for word in text.split())


def has(
    name: str,
    held: str = "",
    *,
    marked: bool = True,
    ask: str = "",
    pool: str = "",
    share: str = "",
    ports: str = "80/TCP",
    families: str = "4",
    require: bool = False,
    created: str = "",
    kind: str = "LoadBalancer",
    other_class: str = "",
    hostname: bool = False,
) -> Service:
    annotations = {"lockstep/addresses": ask.replace(" ", ","), "lockstep/address-pool": pool}
    annotations["lockstep/allow-shared-ip"] = share
    return Service(
        key=ObjectKey("default", name),
        type=kind,
        load_balancer_class=other_class,
        annotations={key: value for key, value in annotations.items() if value},
        ingress=addresses(held),
        allocation=Condition(status="True") if marked and held else None,
        has_hostname=hostname,
        ip_families=tuple(int(word) for word in families.split()),
        ip_family_policy="RequireDualStack" if require else "SingleStack",
        creation_timestamp=created,
        ports=tuple(
            ServicePort(port=int(port), protocol=Protocol(protocol))
            for port, _, protocol in (word.partition("/") for word in ports.split())
        ),
    )


def one(item: Service, *others: Service, using: Config | None = None) -> Assignment:
    return assign(using or config(), [*others, item])[item.key]


def given(found: dict[ObjectKey, Assignment]) -> dict[str, str]:
    return {key.name: " ".join(map(str, item.addresses)) for key, item in found.items()}


def summary(found: Assignment) -> tuple[Outcome, str, Code | None]:
    return found.outcome, " ".join(map(str, found.addresses)), found.code


def seen(candidates: Iterable[Service], found: dict[ObjectKey, Assignment]) -> list[Service]:
    """The Services after all assignments were written."""
    after = []
    for item in candidates:
        done = found.get(item.key)
        if done is not None and done.outcome is not Outcome.FOREIGN:
            mark = Condition(status="True" if done.addresses else "False")
            item = msgspec.structs.replace(item, ingress=done.addresses, allocation=mark)
        after.append(item)
    return after


# --- what is there already stays --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "others"),
    [
        pytest.param(has("a", "192.0.2.3"), [], id="plain"),
        pytest.param(has("a", "192.0.2.3", marked=False), [], id="adopted from another controller"),
        pytest.param(has("a", "198.51.100.7"), [], id="from a pool without auto-assign"),
        pytest.param(has("a", "192.0.2.0"), [], id="an address that would not be given any more"),
        pytest.param(has("a", "192.0.2.3", ask="192.0.2.3"), [], id="asked for"),
        pytest.param(has("a", "192.0.2.3 2001:db8::7", families="4 6"), [], id="both families"),
        pytest.param(has("a", "192.0.2.3", pool="small"), [], id="pool named"),
        pytest.param(
            has("a", "192.0.2.3", share="k"), [has("b", "192.0.2.3", share="k", ports="443/TCP")], id="shared"
        ),
        pytest.param(has("a", "192.0.2.3", other_class="lockstep/bgp"), [], id="our class"),
    ],
)
def test_what_a_service_holds_it_keeps(item: Service, others: list[Service]) -> None:
    found = one(item, *others)
    assert (found.outcome, found.addresses, found.code, found.detail) == (Outcome.KEPT, item.ingress, None, "")


@pytest.mark.parametrize(
    ("item", "others", "expected", "detail"),
    [
        (has("a", "10.9.9.9"), [], (Outcome.MOVED, "192.0.2.2", Code.NOT_ALLOWED_BY_CONFIG), "10.9.9.9 is no longer"),
        (has("a", "192.0.2.1"), [], (Outcome.MOVED, "192.0.2.2", Code.NOT_ALLOWED_BY_CONFIG), "of the peer"),
        (has("a", "192.0.2.3", families="6"), [], (Outcome.MOVED, "2001:db8::", Code.FAMILY_CHANGED), "192.0.2.3"),
        (
            has("a", "192.0.2.3 2001:db8::5", families="6"),
            [],
            (Outcome.MOVED, "2001:db8::5", Code.FAMILY_CHANGED),
            "192.0.2.3",
        ),
        pytest.param(
            has("a", "192.0.2.3", marked=True, created="2"),
            [has("b", "192.0.2.3", marked=False, created="1")],
            (Outcome.KEPT, "192.0.2.3", None),
            "",
            id="what we gave goes before what others gave",
        ),
        (
            has("b", "192.0.2.3", created="2"),
            [has("a", "192.0.2.3", created="1")],
            (Outcome.MOVED, "192.0.2.2", Code.SHARING_CONFLICT),
            "192.0.2.3 belongs to the Service default/a",
        ),
        (
            has("a", "192.0.2.3", ask="192.0.2.5"),
            [],
            (Outcome.MOVED, "192.0.2.5", Code.DIFFERENT_IP_REQUESTED),
            "",
        ),
        (
            has("a", "192.0.2.3", pool="manual"),
            [],
            (Outcome.MOVED, "198.51.100.0", Code.DIFFERENT_POOL_REQUESTED),
            "",
        ),
        (has("a", "192.0.2.3", kind="ClusterIP"), [], (Outcome.RELEASED, "", Code.NOT_LOAD_BALANCER), "ClusterIP"),
    ],
)
def test_what_cannot_stay_moves(
    item: Service, others: list[Service], expected: tuple[Outcome, str, Code | None], detail: str
) -> None:
    found = one(item, *others)
    assert summary(found) == expected
    assert detail in found.detail


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (has("a", "192.0.2.3", ask="192.0.2.4"), Code.ADDRESS_IN_USE),
        (has("a", "192.0.2.3", ask="10.0.0.1"), Code.IP_NOT_ALLOWED),
        (has("a", "192.0.2.3", ask="nonsense"), Code.BAD_REQUEST),
        (has("a", "192.0.2.3", pool="nope"), Code.NO_SUCH_POOL),
        (has("a", "192.0.2.3", pool="six"), Code.POOL_EXHAUSTED),
        (has("a", "192.0.2.3", families="4 6", pool="small", require=True), Code.POOL_EXHAUSTED),
    ],
)
def test_a_wish_that_cannot_be_met_takes_nothing_away(item: Service, code: Code) -> None:
    found = one(item, has("other", "192.0.2.4", created="1"))
    assert summary(found) == (Outcome.KEPT, "192.0.2.3", code)
    assert found.detail


def test_a_second_family_is_added_to_the_first() -> None:
    found = one(has("a", "192.0.2.3", families="6 4"))
    assert summary(found) == (Outcome.GIVEN, "2001:db8:: 192.0.2.3", None)
    alone = one(has("a", "192.0.2.3", families="4 6"), using=pool_of("192.0.2.0/29"))
    assert summary(alone) == (Outcome.KEPT, "192.0.2.3", None)


# --- what others gave is theirs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (has("a", "10.9.9.9", marked=False), Code.FOREIGN_ADDRESS),
        (has("a", "10.9.9.9 192.0.2.3", marked=False), Code.FOREIGN_ADDRESS),
        (has("a", hostname=True), Code.FOREIGN_ADDRESS),
        (has("a", "192.0.2.4", marked=False), Code.SHARING_CONFLICT),
    ],
)
def test_what_another_controller_gave_is_left_alone(item: Service, code: Code) -> None:
    found = one(item, has("other", "192.0.2.4", created="1"), has("z"))
    assert (found.outcome, found.addresses, found.code) == (Outcome.FOREIGN, item.ingress, code)


def test_services_of_others_are_no_matter_but_their_addresses_are() -> None:
    others = [has("b", "192.0.2.2", other_class="x/y"), has("c", "192.0.2.3", kind="ClusterIP", marked=False)]
    found = assign(config(), [*others, has("a")])
    assert given(found) == {"a": "192.0.2.4"}


def test_addresses_of_nodes_are_given_to_nobody() -> None:
    node = ip_address("192.0.2.2")
    found = assign(config(), [has("a"), has("b", ask="192.0.2.2")], lambda a: "is the node n1" if a == node else "")
    assert given(found) == {"a": "192.0.2.3", "b": ""}
    assert found[ObjectKey("default", "b")].detail == "requested, but 192.0.2.2 is the node n1"


# --- what is given ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (has("a"), (Outcome.GIVEN, "192.0.2.2", None)),
        (has("a", families="6"), (Outcome.GIVEN, "2001:db8::", None)),
        (has("a", families="6 4"), (Outcome.GIVEN, "2001:db8:: 192.0.2.2", None)),
        (has("a", pool="manual"), (Outcome.GIVEN, "198.51.100.0", None)),
        (has("a", ask="198.51.100.7"), (Outcome.GIVEN, "198.51.100.7", None)),
        (has("a", ask="192.0.2.6 2001:db8::9", families="4 6"), (Outcome.GIVEN, "192.0.2.6 2001:db8::9", None)),
        (has("a", families=""), (Outcome.GIVEN, "192.0.2.2", None)),
        (has("a", ask="10.0.0.1"), (Outcome.REFUSED, "", Code.IP_NOT_ALLOWED)),
        (has("a", ask="192.0.2.0"), (Outcome.REFUSED, "", Code.IP_NOT_ALLOWED)),
        (has("a", ask="192.0.2.3", pool="manual"), (Outcome.REFUSED, "", Code.IP_NOT_ALLOWED)),
        (has("a", ask="192.0.2.3", families="6"), (Outcome.REFUSED, "", Code.IP_NOT_ALLOWED)),
        (has("a", ask="192.0.2.1"), (Outcome.REFUSED, "", Code.ADDRESS_IN_USE)),
        (has("a", pool="nope"), (Outcome.REFUSED, "", Code.NO_SUCH_POOL)),
        (has("a", pool="small", families="4 6", require=True), (Outcome.REFUSED, "", Code.POOL_EXHAUSTED)),
        (has("a", pool="small", families="4 6"), (Outcome.GIVEN, "192.0.2.2", None)),
        (has("a", ask="nonsense"), (Outcome.REFUSED, "", Code.BAD_REQUEST)),
    ],
)
def test_what_a_new_service_gets(item: Service, expected: tuple[Outcome, str, Code | None]) -> None:
    found = one(item)
    assert summary(found) == expected
    assert bool(found.detail) == (found.code is not None)


def test_without_a_pool_for_all_nothing_is_given() -> None:
    assert summary(one(has("a"), using=config(""))) == (Outcome.REFUSED, "", Code.NO_POOL)
    closed = pool_of("192.0.2.0/29", more=", auto-assign: false")
    assert summary(one(has("a"), using=closed)) == (Outcome.REFUSED, "", Code.NO_POOL)


def test_pools_and_addresses_are_used_in_their_order_and_no_further() -> None:
    two = config(
        "address-pools: [{name: a, protocol: bgp, addresses: [10.0.0.9/32, 10.0.0.4/31]},"
        " {name: b, protocol: bgp, addresses: [10.0.0.0/32]}]"
    )
    found = assign(two, [has(f"s{number}", created=str(number)) for number in range(5)])
    assert list(given(found).values()) == ["10.0.0.9", "10.0.0.4", "10.0.0.5", "10.0.0.0", ""]
    assert found[ObjectKey("default", "s4")].detail == 'no IPv4 address is free in the pool "a", "b"'


def test_who_asks_for_an_address_goes_before_who_takes_any() -> None:
    found = assign(config(), [has("old", created="1"), has("new", ask="192.0.2.2", created="2")])
    assert given(found) == {"new": "192.0.2.2", "old": "192.0.2.3"}


def test_services_with_one_key_meet_and_others_keep_away() -> None:
    crowd = [has(f"s{number}", share="k", ports=f"{number + 1}/TCP", created=str(number)) for number in range(4)]
    clash = has("clash", share="k", ports="2/TCP", created="5")
    stranger = has("stranger", share="l", ports="99/TCP", created="6")
    found = assign(config(), [*crowd, clash, stranger])
    assert set(given(found).items()) >= {(f"s{number}", "192.0.2.2") for number in range(4)}
    assert given(found)["clash"] == "192.0.2.3"
    assert given(found)["stranger"] == "192.0.2.4"


def test_a_key_that_is_taken_away_costs_the_younger_its_place() -> None:
    both = [has("a", "192.0.2.2", created="1", share="k"), has("b", "192.0.2.2", created="2", ports="443/TCP")]
    assert given(assign(config(), both)) == {"a": "192.0.2.2", "b": "192.0.2.3"}


# --- time -------------------------------------------------------------------------------------------------------


def test_what_is_given_up_is_given_again_only_after_it_was_seen_free() -> None:
    single = pool_of("192.0.2.9/32", "198.51.100.0/31")
    services = [has("a", "192.0.2.9", ask="198.51.100.0", created="1"), has("b", ask="192.0.2.9", created="2")]
    first = assign(single, services)
    assert given(first) == {"a": "198.51.100.0", "b": ""}
    assert first[ObjectKey("default", "b")].code is Code.ADDRESS_IN_USE
    assert given(assign(single, seen(services, first))) == {"a": "198.51.100.0", "b": "192.0.2.9"}


@pytest.mark.parametrize("leaving", [{"families": "6"}, {"kind": "ClusterIP"}], ids=["family", "type"])
def test_what_is_lost_is_given_again_only_after_it_was_seen_free(leaving: dict[str, str]) -> None:
    services = [has("a", "192.0.2.2", **leaving), has("b")]  # type: ignore[arg-type]
    first = assign(config(), services)
    assert given(first)["b"] == "192.0.2.3"
    assert given(assign(config(), [seen(services, first)[0], has("b")]))["b"] == "192.0.2.2"


def test_two_that_want_each_others_address_keep_theirs() -> None:
    """Neither is ever free. Nobody loses anything, and both are told why."""
    services = [has("a", "192.0.2.2", ask="192.0.2.3"), has("b", "192.0.2.3", ask="192.0.2.2")]
    found = assign(config(), services)
    assert given(found) == {"a": "192.0.2.2", "b": "192.0.2.3"}
    assert {item.code for item in found.values()} == {Code.ADDRESS_IN_USE}


def test_a_service_that_goes_frees_its_address_for_one_that_waits() -> None:
    full = pool_of("192.0.2.8/31")
    services = [has(f"s{number}", created=str(number)) for number in range(3)]
    first = assign(full, services)
    after = seen(services, first)
    assert given(first) == {"s0": "192.0.2.8", "s1": "192.0.2.9", "s2": ""}
    assert given(assign(full, after[1:])) == {"s1": "192.0.2.9", "s2": "192.0.2.8"}


def test_ten_thousand_services_take_no_time() -> None:
    pools = pool_of("10.0.0.0/16", "'2001:db8::/32'")
    services = [has(f"s{number}", families="4 6") for number in range(10_000)]
    began = time.process_time()
    found = assign(pools, services)
    assert all(len(item.addresses) == 2 for item in found.values())
    after = seen(services, found)
    assert {item.outcome for item in assign(pools, after).values()} == {Outcome.KEPT}
    full = assign(pool_of("10.0.0.0/20"), services)
    assert sum(bool(item.addresses) for item in full.values()) == 4096
    # About two seconds here; searching a full range for each of those left over takes minutes.
    assert time.process_time() - began < 15


def test_documentation_lists_every_code_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "allocation.md").read_text().partition("## Codes")[2]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)))) == set(Code)
