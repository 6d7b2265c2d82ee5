"""GoBGP 3 as the lab's router, for what it holds. It puts nothing into the kernel, so ``fib`` stays empty by itself.

Its way into the kernel is FRR's zebra, and GoBGP 3.10 panics at the messages of zebra 8.4 (measured);
``tests.lab.gobgp_fib`` stands in where packets have to follow its routes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.lab.host import Process
from tests.lab.plan import NodePlan, Plan
from tests.lab.router import Rib, RibPath, Router, ordered

_GLOBAL = """\
[global.config]
  as = {asn}
  router-id = "{router_id}"
  local-address-list = ["{address}"]
[global.use-multiple-paths.config]
  enabled = true
"""

_NEIGHBOR = """\
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{neighbor}"
    peer-as = {peer_asn}
{password}  [neighbors.transport.config]
    passive-mode = {passive}
    local-address = "{address}"
{timers}  [neighbors.graceful-restart.config]
    enabled = true
    helper-only = true
{distance}"""

_CONNECTS = """\
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
"""
_TTL_SECURITY = """\
  [neighbors.ttl-security.config]
    enabled = true
    ttl-min = 255
"""
_MULTIHOP = """\
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 255
"""
_FAMILY = """\
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "{family}-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
"""

_STATES = ("Unknown", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established")
_WELL_KNOWN = {
    65535 << 16: "graceful-shutdown",
    (65535 << 16) + 666: "blackhole",
    0xFFFFFF01: "no-export",
    0xFFFFFF02: "no-advertise",
    0xFFFFFF03: "local-as",
    0xFFFFFF04: "no-peer",
}
_ORIGIN, _AS_PATH, _NEXT_HOP, _MED, _LOCAL_PREF, _COMMUNITIES, _MP_REACH, _LARGE = 1, 2, 3, 4, 5, 8, 14, 32


class GobgpRouter(Router):
    """One gobgpd; asked through ``gobgp``."""

    def _write_configuration(self) -> None:
        (self.folder / "gobgpd.toml").write_text(render(self.plan))

    def _start_daemons(self) -> list[Process]:
        Path(self._socket).unlink(missing_ok=True)  # one that was killed leaves it, and the next does not take it over
        options = ["--log-plain", "--log-level", "debug", "--pprof-disable", "--api-hosts", self.api]
        return [self.popen(["gobgpd", "-f", self.folder / "gobgpd.toml", *options])]

    def _answers(self) -> bool:
        return self.run(["gobgp", "--target", self.api, "global"], check=False).returncode == 0

    def sessions(self) -> dict[str, str]:
        """Return the state of each session by neighbor address."""
        return {
            found["state"]["neighbor_address"]: _STATES[found["state"].get("session_state", 0)]
            for found in self._ask("neighbor")
        }

    def rib(self) -> Rib:
        """Return the routes that GoBGP holds from its BGP neighbors."""
        found: dict[str, tuple[RibPath, ...]] = {}
        for family in ("ipv4", "ipv6"):
            found |= parse_rib(self._ask("global", "rib", "-a", family))
        return found

    @property
    def api(self) -> str:
        """Where ``gobgp --target`` finds it."""
        return f"unix://{self._socket}"

    @property
    def _socket(self) -> str:
        return f"{self.folder}/gobgp.sock"

    def _ask(self, *words: str) -> Any:
        return json.loads(self.run(["gobgp", "--target", self.api, "-j", *words]).stdout or "{}")


def render(plan: Plan) -> str:
    """Return gobgpd's configuration: one session for every node."""
    options = plan.session

    def neighbor(node: NodePlan) -> str:
        head = _NEIGHBOR.format(
            neighbor=plan.node_end(node),
            peer_asn=plan.node_asn,
            address=plan.router_end,
            passive=str(not options.connects).lower(),
            timers=_CONNECTS if options.connects else "",
            password=f"    auth-password = {json.dumps(options.password)}\n" if options.password else "",
            distance=_TTL_SECURITY if plan.ttl_security else _MULTIHOP if options.multihop else "",
        )
        return head + "".join(_FAMILY.format(family=family) for family in options.families)

    head = _GLOBAL.format(asn=plan.router_asn, router_id=plan.router_address, address=plan.router_end)
    return head + "".join(map(neighbor, plan.nodes))


def parse_rib(table: dict[str, list[dict[str, Any]]]) -> Rib:
    """Read ``gobgp global rib -j``: per prefix its paths, each with a list of attributes."""
    rib: dict[str, list[RibPath]] = defaultdict(list)
    for prefix, paths in table.items():
        rib[prefix] += map(_path, paths)
    return ordered(rib)


def _path(path: dict[str, Any]) -> RibPath:
    found = {attribute["type"]: attribute for attribute in path["attrs"]}
    next_hop = found[_NEXT_HOP if _NEXT_HOP in found else _MP_REACH]["nexthop"]
    return RibPath(
        peer=path["source-id"] if "neighbor-ip" not in path else path["neighbor-ip"],
        next_hop=next_hop,
        as_path=tuple(asn for segment in found[_AS_PATH]["as_paths"] for asn in segment["asns"]),
        local_pref=found.get(_LOCAL_PREF, {}).get("value"),
        med=found.get(_MED, {}).get("metric"),
        communities=tuple(map(_community, found.get(_COMMUNITIES, {}).get("communities", ()))),
        large_communities=tuple(map(_large, found.get(_LARGE, {}).get("value", ()))),
        origin=("igp", "egp", "incomplete")[found[_ORIGIN]["value"]],
    )


def _community(value: int) -> str:
    return _WELL_KNOWN.get(value) or f"{value >> 16}:{value & 0xFFFF}"


def _large(value: dict[str, int]) -> str:
    return f"{value['ASN']}:{value['LocalData1']}:{value['LocalData2']}"
