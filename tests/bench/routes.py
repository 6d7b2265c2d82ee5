"""What 10,000 routes for two routers cost, and how soon one change is on the wire: speaker and ExaBGP against BIRD."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from statistics import quantiles

from announcer.model.bgp import Route
from announcer.model.steps import Announce, AnyStep, Withdraw
from bgpd import wire
from tests.bench.report import Row, figure
from tests.bgpd.rig import ROUTER_ADDRESSES, SPEAKER_ADDRESS, Bird, Rig, neighbor, states

PEERS = ("r1", "r2")
ROUTES = 10_000
ROUNDS = 5
CHANGES = 300
#: Three sets of attributes: routes that share all of them fit into one UPDATE.
COMMUNITIES = ((), ((65000, 1),), ((65000, 1), (65000, 2)))
ONE = IPv4Network("203.0.113.10/32")

RATE_TARGET = 5_000.0
LATENCY_TARGET = 5.0


def bench(folder: Path, *, routes: int = ROUTES, rounds: int = ROUNDS, changes: int = CHANGES) -> list[Row]:
    """Rows of all figures. Needs root."""
    with Rig(folder) as rig:
        rig.start_speaker()
        birds = [rig.start_bird(number, debug="off") for number in range(2)]
        rig.configure(neighbor(PEERS[0], 0), neighbor(PEERS[1], 1))
        rig.wait_established(*PEERS)
        idle = _megabytes(rig)
        announced, withdrawn = _bulk(rig, birds, routes, rounds)
        held = _megabytes(rig)
        latencies = sorted(_single(rig, changes))
    per_mille = quantiles(latencies, n=100)
    name = f"bgp/{routes}-routes-to-2-peers"
    return [
        figure(f"{name}/announced", announced, "routes/s a peer", at_least=RATE_TARGET),
        figure(f"{name}/withdrawn", withdrawn, "routes/s a peer", at_least=RATE_TARGET),
        figure("bgp/change-to-update/p50", [per_mille[49]], "ms", n=changes, at_most=LATENCY_TARGET),
        figure("bgp/change-to-update/p99", [per_mille[98]], "ms", n=changes),
        *(figure(f"bgp/memory/{who}/idle", [idle[who]], "MB") for who in idle),
        *(figure(f"{name}/memory/{who}", [held[who]], "MB at most") for who in held),
    ]


def _bulk(rig: Rig, birds: list[Bird], count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Routes a second, announced and withdrawn: one sample for each router and round."""
    prefixes = [IPv4Network((0x0A000000 + 256 * number, 24)) for number in range(count)]
    routes = [Route(nlri=n, communities=COMMUNITIES[at * len(COMMUNITIES) // count]) for at, n in enumerate(prefixes)]
    announce = [Announce(lane="bench", peer=peer, route=route) for route in routes for peer in PEERS]
    withdraw = [Withdraw(lane="bench", peer=peer, nlri=nlri) for nlri in prefixes for peer in PEERS]
    announced: list[float] = []
    withdrawn: list[float] = []
    for _ in range(rounds):
        announced += [count / seconds for seconds in _seconds(rig, birds, announce, count)]
        withdrawn += [count / seconds for seconds in _seconds(rig, birds, withdraw, 0)]
    return announced, withdrawn


def _seconds(rig: Rig, birds: Sequence[Bird], steps: Sequence[AnyStep], count: int) -> list[float]:
    """From the agent's call until each router has ``count`` routes."""
    watchers = [bird.when(count) for bird in birds]
    start = time.time()
    outcomes = rig.apply(*steps)
    ends = [watcher.communicate()[0] for watcher in watchers]
    assert states(outcomes) == {"done"}
    assert all(ends), "not within two minutes"
    _quiet(rig)
    return [float(end) - start for end in ends]


def _quiet(rig: Rig) -> None:
    rig.wait(lambda seen: all(entry.sent for peer in seen.peers.values() for entry in peer.rib.values()), 60)


def _single(rig: Rig, changes: int) -> list[float]:
    """Milliseconds from the moment at which the agent asks to the UPDATE at the peer, of so many changes."""
    asked = []
    capture = rig.capture(str(ROUTER_ADDRESSES[0]))
    for number in range(changes):
        route = Route(nlri=ONE)
        step = Withdraw(lane="one", peer="r1", nlri=ONE) if number % 2 else Announce(lane="one", peer="r1", route=route)
        asked.append(time.time())
        assert states(rig.apply(step)) == {"done"}
        _quiet(rig)
    updates = [m.time for m in capture.stop() if m.kind == wire.UPDATE and m.source == str(SPEAKER_ADDRESS)]
    assert len(updates) == changes, f"{len(updates)} UPDATEs for {changes} changes"
    return [1000 * (came - began) for began, came in zip(asked, updates, strict=True)]


def _megabytes(rig: Rig) -> dict[str, float]:
    """The most that each has had resident."""
    assert rig.speaker is not None
    return {"speaker": _peak(rig.speaker.pid), "exabgp": _peak(rig.exabgp_pid())}


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) / 1024
