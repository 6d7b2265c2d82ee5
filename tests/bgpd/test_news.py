"""What an agent is woken by. Each time costs it a look at everything, with thousands of routes a second of work."""

from __future__ import annotations

from bgpd.core import PING_SECONDS, Core, Now
from bgpd.protocol import StateChanged
from tests.bgpd.rig import neighbor


def test_an_answered_ping_is_no_news() -> None:
    core = Core()
    core.set_neighbors([neighbor()], Now(0.0, 0.0))
    core.engine_connected(Now(0.0, 0.0))
    before, later = (core.version, core.news), Now(PING_SECONDS + 1, 0.0)
    assert core.commands(later).count(b"\n") == core.owed == 1
    core.receive(b"done\n", later)
    assert core.owed == 0
    assert core.version > before[0], "whoever waits for it has to look"
    assert core.news == before[1]


def test_what_becomes_of_a_session_is_news() -> None:
    core = Core()
    core.set_neighbors([neighbor()], Now(0.0, 0.0))
    core.engine_connected(Now(0.0, 0.0))
    before = core.news
    core._event(StateChanged(core.peers["r1"].neighbor.address, "up"), Now(0.0, 0.0))
    assert core.news > before
