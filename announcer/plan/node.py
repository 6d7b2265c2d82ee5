"""The lanes of the node itself: its devices and its sessions."""

from __future__ import annotations

from announcer.model.steps import AnyStep, AttachDevices, ConfigureNeighbors, DeclareForwarding
from announcer.plan.forwarding import forwarding_kept
from announcer.plan.view import View


def device_lane(view: View) -> list[AnyStep]:
    """Attach the programs wherever they are missing, once there is anything to serve."""
    if not view.desired.frontends or view.observed.datapath.complete:
        return []
    peers = tuple(sorted(neighbor.address for neighbor in view.desired.neighbors.values()))
    return [AttachDevices(lane="devices", toward=peers)]


def speaker_lane(view: View) -> list[AnyStep]:
    """Say what OPENs should claim, and run the neighbors that should be."""
    if not view.observed.bgp.reachable:
        return []
    wanted = tuple(sorted(view.desired.neighbors.values(), key=lambda neighbor: neighbor.name))
    running = {name: peer.neighbor for name, peer in view.observed.bgp.peers.items()}
    steps: list[AnyStep] = []
    if any(neighbor.graceful_restart is not None for neighbor in wanted):
        kept = forwarding_kept(view)
        if kept is None and not running:
            return []  # the first OPEN would have to say it
        if kept is not None and kept != view.observed.bgp.forwarding_kept:
            steps.append(DeclareForwarding(lane="speaker", kept=kept))
    if running != {neighbor.name: neighbor for neighbor in wanted}:
        steps.append(ConfigureNeighbors(lane="speaker", neighbors=wanted))
    return steps
