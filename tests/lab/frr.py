"""FRR as the lab's router: zebra and bgpd, started by us with sockets, files and logs in the lab's folder."""

from __future__ import annotations

import json
import shutil
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.lab.host import Process
from tests.lab.plan import NodePlan, Plan
from tests.lab.poll import until
from tests.lab.router import Rib, RibPath, Router, ordered

_DAEMONS = "/usr/lib/frr"
# FRR changes to this user and insists on its groups; it keeps the capabilities that it needs.
_USER, _GROUP = "frr", "frr"

_CONFIGURATION = """\
hostname lab-router
log file {folder}/frr.log informational
router bgp {asn}
 bgp router-id {address}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 no bgp suppress-duplicates
 bgp bestpath as-path multipath-relax
{neighbors}{families}exit
"""

_FAMILY = """\
 address-family {family} unicast
  maximum-paths 64
  maximum-paths ibgp 64
{activated} exit-address-family
"""


_BFD = """\
hostname lab-router
bfd
 profile fast
  detect-multiplier 50
  receive-interval 100
  transmit-interval 100
 exit
exit
"""


class FrrRouter(Router):
    """zebra and bgpd; asked through ``vtysh``."""

    def _write_configuration(self) -> None:
        (self.folder / "bgpd.conf").write_text(render(self.plan, str(self.folder)))
        (self.folder / "zebra.conf").write_text("hostname lab-router\n")
        (self.folder / "bfdd.conf").write_text(_BFD)
        (self.folder / "vtysh.conf").write_text("")
        for path in (self.folder, *self.folder.iterdir()):
            shutil.chown(path, _USER, _GROUP)

    def _start_daemons(self) -> list[Process]:
        zebra = self._daemon("zebra")
        # bgpd looks for zebra once and then only every 10 s; without it nothing reaches the FIB.
        until(lambda: _accepts(self.folder / "zserv.api"), "zebra's socket")
        more = [self._daemon("bfdd")] if self.plan.session.bfd else []
        return [zebra, *more, self._daemon("bgpd", "--listenon", str(self.plan.router_end))]

    def _daemon(self, name: str, *more: str) -> Process:
        folder = self.folder
        files = ["-f", f"{folder}/{name}.conf", "-i", f"{folder}/{name}.pid", "-z", f"{folder}/zserv.api"]
        return self.popen(
            [f"{_DAEMONS}/{name}", *files, "--vty_socket", folder, "-P", "0", "-u", _USER, "-g", _GROUP, *more]
        )

    def _answers(self) -> bool:
        clients = self._vtysh("show zebra client summary", check=False)
        return any(line.startswith("bgp ") for line in clients.splitlines())

    def sessions(self) -> dict[str, str]:
        """Return the state of each session by neighbor address."""
        neighbors: dict[str, Any] = json.loads(self._vtysh("show bgp neighbors json"))
        return {address: about["bgpState"] for address, about in neighbors.items() if isinstance(about, dict)}

    def rib(self) -> Rib:
        """Return the routes that FRR holds from its BGP neighbors."""
        found: dict[str, tuple[RibPath, ...]] = {}
        for family in ("ipv4", "ipv6"):
            found |= parse_rib(json.loads(self._vtysh(f"show bgp {family} unicast json detail")))
        return found

    def _vtysh(self, command: str, *, check: bool = True) -> str:
        folder = str(self.folder)
        return self.run(["vtysh", "--vty_socket", folder, "--config_dir", folder, "-c", command], check=check).stdout


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def render(plan: Plan, folder: str) -> str:
    """Return bgpd's configuration: one session for every node."""

    def neighbor(node: NodePlan) -> str:
        options = plan.session
        lines = [f"remote-as {plan.node_asn}", "timers connect 1", "advertisement-interval 0"]
        lines += [] if plan.session.connects else ["passive"]
        lines += ["ebgp-multihop 255"] if options.multihop else []
        lines += ["ttl-security hops 1"] if plan.ttl_security else []
        lines += [f"password {options.password}"] if options.password else []
        lines += ["bfd profile fast"] if options.bfd else []
        lines += ["capability extended-nexthop"] if options.ipv6_next_hop else []
        return "".join(f" neighbor {plan.node_end(node)} {line}\n" for line in lines)

    def family(name: str) -> str:
        activated = "".join(f"  neighbor {plan.node_end(node)} activate\n" for node in plan.nodes)
        return _FAMILY.format(family=name, activated=activated)

    neighbors = "".join(map(neighbor, plan.nodes))
    return _CONFIGURATION.format(
        folder=folder,
        address=plan.router_address,
        asn=plan.router_asn,
        neighbors=neighbors,
        families="".join(map(family, plan.session.families)),
    )


def parse_rib(table: dict[str, Any]) -> Rib:
    """Read ``show bgp ipv4 unicast json detail``: per prefix a list whose first entry is about the prefix itself."""
    rib: dict[str, list[RibPath]] = defaultdict(list)
    for prefix, paths in table.get("routes", {}).items():
        rib[prefix] += [_path(path) for path in paths if "peer" in path]
    return ordered(rib)


def _path(path: dict[str, Any]) -> RibPath:
    segments = path.get("aspath", {}).get("segments", [])
    return RibPath(
        peer=path["peer"]["peerId"],
        next_hop=path["nexthops"][0]["ip"],
        as_path=tuple(asn for segment in segments for asn in segment["list"]),
        local_pref=path.get("locPrf"),
        med=path.get("metric"),
        communities=tuple(path.get("community", {}).get("string", "").lower().split()),
        large_communities=tuple(path.get("largeCommunity", {}).get("list", [])),
        origin=path["origin"].lower(),
    )
