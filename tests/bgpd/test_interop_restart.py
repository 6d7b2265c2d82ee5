"""The whole speaker ends, killed or as planned, and what the router's kernel holds meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from announcer.model.steps import Announce, DeclareForwarding, EndOfRib
from tests.bgpd.interop import Interop, interop, neighbor, route
from tests.lab import FibPoll, Lab, RouteJournal, until

pytestmark = [pytest.mark.root, pytest.mark.lab]

VIP = "203.0.113.10/32"


@pytest.mark.parametrize("router", ["bird", "frr"])
@pytest.mark.parametrize(
    ("seconds", "kept"), [(120, True), (120, False), (None, True)], ids=["graceful", "not-kept", "control"]
)
def test_a_killed_speaker_comes_back(router: str, seconds: int | None, kept: bool) -> None:
    """Under graceful restart (RFC 4724) the FIB never loses the route, looked at every 20 ms.

    Two controls: without it, and with it while it has to be said that forwarding was not kept.
    """
    with (
        Lab(router, nodes=1, pods=0) as lab,  # type: ignore[arg-type]
        interop(lab) as made,
    ):
        bring_up(made, seconds, kept)
        until(lambda: VIP in lab.router.fib(), "the route stands in the router's kernel")
        with RouteJournal(lab.router) as journal, FibPoll(lab.router, VIP) as poll:
            made.kill_speaker()
            until(lambda: "Established" not in lab.router.sessions().values(), "the router lost the session")
            made.speaker = made.start_speaker()
            made.new_agent()
            loses = seconds is None or not kept
            bring_up(made, seconds, kept, lost=(lambda: poll.look().missing > 0) if loses else None)
            until(lambda: VIP in lab.router.fib(), "the route is there")
            until(lambda: poll.look().looks > 20, "looked at it often enough to mean something")
            seen = poll.stop()
            deleted = journal.deleted(VIP)
        if loses:
            assert deleted, "the route must go, or this test sees nothing"
        else:
            assert deleted == []
            assert seen.missing == 0, seen


@pytest.mark.parametrize("router", ["bird", "frr"])
@pytest.mark.parametrize("seconds", [120, None], ids=["graceful", "plain"])
def test_a_planned_stop_is_over_only_when_the_router_has_no_route(router: str, seconds: int | None) -> None:
    """Not only in the router's BGP: in its kernel, at the moment the process is gone."""
    with (
        Lab(router, nodes=1, pods=0) as lab,  # type: ignore[arg-type]
        interop(lab) as made,
    ):
        bring_up(made, seconds)
        until(lambda: VIP in lab.router.fib(), "the route stands in the router's kernel")
        made.speaker.terminate()
        assert made.speaker.wait(timeout=20) == 0
        assert VIP not in lab.router.fib()


def bring_up(
    made: Interop, graceful_restart: int | None, kept: bool = True, *, lost: Callable[[], bool] | None = None
) -> None:
    """As an agent with one route does it.

    ``lost``: the route was seen to be gone, which is waited for before it comes again. FRR would otherwise now and then
    take both in one, and its kernel would never know; and who looks every 20 ms could miss it.
    """
    until(lambda: made.observe().reachable, "the speaker answers")
    made.apply(DeclareForwarding(lane="speaker", kept=kept))
    made.configure(neighbor(made.lab, graceful_restart=graceful_restart))
    made.wait_established()
    if lost:
        until(lost, "the router has lost the route")
    made.apply(Announce(lane="x", peer="r", route=route(VIP)))
    made.apply(EndOfRib(lane="r", peer="r", session=1))
    made.wait(lambda peer: peer.end_of_rib == 1, "End-of-RIB is sent")
