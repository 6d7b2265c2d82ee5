"""Many routes at once: how long it takes (printed, not judged), and that the window holds."""

from __future__ import annotations

import time
from ipaddress import IPv4Network

import pytest

from announcer.model.bgp import Route
from announcer.model.steps import Announce, Withdraw
from bgpd.core import Core, Now
from bgpd.protocol import WINDOW_LINES, Message, StateChanged
from bgpd.wire import OPEN
from tests.bgpd.rig import Rig, eventually, neighbor, states

COUNT = 10_000
COMMUNITIES = [(), ((65000, 1),), ((65000, 1), (65000, 2))]


@pytest.mark.root
def test_ten_thousand_routes(rig: Rig) -> None:
    bird = rig.start_bird()
    rig.configure(neighbor())
    rig.wait_established()
    prefixes = [IPv4Network((0x0A000000 + 256 * number, 24)) for number in range(COUNT)]
    routes = [Route(nlri=nlri, communities=COMMUNITIES[n * 3 // COUNT]) for n, nlri in enumerate(prefixes)]
    start = time.monotonic()
    assert states(rig.apply(*(Announce(lane="x", peer="r1", route=route) for route in routes))) == {"done"}
    taken = time.monotonic() - start
    rig.wait(lambda seen: all(entry.sent for entry in seen.peers["r1"].rib.values()), 60)
    sent = time.monotonic() - start
    eventually(lambda: bird.count() == COUNT, 30)
    print(
        f"\n{COUNT} routes: taken in {taken:.2f} s, sent in {sent:.2f} s, in BIRD in {time.monotonic() - start:.2f} s"
    )
    assert "(65000,1) (65000,2)" in bird.routes()[str(prefixes[-1])]

    start = time.monotonic()
    assert states(rig.apply(*(Withdraw(lane="x", peer="r1", nlri=nlri) for nlri in prefixes))) == {"done"}
    rig.wait(lambda seen: seen.peers["r1"].rib == {}, 60)
    print(f"{COUNT} withdrawals: sent in {time.monotonic() - start:.2f} s")
    eventually(lambda: bird.count() == 0)


def test_the_window_bounds_what_a_stopped_engine_is_given() -> None:
    """With every route in a line of its own, no more than the window is written before the first answer."""
    now = Now(0.0, 0.0)
    core = Core()
    core.set_neighbors([neighbor()], now)
    core.engine_connected(now)
    peer = core.peers["r1"]
    for number in range(2000):
        communities = ((number, 1),)
        peer.rib.want(Route(nlri=IPv4Network((0x0A000000 + 256 * number, 24)), communities=communities))
    offer = bytes(9) + bytes.fromhex("080206010400010001")
    peer.message(Message(peer.neighbor.address, sent=False, kind=OPEN, size=19 + len(offer), body=offer))
    peer.state_changed(StateChanged(peer.neighbor.address, "up"), now=0.0, wall=0.0)
    assert core.commands(now).count(b"\n") == WINDOW_LINES == core.owed
    assert core.commands(now) == b""
    core.receive(b"done\n" * 50, now)
    assert core.commands(now).count(b"\n") == 50
