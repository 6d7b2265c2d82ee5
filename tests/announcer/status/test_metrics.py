"""Every metric that is promised is there under its name and with its labels, and no series outlives its object."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Metric

from announcer.model.bgp import BfdProfile, PeerState
from announcer.model.lb import MapUsage
from announcer.model.observed import Damping, ForwarderObserved, Observed
from announcer.run.latency import LatencyMeter
from announcer.run.repairs import RepairMeter
from announcer.run.settings import DEFAULT_KUBE_PROXY_HEALTH
from announcer.snapshot import ConfigView, Snapshot
from announcer.status.metrics import SightCollector
from announcer.status.sight import Sight
from tests.announcer.build import config, endpoints, ip, node, service, snapshot
from tests.announcer.status.test_status import ALL_WELL, sight, with_peer, working
from tests.announcer.test_plan import NOW, PEER, VIP, observed

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
#: The interface contract.
PROMISED = {
    "lockstep_bgp_session_up": {"peer"},
    "lockstep_bgp_announced_prefixes": {"peer"},
    "lockstep_bgp_pending_prefixes": {"peer"},
    "lockstep_bgp_updates_total": {"peer"},
    "lockstep_bfd_session_up": {"peer"},
    "lockstep_config_loaded": set(),
    "lockstep_config_stale": set(),
    "lockstep_consistency_violations": set(),
    "lockstep_vip_proof_age_seconds": {"vip"},
    "lockstep_announce_latency_seconds": set(),
    "lockstep_program_latency_seconds": set(),
    "lockstep_datapath_packets_total": {"verdict"},
    "lockstep_datapath_map_used": {"map"},
    "lockstep_source_stale_seconds": set(),
}
#: What dashboards of MetalLB ask for.
ALIASES = {
    "metallb_bgp_session_up": {"peer"},
    "metallb_bgp_updates_total": {"peer"},
    "metallb_bgp_announced_prefixes_total": {"peer"},
    "metallb_bgp_pending_prefixes_total": {"peer"},
    "metallb_k8s_client_updates_total": set(),
    "metallb_k8s_client_update_errors_total": set(),
    "metallb_k8s_client_config_loaded_bool": set(),
    "metallb_k8s_client_config_stale_bool": set(),
    "metallb_allocator_addresses_total": {"pool"},
    "metallb_allocator_addresses_in_use_total": {"pool"},
    "metallb_allocator_services_allocated_total": set(),
    "metallb_speaker_announced": {"service", "protocol", "node", "ip"},
}


def full() -> Sight:
    """A moment in which everything has a value."""
    neighbor = ALL_WELL.bgp.peers[PEER].neighbor
    with_bfd = msgspec.structs.replace(neighbor, bfd=BfdProfile())
    seen = with_peer(ALL_WELL, neighbor=with_bfd, bfd="up", updates_sent=7)
    seen = msgspec.structs.replace(
        seen,
        damping={VIP: Damping(flaps=2, since=NOW - 1, at=NOW - 1)},
        bgp=msgspec.structs.replace(seen.bgp, engine_restarts={"exited": 1}),
        datapath=msgspec.structs.replace(
            seen.datapath,
            maps={"lb_frontends": MapUsage(used=1, max=9)},
            forwarder=ForwarderObserved(name="kube-proxy", url=DEFAULT_KUBE_PROXY_HEALTH, healthy=True),
        ),
    )
    found = sight(msgspec.structs.replace(working(), standalone=True), seen)
    desired = msgspec.structs.replace(found.desired, neighbors={PEER: with_bfd})
    return msgspec.structs.replace(found, desired=desired, counters={"tx": 3}, source_updates=5, source_update_errors=2)


def samples(metrics: Iterable[Metric]) -> dict[str, float]:
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))}}}": sample.value
        for metric in metrics
        for sample in metric.samples
    }


def of(moment: Sight) -> dict[str, float]:
    return samples(SightCollector(lambda: moment, aliases=True).collect())


def shapes(metrics: Iterable[Metric]) -> dict[str, set[str]]:
    """Names as they are written and asked for, with their labels."""
    found: dict[str, set[str]] = {}
    for metric in metrics:
        for sample in metric.samples:
            if metric.type == "histogram" and not sample.name.endswith("_count"):
                continue
            if metric.type == "counter" and not sample.name.endswith("_total"):
                continue
            name = metric.name if metric.type == "histogram" else sample.name
            found.setdefault(name, set()).update(sample.labels)
    return found


def everything() -> dict[str, set[str]]:
    """All that an agent can tell."""
    latency, repairs = LatencyMeter(lambda: NOW), RepairMeter()
    registries: tuple[CollectorRegistry, ...] = (latency.registry, repairs.registry)
    counted = [metric for registry in registries for metric in registry.collect()]
    return shapes([*SightCollector(full, aliases=True).collect(), *counted])


def documented() -> dict[str, set[str]]:
    """What the tables for the agent list."""
    agent = DOCS.read_text().partition("## The allocator")[0]
    rows = [line.split("|")[1] for line in agent.splitlines() if line.startswith("| `")]
    names = [found for row in rows for found in re.findall(r"`(\w+)(?:\{([\w,]+)\})?`", row)]
    return {name: set(labels.split(",")) - {""} for name, labels in names}


def test_everything_that_is_promised_is_there() -> None:
    found = everything()
    assert {name: found.get(name) for name in PROMISED} == PROMISED
    assert {name: labels for name, labels in found.items() if name.startswith("metallb_")} == ALIASES


def test_documentation_and_code_have_the_same_names_and_labels() -> None:
    found = everything()
    # A counter with labels has no series before it counts.
    found["lockstep_repairs_total"] = {"kind"}
    assert found == documented()


def test_aliases_say_the_same_and_only_when_asked() -> None:
    found = of(full())
    for ours, theirs in (
        ("lockstep_bgp_session_up{peer=10.0.0.1}", "metallb_bgp_session_up{peer=10.0.0.1:179}"),
        ("lockstep_bgp_updates_total{peer=10.0.0.1}", "metallb_bgp_updates_total{peer=10.0.0.1:179}"),
        ("lockstep_bgp_announced_prefixes{peer=10.0.0.1}", "metallb_bgp_announced_prefixes_total{peer=10.0.0.1:179}"),
        ("lockstep_bgp_pending_prefixes{peer=10.0.0.1}", "metallb_bgp_pending_prefixes_total{peer=10.0.0.1:179}"),
        ("lockstep_source_updates_total{}", "metallb_k8s_client_updates_total{}"),
        ("lockstep_source_update_errors_total{}", "metallb_k8s_client_update_errors_total{}"),
        ("lockstep_config_loaded{}", "metallb_k8s_client_config_loaded_bool{}"),
        ("lockstep_config_stale{}", "metallb_k8s_client_config_stale_bool{}"),
    ):
        assert found[ours] == found[theirs], ours
    assert found["metallb_bgp_updates_total{peer=10.0.0.1:179}"] == 7
    assert found[f"metallb_speaker_announced{{ip={VIP},node=n1,protocol=bgp,service=default/web}}"] == 1
    assert not [name for name in samples(SightCollector(full).collect()) if name.startswith("metallb_")]
    in_cluster = full()
    in_cluster = msgspec.structs.replace(
        in_cluster, snapshot=msgspec.structs.replace(in_cluster.snapshot, standalone=False)
    )
    assert not [name for name in of(in_cluster) if "metallb_allocator" in name], "there the allocator has them"


def test_bfd_is_told_of_peers_that_have_it() -> None:
    assert of(full())["lockstep_bfd_session_up{peer=10.0.0.1}"] == 1
    down = full()
    down = msgspec.structs.replace(down, observed=with_peer(down.observed, bfd="down"))
    assert of(down)["lockstep_bfd_session_up{peer=10.0.0.1}"] == 0
    assert not [name for name in of(sight(working(), ALL_WELL)) if "bfd" in name]


def _without_peers() -> tuple[Snapshot, Observed]:
    view = ConfigView(state=working().config.state, config=msgspec.structs.replace(config(), peers=()))
    return msgspec.structs.replace(working(), config=view), msgspec.structs.replace(
        ALL_WELL, bgp=msgspec.structs.replace(ALL_WELL.bgp, peers={})
    )


def _without_vip() -> tuple[Snapshot, Observed]:
    """The damping of a VIP that is gone is remembered, and is nobody's concern."""
    remembered = {VIP: Damping(flaps=2, since=NOW, at=NOW)}
    return snapshot(node()), msgspec.structs.replace(observed(), damping=remembered)


def _without_pools() -> tuple[Snapshot, Observed]:
    view = ConfigView(state=working().config.state, config=msgspec.structs.replace(config(), pools=()))
    return snapshot(node(), service(), endpoints("web", "10.244.1.10"), config=view), observed()


@pytest.mark.parametrize(
    ("word", "without"),
    [("10.0.0.1", _without_peers), (str(VIP), _without_vip), ("pool=", _without_pools)],
    ids=["peer", "VIP", "pool"],
)
def test_no_series_outlives_its_object(word: str, without: object) -> None:
    assert [name for name in of(full()) if word in name], "control: there while the object is"
    assert callable(without)
    seen, present = without()
    after = of(sight(msgspec.structs.replace(seen, standalone=True), present))
    assert [name for name in after if word in name] == []


def test_a_peer_that_gets_another_name_has_one_series() -> None:
    """The speaker still runs it under the old name: two series of one name would make the whole page unreadable."""
    moment = full()
    peer = moment.observed.bgp.peers[PEER]
    both = msgspec.structs.replace(moment.observed.bgp, peers={"10.0.0.1:179": peer, PEER: peer})
    moment = msgspec.structs.replace(moment, observed=msgspec.structs.replace(moment.observed, bgp=both))
    lines = [
        (sample.name, *sorted(sample.labels.items()))
        for metric in SightCollector(lambda: moment, aliases=True).collect()
        for sample in metric.samples
    ]
    assert len(lines) == len(set(lines))
    assert ip("10.0.0.1") == peer.neighbor.address
    assert peer.state is PeerState.ESTABLISHED
