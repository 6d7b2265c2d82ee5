"""A step in one line, for logs and for people who read a plan."""

from __future__ import annotations

from announcer.model.bgp import Route
from announcer.model.steps import (
    Announce,
    AnyStep,
    AttachDevices,
    AwaitQuiet,
    AwaitSent,
    ConfigureNeighbors,
    DeclareForwarding,
    Drain,
    EndOfRib,
    GuardAggregate,
    ProgramFrontend,
    RemoveFrontend,
    Shed,
    UnguardAggregate,
    Verify,
    Withdraw,
)


def describe(step: AnyStep) -> str:
    """What the step does, to what."""
    match step:
        case ConfigureNeighbors() | DeclareForwarding() | Announce() | Withdraw() | EndOfRib():
            return _for_speaker(step)
        case AwaitSent(withdrawals=withdrawals):
            where = ", ".join(f"{nlri} at {peer}" for peer, nlri in withdrawals)
            return f"wait until the withdrawal was sent: {where}"
        case Drain(vip=vip):
            return f"drain {vip}"
        case Shed(vip=vip):
            return f"let routers move {vip} to other nodes"
        case AwaitQuiet(vip=vip):
            return f"wait until no packets come for {vip}"
        case _:
            return _for_datapath(step)


def _for_speaker(step: ConfigureNeighbors | DeclareForwarding | Announce | Withdraw | EndOfRib) -> str:
    match step:
        case ConfigureNeighbors(neighbors=neighbors):
            return f"run {len(neighbors)} neighbors: {', '.join(n.name for n in neighbors) or 'none'}"
        case DeclareForwarding(kept=kept):
            return f"say that forwarding was {'kept' if kept else 'not kept'}"
        case Announce(peer=peer, route=route):
            return f"announce {_route(route)} to {peer}"
        case Withdraw(peer=peer, nlri=nlri):
            return f"withdraw {nlri} from {peer}"
        case EndOfRib(peer=peer):
            return f"tell {peer} End-of-RIB"


def _for_datapath(
    step: AttachDevices | ProgramFrontend | Verify | RemoveFrontend | GuardAggregate | UnguardAggregate,
) -> str:
    match step:
        case AttachDevices():
            return "attach the programs to the ingress devices"
        case ProgramFrontend(frontend=frontend):
            return f"program {frontend.key} with {len(frontend.backends)} backends"
        case Verify(vip=vip):
            return f"prove {vip}"
        case RemoveFrontend(key=key):
            return f"remove {key}"
        case GuardAggregate(prefix=prefix):
            return f"drop what goes to unused addresses of {prefix}"
        case UnguardAggregate(prefix=prefix):
            return f"leave unused addresses of {prefix} to the kernel again"


def _route(route: Route) -> str:
    parts = [str(route.nlri)]
    if route.local_pref is not None:
        parts.append(f"local-pref {route.local_pref}")
    if route.communities:
        parts.append("communities " + " ".join(f"{high}:{low}" for high, low in route.communities))
    return " ".join(parts)
