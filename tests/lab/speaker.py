"""A BGP speaker for the lab's own tests, without any of the product: plain ExaBGP with static routes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.lab.host import Process
from tests.lab.lab import Lab, Node

_EXABGP = Path(sys.executable).with_name("exabgp")


def start_speaker(lab: Lab, node: Node, routes: Mapping[str, str]) -> Process:
    """Announce ``routes`` (prefix to attributes, in ExaBGP's words) from ``node`` to the lab's router."""
    plan = lab.plan
    lines = "".join(f"    route {prefix} next-hop self {attributes};\n" for prefix, attributes in routes.items())
    gtsm = "  outgoing-ttl 255; incoming-ttl 255;\n" if plan.ttl_security else ""
    configuration = node.folder / "speaker.conf"
    configuration.write_text(
        f"neighbor {plan.router_address} {{\n"
        f"  local-address {node.address}; router-id {node.address};\n"
        f"  local-as {plan.node_asn}; peer-as {plan.router_asn};\n{gtsm}"
        "  family { ipv4 unicast; }\n"
        f"  static {{\n{lines}  }}\n"
        "}\n"
    )
    return node.popen([_EXABGP, "server", configuration])
