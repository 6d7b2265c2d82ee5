"""LB IPAM of a cluster over time: Services and pools come and go, writes get lost, the leader changes.

Whatever happens, no address is ever held twice but by agreement, and a new leader changes nothing.
"""

from __future__ import annotations

from itertools import combinations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from announcer.ipam import Assignment, Outcome, assign
from announcer.ipam.wishes import is_ours, share_refusal, wish_of
from announcer.model.objects import ObjectKey, Service
from tests.announcer.ipam.pools import config
from tests.announcer.ipam.test_cluster import has, seen

CONFIGS = {
    name: config(f"address-pools: [{pools}]")
    for name, pools in {
        "both": "{name: p, protocol: bgp, addresses: [10.0.0.0/30]},"
        " {name: q, protocol: bgp, addresses: [10.1.0.0/31]}",
        "reversed": "{name: q, protocol: bgp, addresses: [10.1.0.0/31]},"
        " {name: p, protocol: bgp, addresses: [10.0.0.0/30]}",
        "smaller": "{name: p, protocol: bgp, addresses: [10.0.0.0/31]}",
        "manual": "{name: p, protocol: bgp, addresses: [10.0.0.0/30], auto-assign: false}",
        "dual": "{name: p, protocol: bgp, addresses: [10.0.0.0/30, '2001:db8::/127']}",
    }.items()
}

specs = st.fixed_dictionaries(
    {
        "ask": st.sampled_from(["", "", "", "10.0.0.1", "10.1.0.0", "10.9.9.9"]),
        "pool": st.sampled_from(["", "", "", "p", "q"]),
        "share": st.sampled_from(["", "k", "k"]),
        "ports": st.sampled_from(["80/TCP", "443/TCP", "80/UDP"]),
        "families": st.sampled_from(["4", "4", "4 6"]),
        "require": st.booleans(),
        "kind": st.sampled_from(["LoadBalancer", "LoadBalancer", "LoadBalancer", "ClusterIP"]),
        "created": st.sampled_from(["1", "2"]),
    }
)
names = st.sampled_from([f"s{number}" for number in range(9)])


def _held_twice(candidates: list[Service]) -> list[str]:
    """Pairs of Services that hold one address without being allowed to."""
    mine = [item for item in candidates if item.allocation and is_ours(item)]
    return [
        f"{one.key} and {other.key}: {refusal}"
        for one, other in combinations(mine, 2)
        if set(one.ingress) & set(other.ingress) and (refusal := share_refusal(wish_of(one), wish_of(other)))
    ]


class Cluster(RuleBasedStateMachine):
    """The API server's side: Services with their status, and an allocator of which any write may get lost."""

    services = Bundle("services")

    def __init__(self) -> None:
        super().__init__()
        self.present: dict[ObjectKey, Service] = {}
        self.config = CONFIGS["both"]
        self.agreed = True

    def _assign(self) -> dict[ObjectKey, Assignment]:
        return assign(self.config, self.present.values())

    def _write(self, found: dict[ObjectKey, Assignment]) -> None:
        after = seen(list(self.present.values()), found)
        self.present = {item.key: item for item in after}

    @initialize()
    def begin(self) -> None:
        self.present = {}

    @rule(name=names, spec=specs)
    def create_or_change(self, name: str, spec: dict[str, str]) -> None:
        item = has(name, **spec)  # type: ignore[arg-type]
        before = self.present.get(item.key)
        if before is not None:
            item = msgspec.structs.replace(
                item,
                ingress=before.ingress,
                allocation=before.allocation,
                creation_timestamp=before.creation_timestamp,
            )
        self.present[item.key] = item
        self.agreed = False

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.present.pop(ObjectKey("default", name), None)

    @rule(name=st.sampled_from(sorted(CONFIGS)))
    def configure(self, name: str) -> None:
        self.config = CONFIGS[name]

    @rule(lost=st.sets(names, max_size=4), random=st.randoms())
    def allocate(self, lost: set[str], random: object) -> None:
        """One round of which some writes do not arrive."""
        items = list(self.present.values())
        random.shuffle(items)  # type: ignore[attr-defined]
        found = assign(self.config, items)
        assert found == self._assign(), "the order of the Services matters"
        clashes_before = set(_held_twice(items))
        self._write({key: item for key, item in found.items() if key.name not in lost})
        # A Service that changed its key or ports may clash with another for one round; a round adds no clash.
        assert set(_held_twice(list(self.present.values()))) <= clashes_before
        if not lost:
            assert not _held_twice(list(self.present.values()))

    @rule()
    def settle(self) -> None:
        """After a few rounds nothing changes any more, so another leader, or this one restarted, changes nothing."""
        for _ in range(12):
            before = dict(self.present)
            self._write(self._assign())
            if before == self.present:
                break
        else:
            raise AssertionError("the assignments never settle")
        found = self._assign()
        outcomes = {item.outcome for item in found.values()}
        assert outcomes <= {Outcome.KEPT, Outcome.REFUSED}
        for item in found.values():
            assert item.addresses == item.before
            assert all(self.config.pool_of(address) for address in item.addresses)
            assert bool(item.addresses) or item.code
        self._nothing_is_lost(found)

    def _nothing_is_lost(self, found: dict[ObjectKey, Assignment]) -> None:
        """Who is refused for want of an address finds every address of its pools held by another."""
        held = {address for item in found.values() for address in item.addresses}
        for key, item in found.items():
            wish = wish_of(self.present[key])
            if item.outcome is Outcome.REFUSED and item.code == "poolExhausted" and not wish.every_family:
                pools = [
                    pool for pool in self.config.pools if (pool.name == wish.pool if wish.pool else pool.auto_assign)
                ]
                for pool in pools:
                    for reach in pool.ranges:
                        if reach.first.version in wish.families:
                            assert all(
                                type(reach.first)(n) in held for n in range(int(reach.first), int(reach.last) + 1)
                            )

    @invariant()
    def statuses_hold_addresses_once_each(self) -> None:
        for item in self.present.values():
            assert len(set(item.ingress)) == len(item.ingress)


Cluster.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestCluster = Cluster.TestCase


@given(st.lists(st.tuples(names, specs), unique_by=lambda pair: pair[0]), st.sampled_from(sorted(CONFIGS)))
def test_no_address_outside_the_pools_is_given(wanted: list[tuple[str, dict[str, str]]], name: str) -> None:
    services: list[Service] = [has(key, **spec) for key, spec in wanted]  # type: ignore[arg-type]
    found = assign(CONFIGS[name], services)
    assert set(found) == {service.key for service in services if is_ours(service)}
    for item in found.values():
        assert bool(item.addresses) != bool(item.code)
        assert all(pool is not None and pool.allows(a) for a in item.addresses for pool in [CONFIGS[name].pool_of(a)])
