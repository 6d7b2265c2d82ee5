"""The speaker on a node of the lab, with a BIRD or an FRR as its neighbor whose sessions can be run another way.

One lab serves many tests: between them the router gets another configuration and the speaker another state folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

from announcer.model.bgp import Neighbor, PeerObserved, PeerState, RibEntry, Route
from announcer.model.observed import BgpObserved, Outcome, OutcomeState
from announcer.model.steps import AnyStep, ConfigureNeighbors
from bgpd.client import SpeakerClient
from tests.lab import Host, Lab, LabError, RibPath, SessionOptions, until
from tests.lab.host import Process
from tests.lab.router import Router

ROOT = Path(__file__).resolve().parents[2]
ROUTER_ASN = 64600

_numbers = itertools.count()


class Interop:
    """A router that runs its sessions as told, and a speaker on the first node of the lab, or behind it."""

    def __init__(self, lab: Lab, host: Host, state_dir: Path) -> None:
        self.lab = lab
        self.host = host
        self.state_dir = state_dir
        self.speaker = self.start_speaker()
        self._runner = asyncio.Runner()
        self._client: SpeakerClient | None = None

    @property
    def router(self) -> Router:
        return self.lab.router

    @property
    def local(self) -> str:
        """The speaker's end of the session, as the router sees it."""
        plan = self.router.plan
        return str(plan.node_end(plan.nodes[0]))

    def start_speaker(self) -> Process:
        """As ``python -m bgpd`` does it."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        argv: list[str | Path] = [sys.executable, "-m", "bgpd", "--state-dir", self.state_dir]
        return self.host.popen(argv, env=environment, cwd="/")

    def kill_speaker(self) -> None:
        self.speaker.kill()
        self.speaker.wait()

    def close(self) -> None:
        if self._client:
            self._runner.run(self._client.close())
        self._runner.close()
        # In order, so that no connection of it lingers and drops what was meant for it: the kernel counts that for all.
        self.speaker.terminate()
        self.speaker.wait(timeout=20)
        self.host.run(["ss", "--kill", "--tcp", "dport", "=", ":179"])

    @property
    def log(self) -> str:
        file = self.state_dir / "speaker.log"
        return file.read_text() if file.exists() else ""

    # --- as an agent --------------------------------------------------------------------------------------------

    def new_agent(self) -> None:
        """As a new agent: disconnect, and connect again with the next call."""
        if self._client:
            self._runner.run(self._client.close())
        self._client = None

    def observe(self) -> BgpObserved:
        return self._runner.run(self._observe())

    async def _observe(self) -> BgpObserved:
        return await self._connected().observe()

    def apply(self, *steps: AnyStep) -> list[Outcome]:
        async def ask() -> list[Outcome]:
            return await self._connected().apply(steps)

        return self._runner.run(ask())

    def _connected(self) -> SpeakerClient:
        if self._client is None:
            self._client = SpeakerClient(self.state_dir / "speaker.sock")
        return self._client

    def configure(self, *neighbors: Neighbor) -> None:
        until(lambda: self.observe().reachable, "the speaker answers")
        (outcome,) = self.apply(ConfigureNeighbors(lane="neighbors", neighbors=neighbors))
        assert outcome.state is OutcomeState.DONE, outcome.problem

    def peer(self, name: str = "r") -> PeerObserved:
        return self.observe().peers[name]

    def wait(
        self, true: Callable[[PeerObserved], bool], what: str, seconds: float = 15, name: str = "r"
    ) -> PeerObserved:
        """Wait until ``true`` of this peer; what was observed then."""

        def look() -> PeerObserved | None:
            peer = self.observe().peers.get(name)
            return peer if peer and true(peer) else None

        try:
            found = until(look, what, seconds)
        except LabError as late:
            seen = self.observe().peers.get(name)
            words = f"{seen.state}, session {seen.session}, {seen.last_error!r}" if seen else "no such peer"
            raise AssertionError(f"{late}; the peer is {words}") from None
        assert found is not None
        return found

    def wait_established(self, session: int = 1, name: str = "r", seconds: float = 15) -> PeerObserved:
        def up(peer: PeerObserved) -> bool:
            return peer.state is PeerState.ESTABLISHED and peer.session >= session

        return self.wait(up, f"{name} is Established", seconds, name)


@contextmanager
def interop(
    lab: Lab, *, asn: int = 64512, router_asn: int = ROUTER_ASN, behind: bool = False, **session: object
) -> Iterator[Interop]:
    """Have the router expect a speaker with ``asn`` and run the session by these options; start the speaker.

    ``behind``: the speaker runs in the first pod and the node routes, so that it is two hops from the router.
    """
    host: Host = lab.pods[0] if behind else lab.nodes[0]
    plan = lab.pods[0].plan if behind else lab.nodes[0].plan
    defaults: dict[str, object] = {"transport": lab.plan.session.transport, "families": lab.plan.session.families}
    routed = dataclasses.replace(
        lab.plan,
        node_asn=asn,
        router_asn=router_asn,
        nodes=(dataclasses.replace(lab.plan.nodes[0], address=plan.address, address6=plan.address6),),
        session=SessionOptions(**defaults | session),  # type: ignore[arg-type]
    )
    lab.router.stop()
    lab.router.configure(routed)
    lab.router.start()
    made = Interop(lab, host, lab.folder / f"speaker{next(_numbers)}")
    try:
        yield made
    except BaseException:
        print(f"--- the speaker's log\n{made.log}")
        raise
    finally:
        made.close()


def neighbor(
    lab: Lab,
    *,
    name: str = "r",
    asn: int = 64512,
    router_asn: int = ROUTER_ASN,
    transport: str = "",
    **more: object,
) -> Neighbor:
    """The lab's router. With GTSM on eBGP, as the product has it by default."""
    options: dict[str, object] = {"hold_time": 30, "ttl_security": asn != router_asn} | more
    over_ipv4 = (transport or lab.plan.session.transport) == "ipv4"
    address = lab.plan.router_address if over_ipv4 else lab.plan.router_address6
    return Neighbor(
        name=name, address=address, peer_asn=router_asn, local_asn=asn, **options  # type: ignore[arg-type]
    )  # fmt: skip


def path_of(peer: PeerObserved, entry: RibEntry, local: str) -> RibPath:
    """What a router must hold if the speaker's word is true. On eBGP the router gives it a LOCAL_PREF of its own."""
    neighbor, route = peer.neighbor, entry.route
    assert entry.sent
    prepended = (neighbor.local_asn,) * (1 + route.prepend)
    return RibPath(
        peer=local,
        next_hop=str(entry.next_hop),
        as_path=() if neighbor.internal else prepended,
        local_pref=None if not neighbor.internal else 100 if route.local_pref is None else route.local_pref,
        med=route.med,
        communities=tuple(_community(high, low) for high, low in route.communities),
        large_communities=tuple(":".join(map(str, parts)) for parts in route.large_communities),
        origin=route.origin,
    )


def _community(high: int, low: int) -> str:
    """As the lab's routers are read: by its name if it has one."""
    return {(65535, 65281): "no-export", (65535, 0): "graceful-shutdown"}.get((high, low), f"{high}:{low}")


def route(prefix: str, **attributes: object) -> Route:
    return Route(nlri=ip_network(prefix), **attributes)  # type: ignore[arg-type]
