"""The allocator beside a real API server: what it gives, what it keeps, and who of several writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.allocators import AllocatorProcess, addresses, await_that, condition, events, held
from tests.chart.helm import NAMESPACE
from tests.kube import objects
from tests.kube.api import ApiError
from tests.kube.server import KubeServer

#: Helm, or an API server: `make kube` builds both.
pytestmark = pytest.mark.kube

POOLS: list[dict[str, Any]] = [
    {"name": "default", "protocol": "bgp", "addresses": ["192.0.2.0/29"], "avoid-buggy-ips": True},
    {"name": "gold", "protocol": "bgp", "addresses": ["198.51.100.0/24"], "auto-assign": False},
    {"name": "six", "protocol": "bgp", "addresses": ["2001:db8::/64"]},
]


def configure(kube: KubeServer, pools: Any) -> None:
    text = yaml.safe_dump({"address-pools": pools}) if isinstance(pools, list) else pools
    kube.admin.patch("ConfigMap", NAMESPACE, "bgp-config", {"data": {"config.yaml": text}})


@pytest.fixture
def allocator(installed: KubeServer, tmp_path: Path) -> Iterator[AllocatorProcess]:
    configure(installed, POOLS)
    process = AllocatorProcess(installed, tmp_path, "a", "--config-grace=1", "--metrics-aliases")
    try:
        yield process
    finally:
        process.stop()


def test_the_life_of_services(installed: KubeServer, allocator: AllocatorProcess) -> None:
    admin = installed.admin
    admin.create(objects.node("n1", "192.0.2.1"))
    admin.create(objects.service("before"))
    allocator.start()
    allocator.await_leading()
    await_that(lambda: addresses(installed) == {"before": ["192.0.2.2"]}, "the first address beside the node's")
    await_that(lambda: allocator.fetch("/readyz") == (200, "ok\n"), "it is ready")
    # ipMode, condition and Event.
    entry = admin.get("Service", "default", "before")["status"]["loadBalancer"]["ingress"][0]
    assert entry == {"ip": "192.0.2.2", "ipMode": "VIP"}
    said = condition(installed, "before")
    assert (said["status"], said["reason"], said["message"]) == ("True", "allocated", "")
    await_that(
        lambda: events(installed, "before") == [("Normal", "AddressAssigned", "192.0.2.2 from the pool default")],
        "an Event says so",
    )
    # Every way to ask.
    admin.create(objects.service("field", loadBalancerIP="198.51.100.7"))
    admin.create(objects.service("cilium", annotations={"lbipam.cilium.io/ips": "198.51.100.8"}))
    admin.create(objects.service("pool", annotations={"metallb.universe.tf/address-pool": "gold"}))
    dual: dict[str, Any] = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    admin.create(objects.service("dual", **dual))
    share = {"metallb.universe.tf/allow-shared-ip": "key"}
    admin.create(objects.service("one", annotations=share))
    await_that(lambda: bool(addresses(installed)["one"]), "one has an address")
    admin.create(objects.service("two", annotations=share, ports=[("other", "TCP", 443, 8443)]))
    admin.create(objects.service("theirs", loadBalancerClass="example.com/other"))
    asking = ("field", "cilium", "pool", "dual", "two")
    await_that(lambda: all(addresses(installed)[name] for name in asking), "all others have one")
    await_that(lambda: len(addresses(installed)["dual"]) == 2, "the dual-stack Service has both")
    found = addresses(installed)
    assert found["field"] == ["198.51.100.7"]
    assert found["cilium"] == ["198.51.100.8"]
    assert found["pool"] == ["198.51.100.0"]
    assert found["dual"][1] == "2001:db8::"
    assert found["one"] == found["two"]
    assert found["theirs"] == []
    # "No" has a code: in the condition, in an Event, in the metrics.
    admin.create(objects.service("taken", loadBalancerIP="198.51.100.7"))
    await_that(lambda: condition(installed, "taken").get("reason") == "addressInUse", "the condition says why not")
    assert condition(installed, "taken")["status"] == "False"
    await_that(lambda: bool(events(installed, "taken")), "and an Event")
    (event,) = events(installed, "taken")
    assert event[:2] == ("Warning", "AllocationFailed")
    assert event[2].startswith("addressInUse: requested, but 198.51.100.7 belongs to the Service default/field")
    await_that(
        lambda: allocator.metric('lockstep_allocator_services_refused{code="addressInUse"}') == 1.0, "and a metric"
    )
    assert allocator.metric('lockstep_allocator_addresses_in_use{pool="gold"}') == 3.0
    assert allocator.metric('metallb_allocator_addresses_in_use_total{pool="gold"}') == 3.0
    # What is given back is given again; and what was refused is tried again.
    admin.delete("Service", "default", "field")
    await_that(lambda: addresses(installed)["taken"] == ["198.51.100.7"], "the one that waits has it")
    assert condition(installed, "taken")["status"] == "True"
    # No longer a load balancer.
    admin.patch("Service", "default", "before", {"spec": {"type": "ClusterIP"}})
    await_that(lambda: held(admin.get("Service", "default", "before")) == [], "it has lost its address")
    admin.create(objects.service("next"))
    await_that(lambda: addresses(installed)["next"] == ["192.0.2.2"], "which another has now")
    assert allocator.terminate() == 0


def test_when_the_pool_is_exhausted_it_says_so_and_goes_on(installed: KubeServer, allocator: AllocatorProcess) -> None:
    allocator.start()
    for number in range(8):
        installed.admin.create(objects.service(f"s{number}"))
    # Eight addresses, without .0, which the pool avoids.
    await_that(lambda: sum(map(bool, addresses(installed).values())) == 7, "all seven are given")
    (left,) = [name for name, found in addresses(installed).items() if not found]
    await_that(lambda: condition(installed, left).get("reason") == "poolExhausted", "the last one is told")
    configure(installed, [{**POOLS[0], "addresses": ["192.0.2.0/28"]}, *POOLS[1:]])
    await_that(lambda: len(addresses(installed)[left]) == 1, "a larger pool has one for it")


def test_a_mistake_in_the_configuration_takes_nothing_away(installed: KubeServer, tmp_path: Path) -> None:
    configure(installed, POOLS)
    allocator = AllocatorProcess(installed, tmp_path, "a", "--config-grace=3600")
    allocator.start()
    try:
        installed.admin.create(objects.service("web"))
        await_that(lambda: addresses(installed) == {"web": ["192.0.2.1"]}, "it has an address")
        installed.admin.create(objects.service("more"))
        await_that(lambda: bool(addresses(installed)["more"]), "and so has another")
        before = addresses(installed)
        configure(installed, "address-pools: [{name: x}]")
        await_that(lambda: allocator.metric("lockstep_allocator_config_stale") == 1.0, "the wrong one is refused")
        configure(installed, [{**POOLS[0], "addresses": ["203.0.113.0/24"]}])
        await_that(lambda: allocator.metric("lockstep_allocator_config_stale") == 0.0, "the other one is valid")
        installed.admin.create(objects.service("new"))
        await_that(lambda: bool(addresses(installed)["new"]), "new Services are served")
        assert addresses(installed)["new"][0].startswith("203.0.113."), "from it"
        assert {name: found for name, found in addresses(installed).items() if name != "new"} == before
    finally:
        allocator.stop()


def test_addresses_that_another_controller_gave_stay(installed: KubeServer, allocator: AllocatorProcess) -> None:
    """Who comes from MetalLB, Cilium or anything else keeps every address, inside the pools and outside."""
    admin = installed.admin
    given = {"first": ["192.0.2.5"], "second": ["198.51.100.9"], "outside": ["10.9.9.9"], "same": ["192.0.2.5"]}
    for name, found in given.items():
        admin.create(objects.service(name, ingress=found))
    cloud = objects.service("cloud")
    cloud["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}
    admin.create(cloud)
    foreign = [
        {
            "type": "example.com/Other",
            "status": "True",
            "reason": "Because",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
    admin.patch("Service", "default", "first", {"status": {"conditions": foreign}}, "status")
    want = {**given, "cloud": ["lb.example.com"]}
    assert addresses(installed) == want, "the test itself"
    allocator.start()
    allocator.await_leading()
    admin.create(objects.service("new"))
    await_that(lambda: bool(addresses(installed)["new"]), "a new Service has an address")
    await_that(lambda: condition(installed, "first").get("status") == "True", "what it gave is adopted")
    await_that(lambda: condition(installed, "second").get("status") == "True", "all of it")
    assert {name: found for name, found in addresses(installed).items() if name != "new"} == want
    assert addresses(installed)["new"] == ["192.0.2.1"]
    kinds = {item["type"] for item in admin.get("Service", "default", "first")["status"]["conditions"]}
    assert kinds == {"example.com/Other", "lockstep/AddressAllocated"}, "conditions of others stay"
    for name, code in (("outside", "foreignAddress"), ("same", "sharingConflict"), ("cloud", "foreignAddress")):
        await_that(lambda name=name: bool(events(installed, name)), f"{name} is told of")  # type: ignore[misc]
        assert events(installed, name)[0][2].startswith(f"{code}: ")
        assert condition(installed, name) == {}, "and left alone"
    # Another process, the same answer: nothing is written.
    versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in admin.items("Service")}
    allocator.terminate()
    allocator.start()
    allocator.await_leading()
    await_that(lambda: allocator.metric("lockstep_allocator_services_allocated") == 5.0, "it has decided")
    after = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in admin.items("Service")}
    assert after == versions


def test_one_of_two_writes_and_the_other_follows(installed: KubeServer, tmp_path: Path) -> None:
    configure(installed, POOLS)
    first, second = (AllocatorProcess(installed, tmp_path, name) for name in "ab")
    try:
        first.start()
        first.await_leading()
        second.start()
        await_that(lambda: second.fetch("/readyz")[0] == 200, "the second one is ready")
        installed.admin.create(objects.service("one"))
        await_that(lambda: bool(addresses(installed)["one"]), "the first one gives an address")
        assert second.metric("lockstep_allocator_leader") == 0.0
        # A planned end: the next one goes on at once, though the Lease would be valid for long.
        first.terminate()
        second.await_leading(10)
        installed.admin.create(objects.service("two"))
        await_that(lambda: bool(addresses(installed)["two"]), "the second one gives the next")
        # A crash: after the Lease is over.
        first.start()
        await_that(lambda: first.fetch("/readyz")[0] == 200, "the first one is back")
        second.kill()
        assert first.metric("lockstep_allocator_leader") == 0.0
        first.await_leading(60)
        installed.admin.create(objects.service("three"))
        await_that(lambda: bool(addresses(installed)["three"]), "and the first one goes on")
        assert len({found[0] for found in addresses(installed).values()}) == 3
    finally:
        first.stop()
        second.stop()


def test_a_leader_that_was_asleep_writes_nothing_when_it_wakes(installed: KubeServer, tmp_path: Path) -> None:
    configure(installed, POOLS)
    sleeper, other = (AllocatorProcess(installed, tmp_path, name) for name in "ab")
    try:
        sleeper.start()
        sleeper.await_leading()
        other.start()
        sleeper.freeze(True)
        other.await_leading(60)
        installed.admin.create(objects.service("web", loadBalancerIP="198.51.100.7"))
        await_that(lambda: bool(addresses(installed)["web"]), "the other one leads")
        version = installed.admin.get("Service", "default", "web")["metadata"]["resourceVersion"]
        sleeper.freeze(False)
        await_that(lambda: sleeper.metric("lockstep_allocator_leader") == 0.0, "it knows that it leads no more")
        assert other.metric("lockstep_allocator_leader") == 1.0
        assert installed.admin.get("Service", "default", "web")["metadata"]["resourceVersion"] == version
        assert sleeper.metric('lockstep_allocator_writes_total{result="ok"}') == 0.0
    finally:
        sleeper.stop()
        other.stop()


def test_nothing_is_given_before_everything_was_read(installed: KubeServer, allocator: AllocatorProcess) -> None:
    """The ConfigMap cannot be read: Services wait, and it says what it waits for."""
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings/lockstep-allocator-config"
    binding = installed.admin.request("GET", role)
    installed.admin.request("DELETE", role)
    installed.admin.create(objects.service("web"))
    allocator.start()
    await_that(lambda: "forbidden" in allocator.fetch("/readyz")[1], "it says what it cannot read")
    assert allocator.fetch("/readyz")[0] == 503
    assert addresses(installed) == {"web": []}
    binding["metadata"].pop("resourceVersion")
    installed.admin.request("POST", role.rpartition("/")[0], binding)
    await_that(lambda: addresses(installed) == {"web": ["192.0.2.1"]}, "now it can")


def test_control_two_writers_would_be_refused(installed: KubeServer) -> None:
    """What keeps two leaders apart in the end: a write with a resourceVersion of before is refused."""
    installed.admin.create(objects.service("web"))
    version = installed.admin.get("Service", "default", "web")["metadata"]["resourceVersion"]
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    patch = {"metadata": {"resourceVersion": version}, "status": status}
    installed.admin.patch("Service", "default", "web", patch, "status", "strategic")
    with pytest.raises(ApiError, match="409"):
        installed.admin.patch("Service", "default", "web", patch, "status", "strategic")
